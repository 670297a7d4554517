"""The mail of a night: its subject, its body, and that it is a valid message."""

from __future__ import annotations

import email
import os
from dataclasses import replace
from email.policy import SMTPUTF8
from pathlib import Path

import pytest

from reports.formats.mail import Letter, night_mail, noisy_mail, since
from results.history.kept import read_history
from results.records.scenario import Session
from results.stats.announcements import announcements

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def letter():
    return Letter(
        "qemu", "pausebench@localhost", "root@localhost", 1_795_472_200.0,
        "pausebench nightly night.toml", ("nights/x/report.html",),
    )  # fmt: skip


@pytest.fixture
def lines(stored):
    return read_history(stored)


def read(data):
    message = email.message_from_bytes(data, policy=SMTPUTF8)
    return message, message.get_content()


def test_golden(report_data, lines, letter):
    path, text = GOLDEN / "night.eml", night_mail(report_data, lines, letter).decode()
    text = text.replace("\r\n", "\n")
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


def test_the_subject_carries_verdict_and_worst_cell(report_data, lines, letter):
    (comparison,) = report_data.comparisons
    cells = tuple(replace(cell, more_failures=False) for cell in comparison.cells)
    slower = replace(report_data, comparisons=(replace(comparison, cells=cells),))
    message, _ = read(night_mail(slower, lines, letter))
    assert message["Subject"] == "[pausebench qemu] regressed: anon on new +1.00 ms (+22 %)"


def test_the_body_says_what_since_when_why_and_how_to_repeat(report_data, lines, letter):
    _, text = read(night_mail(report_data, lines, letter))
    for part in (
        "old → new: 4.46 → 5.46 ms, +1.00 [+0.970, +1.03] ms (+22 %)",
        "moved: quiesce +1.00 [+1.00, +1.00] ms",
        "since: not known: 1 nights are stored, it takes six",
        "1 × vCPU 1 does not run in new QEMU",
        "anon on new: 0 of 12 under 5.00 ms, 1 failed (missed: 95 % required)",
        "    pausebench nightly night.toml",
        "nights/x/report.html",
        "exit status 1",
    ):
        assert part in text


def test_a_green_night_states_its_coverage(report_data, lines, letter):
    cells = [replace(c, budget=None, limit=None) for c in report_data.cells]
    cells = [replace(c, summary=replace(c.summary, failed=0)) for c in cells]
    comparison = report_data.comparisons[0]
    same = tuple(c for c in comparison.cells if c.verdict == "same")
    green = replace(
        report_data,
        cells=tuple(cells),
        comparisons=(replace(comparison, cells=same, exit_code=0),),
        failures=(),
    )
    message, text = read(night_mail(green, lines, letter))
    assert message["Subject"].startswith("[pausebench qemu] same: 4 cells, 47 updates, worst ")
    assert "covered: 47 valid" in text
    assert "memfd on new: same" in text
    assert "a change of" in text


def test_nothing_of_a_record_becomes_a_header(report_data, lines, letter):
    nasty = "x\r\nBcc: everybody@example.org\r\n\r\nbody"
    first, *rest = report_data.cells
    named = replace(first, summary=replace(first.summary, scenario=nasty, failed=99))
    cells = tuple(replace(cell, budget=None, limit=None) for cell in (named, *rest))
    worst = replace(report_data, cells=cells, comparisons=())
    message, text = read(night_mail(worst, lines, letter))
    assert message["Bcc"] is None
    assert "Bcc: everybody" in message["Subject"]
    assert "\x1b" not in text


def test_a_noisy_night(letter):
    message, text = read(noisy_mail("CPUs busy 90 % (cc1 7 90 %)", "30m", letter, "h1"))
    assert message["Subject"] == (
        "[pausebench qemu] noisy: h1 was never quiet, nothing was measured"
    )
    assert "Waited 30m for a quiet host: CPUs busy 90 % (cc1 7 90 %)." in text


def nights_of(lines, count):
    """The line of anon on `new` with so many nights, slower and another QEMU from the ninth on."""
    (line,) = (line for line in lines if line.name == "anon on new")
    first = line.points[0]
    points = tuple(
        replace(
            first, record=replace(first.record, id=f"night-{i}"),
            started_unix_ns=first.started_unix_ns + i * 86_400 * 10**9,
            median_ns=first.median_ns + (i % 3) * 20_000 + (2_000_000 if i >= 8 else 0),
            new=replace(first.new, version="11.1.3" if i >= 8 else "11.1.2"),
        )
        for i in range(count)
    )  # fmt: skip
    changes = announcements([p.median_ns / 1e6 for p in points])
    return replace(line, points=points, changes=changes)


def test_since_names_the_first_night_of_the_last_change(lines):
    found = since("anon", "new", [nights_of(lines, 14)])
    assert found == (
        "2026-12-01 22:15 UTC (session night-8, 5.48 → 7.48 ms (+37 %)): QEMU 11.1.2 → 11.1.3"
    )
    fresh = since("anon", "new", [nights_of(lines, 12)])
    assert fresh.endswith("QEMU 11.1.2 → 11.1.3; found 2026-12-03, not confirmed yet")
    calm = since("anon", "new", [nights_of(lines, 8)])
    assert calm.startswith("before the first of 8 stored nights")


def test_since_is_told_of_the_probes_of_tonight(lines):
    """The nights with other probes are another line, whose changes are not tonight's."""
    line = nights_of(lines, 14)
    older = replace(line, key=replace(line.key, tier="other"), points=line.points[:8], changes=())
    for both in ([line, older], [older, line]):
        assert since("anon", "new", both).startswith("2026-12-01 22:15 UTC")


def test_what_changed_in_the_environment(report_data, lines, letter):
    before = Session("20261122-221500-aaaa", 1, (), (), {"kernel": "6.11"})
    _, text = read(
        night_mail(
            replace(report_data, reference=before, changed=("kernel: 6.11 → 6.12.0",)),
            lines,
            letter,
        )
    )
    assert (
        "environment, changed since session 20261122-221500-aaaa:\n  kernel: 6.11 → 6.12.0" in text
    )
