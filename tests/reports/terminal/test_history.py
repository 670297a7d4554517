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
