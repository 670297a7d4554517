"""What a failed update cost its guest is shown wherever failed runs are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from reports.formats.markdown import markdown
from reports.formats.report_json import report_document
from reports.html.page import html_report
from reports.terminal.session import failures
from reports.terminal.style import Look
from reports.terminal.waterfall import waterfall
from reports.wording import rollback_text
from results.records.rollback import FAILING, Rollback
from results.summary.failures.rollbacks import rollbacks

BACK = Rollback("old", 18_800_000, 5, (18_800_000, 17_000_000), FAILING, 259_000)
WORDS = "guest resumed in old QEMU after 18.8 ms, failing → failed 0.259 ms"


@pytest.fixture
def run(failed_run):
    return replace(failed_run, rollback=BACK)


@pytest.mark.parametrize(
    ("back", "words"),
    [
        (BACK, WORDS),
        (Rollback("old", 0), "guest ran on in old QEMU, never stopped"),
        (Rollback("old"), "guest runs on in old QEMU, its pause is unknown"),
        (Rollback("new"), "guest runs in new QEMU"),
        (Rollback("nowhere"), "guest runs in no QEMU"),
    ],
)
def test_one_guest_in_words(back, words):
    assert rollback_text(back) == words


def test_show(run):
    assert WORDS in waterfall(run, Look(140, unicode=True)).plain


def test_the_end_of_a_session(run):
    runs = [run, replace(run, id="other", rollback=Rollback("nowhere"))]
    text = " ".join(failures(runs, Look(140), Path("out")).plain.split())
    assert "guests of 2 failed updates: 1 resumed in old QEMU after 18.8 ms, 1 in no QEMU" in text


def test_report_in_every_format(report_data, run):
    group, _ = report_data.failures[0]
    found = rollbacks([run])
    data = replace(report_data, rollbacks=found, failures=((group, (run,)),))
    words = "guests of 1 failed updates: 1 resumed in old QEMU after 18.8 ms"
    assert words in markdown(data)
    page = html_report(data)
    assert words in page
    assert WORDS in page
    assert json.loads(json.dumps(report_document(data)))["rollbacks"] == asdict(found)
    medians = [cell.summary.median_ns for cell in data.cells]
    assert medians == [cell.summary.median_ns for cell in report_data.cells], "no blackout"
