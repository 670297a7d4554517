"""A scenario over the nights, as text, as a page and for machines."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reports.formats.history_json import history_document
from reports.html.history_page import history_chart, history_html
from reports.terminal.history import history_page
from reports.terminal.style import Look
from results.history.kept import read_history
from results.stats.announcements import announcements

GOLDEN = Path(__file__).parents[1] / "golden"
DAY = 86_400 * 10**9


@pytest.fixture
def line(stored):
    """Fourteen nights; from the ninth on the candidate is slower, and its version another."""
    (found,) = (line for line in read_history(stored) if line.name == "anon on new")
    first = found.points[0]
    points = tuple(
        replace(
            first, record=replace(first.record, id=f"20261101-221500-{i:04x}"),
            started_unix_ns=first.started_unix_ns + i * DAY,
            median_ns=first.median_ns + (i % 4) * 30_000 + (2_000_000 if i >= 8 else 0),
            low_ns=first.median_ns - 200_000, high_ns=first.median_ns + 2_400_000,
            new=replace(first.new, version="11.1.3 (Debian)" if i >= 8 else "11.1.2 (Debian)"),
        )
        for i in range(14)
    )  # fmt: skip
    changes = announcements([p.median_ns / 1e6 for p in points])
    empty = replace(first.record, id="20261101-221500-ffff")
    return replace(found, points=points, changes=changes, empty=(empty,))


@pytest.mark.parametrize("width", [80, 120])
def test_golden(line, width):
    path = GOLDEN / f"history-{width}.txt"
    text = history_page([line], Look(width=width, unicode=True)).plain + "\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
    assert max(map(len, text.splitlines())) <= width


def test_a_change_stands_between_the_nights_it_parts(line):
    text = history_page([line], Look(width=100)).plain.splitlines()
    (at,) = (i for i, row in enumerate(text) if row.strip().startswith("changed:"))
    assert "QEMU 11.1.2 (Debian) -> 11.1.3 (Debian)" in " ".join(text[at : at + 2])
    assert "11.1.2" in text[at - 1]


def test_the_document_is_json_and_names_the_session(line):
    document = json.loads(json.dumps(history_document("anon", [line])))
    (change,) = document["lines"][0]["changes"]
    assert change["session"] == line.points[8].session
    assert change["why"][0].startswith("QEMU 11.1.2")
    assert len(document["lines"][0]["points"]) == 14


def test_the_page_has_the_chart_its_numbers_and_the_change(line):
    page = history_html("anon", [line])
    assert page.count("<svg") == 1
    assert page.count("<tr>") == 15
    assert "since 2026-12-01 22:15" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/", "")


def test_many_nights_are_cut_and_it_is_said(line):
    many = replace(line, points=line.points * 40, changes=())
    chart = history_chart(many, "h")
    assert "The last 400 of 560 nights are drawn." in chart.caption
    assert len(chart.rows) == 400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "changed: 5.50 -> 7.49 ms (+36 %); QEMU 11.1.2"),
        (
            {"confirmed_on": None, "found": 2},
            "may have changed: 5.50 -> 7.49 ms (+36 %), seen by 2",
        ),
        ({"confirmed_on": None, "found": 5}, "(+36 %), not clear enough yet; QEMU 11.1.2"),
        ({"withdrawn_on": 13}, "no change after all: 5.50 -> 7.49 ms (+36 %); found 2026-12-03, "),
        ({"withdrawn_on": 13}, "confirmed 2026-12-05, withdrawn 2026-12-06"),
        ({"withdrawn_on": 13, "became": "drift"}, "withdrawn 2026-12-06 for a drift there"),
        ({"withdrawn_on": 13, "became": "drift"}, "announced as a step: 5.50 -> 7.49 ms"),
        ({"kind": "drift", "until": 13}, "drifts: 5.50 -> 7.49 ms (+36 %) from 2026-12-01 to "),
        ({"kind": "drift", "until": 13}, "every seven nights"),
    ],
)
def test_every_state_of_a_change_is_told(line, fields, words):
    (change,) = line.changes
    shown = replace(line, changes=(replace(change, **fields),))
    text = " ".join(history_page([shown], Look(width=300)).plain.split())
    assert words in text
    page = " ".join(history_html("anon", [shown]).split())
    state = shown.changes[0].state
    assert ("1 announcement withdrawn" in page) == (state == "withdrawn")
    assert (", provisional" in page) == (state == "provisional")
    assert history_document("anon", [shown])["lines"][0]["changes"][0]["state"] == state
