"""Certificates on disk: read back whole, refused when they are not what they claim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.errors import RecordInvalid, UsageError
from results.instrument.calibration import calibrate
from results.instrument.certificates import (
    SCHEMA,
    Certificate,
    certificate_lines,
    certificate_path,
    known_so_far,
    read_certificate,
    write_certificate,
)
from results.instrument.overhead import TierBoot, observer_effect
from results.instrument.shots import Shot
from results.records.scenario import Build
from results.store.documents import write_document

BUILD = Build("system", "/usr/bin/qemu", "10.0.2", "abc123", "00ff", ("/usr/bin/qemu",))
SHOTS = [
    Shot(f"r{n}", "anon on kvm", "new", asked, asked, 80_000 + asked, 4_000_000 + asked + n,
         4_300_000 + asked, 3_900_000 + asked)
    for asked in (0, 5_000_000)
    for n in range(5)
]  # fmt: skip


@pytest.fixture
def certificate():
    return Certificate(
        schema=SCHEMA,
        host="box",
        kernel="6.12",
        build="system",
        build_id="abc123",
        qemu_version="10.0.2",
        made_unix_ns=1_795_472_100_000_000_000,
        session="20261123-221500-3f2a",
        calibration=calibrate(SHOTS),
        identity="00ff",
    )


EFFECT = observer_effect(
    [
        TierBoot("anon on kvm", tier, number, gap + number * 1_000, None)
        for number in range(1, 9)
        for tier, gap in (("none", 4_000_000), ("default", 4_100_000))
    ]
)


def test_is_read_back_as_it_was_written(tmp_path, certificate):
    path = write_certificate(tmp_path, certificate)
    assert read_certificate(tmp_path, "box", "6.12", BUILD) == certificate
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    newer = replace(certificate, made_unix_ns=certificate.made_unix_ns + 1)
    write_certificate(tmp_path, newer)
    assert read_certificate(tmp_path, "box", "6.12", BUILD) == newer


@pytest.mark.parametrize("other", [("box2", "6.12"), ("box", "6.13")])
def test_another_host_or_kernel_has_none(tmp_path, certificate, other):
    write_certificate(tmp_path, certificate)
    assert read_certificate(tmp_path, *other, BUILD) is None


@pytest.mark.parametrize(
    "other",
    [
        {"sha256": "11"},
        {"sha256": "11", "build_id": ""},
        {"tree_sha256": "11"},  # the same binary with other libraries or firmware
    ],
)
def test_another_build_has_none(tmp_path, certificate, other):
    mine = replace(BUILD, build_id="")
    write_certificate(tmp_path, replace(certificate, build_id=""))
    assert read_certificate(tmp_path, "box", "6.12", mine) is not None
    assert read_certificate(tmp_path, "box", "6.12", replace(BUILD, **other)) is None


def by_build_id(tmp_path, certificate, **changed):
    """As a version wrote it that named certificates by the build id alone."""
    former = replace(certificate, identity="", **changed)
    write_document(certificate_path(tmp_path, "box", "6.12", former.build_id), former)
    return former


def test_a_certificate_by_build_id_is_carried_over(tmp_path, certificate, make_session):
    former = by_build_id(tmp_path, certificate)
    assert read_certificate(tmp_path, "box", "6.12", BUILD) == former
    tree = replace(BUILD, tree_sha256="77")
    assert read_certificate(tmp_path, "box", "6.12", tree) == former
    session = replace(make_session(), environment={"host": "box", "kernel": "6.12"})
    known = known_so_far(tmp_path, session, BUILD)
    assert (known.identity, known.calibration) == ("00ff", former.calibration)
    path = write_certificate(tmp_path, known)
    assert path == certificate_path(tmp_path, "box", "6.12", "00ff")
    assert read_certificate(tmp_path, "box", "6.12", BUILD) == known


@pytest.mark.parametrize(
    "changed",
    [{"build_id": ""}, {"qemu_version": "10.0.3"}],
    ids=["without an id", "other package"],
)
def test_a_certificate_that_may_be_of_another_build_is_not(tmp_path, certificate, changed):
    former = by_build_id(tmp_path, certificate, **changed)
    build = replace(BUILD, build_id=former.build_id)
    assert read_certificate(tmp_path, "box", "6.12", build) is None


def test_a_name_cannot_lead_out_of_the_store(tmp_path):
    path = certificate_path(tmp_path, "../../etc", "/x", "..")
    assert path.parent == tmp_path / "certificates"


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda text: text[:-20], "not a valid certificate"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9"),
        (lambda text: text.replace('"box"', '"fox"'), "another host"),
        (lambda text: text.replace('"00ff"', '"00fe"'), "another host or build"),
        (lambda _text: "[]", "not a valid certificate"),
    ],
)
def test_a_spoilt_file_is_refused_with_its_name(tmp_path, certificate, spoil, word):
    path = write_certificate(tmp_path, certificate)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RecordInvalid, match=word) as raised:
        read_certificate(tmp_path, "box", "6.12", BUILD)
    assert str(path) in str(raised.value)


def test_a_store_that_cannot_be_written(tmp_path, certificate):
    (tmp_path / "certificates").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write"):
        write_certificate(tmp_path, certificate)


def test_reports_quote_it_or_say_that_there_is_none(tmp_path, certificate, make_session):
    session = replace(make_session(), environment={"host": "box", "kernel": "6.12"})
    assert "not calibrated" in certificate_lines(tmp_path, session, [BUILD])[0]
    write_certificate(tmp_path, certificate)
    assert certificate_lines(tmp_path, session, [BUILD]) == list(certificate.lines)
    assert "2026-11-23 passed" in certificate.lines[0]
    other = replace(BUILD, label="next", build_id="zzz", sha256="22")
    named = certificate_lines(tmp_path, session, [BUILD, other])
    assert named[0].startswith("QEMU system: calibration of")
    assert named[1].startswith("QEMU next: not calibrated")
    certificate_path(tmp_path, "box", "6.12", "00ff").write_text("{")
    assert "not a valid certificate" in certificate_lines(tmp_path, session, [BUILD])[0]


def test_what_watching_costs_is_quoted_beside_it(tmp_path, certificate, make_session):
    session = replace(make_session(), environment={"host": "box", "kernel": "6.12"})
    first = known_so_far(tmp_path, session, BUILD)
    assert (first.calibration, first.effect, first.lines) == (None, None, ())
    write_certificate(tmp_path, replace(first, effect=EFFECT, watched_unix_ns=10**18))
    lines = certificate_lines(tmp_path, session, [BUILD])
    assert "not calibrated" in lines[0]
    assert "+2.5 % [+2." in lines[1]
    assert "anon on kvm" in lines[1]
    both = replace(known_so_far(tmp_path, session, BUILD), calibration=certificate.calibration)
    write_certificate(tmp_path, both)
    assert len(certificate_lines(tmp_path, session, [BUILD])) == 2
    assert known_so_far(tmp_path, session, BUILD).effect == EFFECT


def test_it_says_what_bounds_a_constant_offset(certificate):
    (line,) = certificate.lines
    assert line.endswith(
        "a constant offset cancels out in it: other witnesses bound it to "
        "−0.300 ms (guest's gap) … +0.100 ms (QEMU's functions)"
    )
    bare = replace(certificate.calibration, constant=())
    (line,) = replace(certificate, calibration=bare).lines
    assert line.endswith("a constant offset cancels out in it")
    one = calibrate([replace(shot, uprobe_ns=None) for shot in SHOTS])
    (line,) = replace(certificate, calibration=one).lines
    assert line.endswith("−0.300 ms (guest's gap) … unknown (QEMU's functions)")


def test_a_calibration_that_measured_nothing_is_none(tmp_path, certificate, make_session):
    """Earlier versions stored one: "FAILED: recovered = +0.0 µs + 0.0000 × injected"."""
    write_certificate(tmp_path, replace(certificate, calibration=calibrate([])))
    session = replace(make_session(), environment={"host": "box", "kernel": "6.12"})
    (line,) = certificate_lines(tmp_path, session, [BUILD])
    assert line.startswith("not calibrated here")
