"""A night compared with earlier ones: what is worse is a finding, what is undecided is none."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.report_json import report_json, schema_text
from reports.headline import headline
from reports.html.page import html_report

LABEL = "anchor 2026-11-01"


@pytest.fixture
def data(report_data):
    """A night in which nothing differs from the baseline; anon is slower than at the anchor."""
    (comparison,) = report_data.comparisons
    calm = tuple(
        replace(cell, verdict="same", failures_p=None, more_failures=False)
        for cell in comparison.cells
    )
    tonight = replace(comparison, cells=calm, exit_code=0)
    slower = tuple(replace(cell, failures_p=None, more_failures=False) for cell in comparison.cells)
    anchor = replace(comparison, cells=slower, label_a=LABEL, comparisons=3)
    cells = tuple(replace(cell, budget=None, limit=None) for cell in report_data.cells)
    return replace(report_data, cells=cells, comparisons=(tonight,), anchors=(anchor,))


@pytest.fixture
def undecided(data):
    """As every night on a host whose nights differ by more than what counts."""
    (anchor,) = data.anchors
    cells = tuple(
        replace(cell, verdict="undecided", reason="noise", more_failures=False)
        for cell in anchor.cells
    )
    return replace(data, anchors=(replace(anchor, cells=cells, exit_code=0),))


def mail_of(data):
    letter = Letter("job", "a@b", "c@d", 1.0, "pausebench nightly n.toml")
    return night_mail(data, (), letter).decode()


def test_what_is_slower_than_at_the_anchor_is_the_headline(data):
    top = headline(data)
    assert (top.word, top.exit_code) == ("regressed", 1)
    assert f"anon on new: regressed against {LABEL}" in top.sentence
    assert top.figures["against"] == LABEL
    (shift,) = (cell for cell in data.anchors[0].cells if cell.verdict == "regressed")
    assert f"Subject: [pausebench job] regressed: anon on new +{shift.shift_ns / 1e6:.3g}" in (
        mail_of(data)
    )


def test_more_lost_guests_than_at_the_anchor_are_the_headline(data, report_data):
    (anchor,) = data.anchors
    (comparison,) = report_data.comparisons
    lost = replace(anchor, cells=comparison.cells)
    data = replace(data, anchors=(lost,))
    top = headline(data)
    assert (top.word, top.exit_code, top.code) == ("regressed", 1, "fails-more-often")
    assert f"anon on new: lost its guest in 1 of 6 boots, {LABEL} in 0 of 6" in top.sentence
    assert "Subject: [pausebench job] regressed: anon on new lost its guest in 1 of 6 boots" in (
        mail_of(data)
    )


def test_damage_in_an_earlier_night_is_not_tonights(data):
    (anchor,) = data.anchors
    cells = tuple(
        replace(
            cell,
            verdict="same",
            failures_a=replace(cell.failures_a, damaged_boots=2),
        )
        for cell in anchor.cells
    )
    data = replace(data, anchors=(replace(anchor, cells=cells, exit_code=3),))
    assert headline(data).exit_code == 0


def test_what_is_undecided_against_the_anchor_is_no_finding(undecided):
    calm = replace(undecided, anchors=())
    for strict in (False, True):
        assert headline(undecided, strict=strict) == headline(calm, strict=strict)
    assert junit(undecided) == junit(calm)


def test_every_format_has_the_comparison(data, undecided):
    for each in (data, undecided):
        assert f"new against {LABEL}" in html_report(each)
        assert f"### new against {LABEL}" in markdown(each)
        document = json.loads(report_json(each))
        jsonschema.validate(document, json.loads(schema_text()))
        assert [found["a"] for found in document["anchors"]] == [LABEL]
        assert LABEL in mail_of(each)
    assert f"against {LABEL}: regressed" in junit(data)
    assert "anon on new, against an earlier night: regressed" in mail_of(data)


def test_a_session_without_earlier_nights_has_no_such_key(report_data):
    assert "anchors" not in json.loads(report_json(report_data))
