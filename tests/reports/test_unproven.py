"""Every unproven run is listed with its reason, in every report, and nothing about it is green."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.parquet import write_parquet
from reports.formats.perfetto import trace
from reports.formats.report_json import report_json, schema_text
from reports.html.page import html_report
from reports.html.tiles import tiles
from reports.terminal.session import session_page, summary_table
from reports.terminal.style import Look
from results.records.evidence import Check, Proof
from results.store.store import open_store
from results.summary.failures.unproven import unproven_groups
from results.summary.report_data import read_report_data

SESSION = "20261123-221500-3f2a"
REASONS = {
    (2, 1): "the page map could not be read",
    (3, 2): "the page map could not be read",
    (5, 1): "no descriptor was seen on the cpr channel",
}


@pytest.fixture
def runs(good_run):
    """Six boots of two updates, three of them unproven for two reasons."""
    made = []
    for boot in range(1, 7):
        for update in (1, 2):
            reason = REASONS.get((boot, update))
            held = Proof("held", "", (Check("RAM in place", "held", "all 32 pages"),))
            made.append(
                replace(
                    good_run,
                    id=f"{SESSION}.anon.b{boot:02d}.u{update:02d}",
                    boot=boot,
                    update=update,
                    dimensions="id=anon vcpus=2",
                    proof=held if reason is None else Proof("unproven", reason),
                )
            )
    return made


@pytest.fixture
def report_data(tmp_path, runs, session, recording_of):
    with open_store(tmp_path / "unproven") as store:
        store.add_session(session)
        for run in runs:
            store.add_run(run, recording_of(run))
        return replace(read_report_data(store, [SESSION]), store="out")


def night(report_data):
    letter = Letter("qemu", "a@b", "c@d", 1_795_472_200.0, "pausebench nightly night.toml")
    return night_mail(report_data, (), letter).decode()


REPORTS = (html_report, markdown, junit, report_json, openmetrics, night)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.__name__)
def test_every_report_lists_them_with_their_reasons(report_data, report):
    text = html.unescape(report(report_data))
    for (boot, update), reason in REASONS.items():
        assert reason in text
        assert f"{SESSION}.anon.b{boot:02d}.u{update:02d}" in text
    assert text.count("the page map could not be read") == 1 or report is openmetrics


def test_the_metadata_of_a_parquet_file_lists_them(report_data, tmp_path):
    path = tmp_path / "runs.parquet"
    with path.open("wb") as file:
        write_parquet(report_data, file)
    found = json.loads(pq.read_schema(path).metadata[b"pausebench.unproven"])
    assert {reason: len(runs) for reason, runs in found.items()} == {
        REASONS[2, 1]: 2, REASONS[5, 1]: 1,
    }  # fmt: skip


def test_a_trace_has_the_reason(report_data, runs, recording_of):
    (run,) = [run for run in runs if (run.boot, run.update) == (2, 1)]
    assert REASONS[2, 1].encode() in trace([(run, recording_of(run))])


def test_the_end_of_a_session_lists_them(report_data, runs):
    summaries = [cell.summary for cell in report_data.cells]
    text = session_page(summaries, runs, Path("out"), SESSION, Look(100)).plain
    assert "3 unproven:" in text
    assert "2 x the page map could not be read (anon)" in text
    for boot, update in REASONS:
        assert f"pausebench show {SESSION}.anon.b{boot:02d}.u{update:02d}" in text


def test_the_document_is_as_its_schema_says(report_data):
    document = json.loads(report_json(report_data))
    jsonschema.validate(document, json.loads(schema_text()))
    assert [len(group["runs"]) for group in document["unproven"]] == [2, 1]


def test_the_largest_group_comes_first(report_data):
    first, second = report_data.unproven
    assert first.runs == (f"{SESSION}.anon.b02.u01", f"{SESSION}.anon.b03.u02")
    assert (first.scenarios, second.reason) == (("anon",), REASONS[5, 1])


def test_a_proof_without_a_reason_is_explained_by_its_open_checks(good_run):
    check = Check("one copy", "missing", "RssAnon could not be read")
    (group,) = unproven_groups([replace(good_run, proof=Proof("unproven", "", (check,)))])
    assert group.reason == "one copy: RssAnon could not be read"


def test_the_tile_is_not_green(report_data):
    (tile,) = [tile for tile in tiles(report_data) if tile.name == "proof held"]
    assert (tile.figure, tile.tone) == ("9 of 12", "doubt")
    assert "3 unproven" in tile.remark
    assert re.search(r'<div class="doubt"><dt>proof held</dt>', html_report(report_data))


@pytest.mark.parametrize(
    ("proofs", "tone"),
    [({"held": 12}, "good"), ({"held": 11, "broken": 1}, "bad"),
     ({"held": 10, "broken": 1, "unproven": 1}, "bad"), ({"unproven": 12}, "doubt")],
)  # fmt: skip
def test_a_tile_is_green_where_every_proof_held(report_data, proofs, tone):
    cell = replace(
        report_data.cells[0], summary=replace(report_data.cells[0].summary, proofs=proofs)
    )
    (tile,) = [t for t in tiles(replace(report_data, cells=(cell,))) if t.name == "proof held"]
    assert tile.tone == tone


@pytest.mark.parametrize(
    ("proofs", "style"),
    [({"held": 12}, "green"), ({"held": 9, "unproven": 3}, "yellow"),
     ({"held": 11, "broken": 1}, "bold red")],
)  # fmt: skip
def test_the_table_is_green_where_every_proof_held(report_data, proofs, style):
    summary = replace(report_data.cells[0].summary, proofs=proofs)
    table = summary_table([summary], Look(140, colour=True, unicode=True))
    start = table.plain.rindex("held")
    (found,) = [span.style for span in table.spans if span.start <= start < span.end]
    assert str(found) == style
