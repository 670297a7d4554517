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
from results.instrument.overhead import Watched, observer_effect
from results.records.scenario import Build

BUILD = Build("system", "/usr/bin/qemu", "10.0.2", "abc123", "00", ("/usr/bin/qemu",))


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
        calibration=calibrate([]),
    )


EFFECT = observer_effect(
    [
        Watched("anon on kvm", tier, number, gap + number * 1_000, None)
        for number in range(1, 9)
        for tier, gap in (("none", 4_000_000), ("default", 4_100_000))
    ]
)


def test_is_read_back_as_it_was_written(tmp_path, certificate):
    path = write_certificate(tmp_path, certificate)
    assert read_certificate(tmp_path, "box", "6.12", "abc123") == certificate
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    newer = replace(certificate, made_unix_ns=certificate.made_unix_ns + 1)
    write_certificate(tmp_path, newer)
    assert read_certificate(tmp_path, "box", "6.12", "abc123") == newer


@pytest.mark.parametrize("other", [("box2", "6.12", "abc123"), ("box", "6.13", "abc123")])
def test_another_host_or_kernel_has_none(tmp_path, certificate, other):
    write_certificate(tmp_path, certificate)
    assert read_certificate(tmp_path, *other) is None


def test_a_name_cannot_lead_out_of_the_store(tmp_path):
    path = certificate_path(tmp_path, "../../etc", "/x", "..")
    assert path.parent == tmp_path / "certificates"


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda text: text[:-20], "not a valid certificate"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9"),
        (lambda text: text.replace('"box"', '"fox"'), "another host"),
        (lambda _text: "[]", "not a valid certificate"),
    ],
)
def test_a_spoilt_file_is_refused_with_its_name(tmp_path, certificate, spoil, word):
    path = write_certificate(tmp_path, certificate)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RecordInvalid, match=word) as raised:
        read_certificate(tmp_path, "box", "6.12", "abc123")
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
    assert "2026-11-23 FAILED" in certificate.lines[0]
    other = replace(BUILD, label="next", build_id="zzz")
    named = certificate_lines(tmp_path, session, [BUILD, other])
    assert named[0].startswith("QEMU system: calibration of")
    assert named[1].startswith("QEMU next: not calibrated")
    certificate_path(tmp_path, "box", "6.12", "abc123").write_text("{")
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
