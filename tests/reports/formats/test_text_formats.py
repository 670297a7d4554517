"""Markdown, JUnit, JSON, OpenMetrics: against golden files, schemas and independent parsers.

The golden files are rewritten by `GOLDEN=write`; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reports.formats.junit import junit
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.report_json import report_document, report_json, schema_text

HERE = Path(__file__).parents[1]
FORMS = {"md": markdown, "xml": junit, "json": report_json, "prom": openmetrics}


@pytest.mark.parametrize("end", FORMS)
def test_golden(report_data, end):
    path, text = HERE / "golden" / f"report.{end}", FORMS[end](report_data)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


# --- Markdown ------------------------------------------------------------------------------


def test_text_of_a_record_does_not_become_markup(report_data):
    text = markdown(report_data)
    bare = re.sub(r"</?(details|summary)>", "", text)
    assert "<script" not in re.sub(r"\\<", "", bare).replace("      new: <script", "")
    assert "\x1b" not in text
    # A line of a log is indented code, which nothing in it can end.
    assert "\n      new: <script>" in text


def test_folded_blocks_are_closed(report_data):
    text = markdown(report_data)
    assert text.count("<details>") == text.count("</details>") >= 3


# --- JUnit ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def junit_schema():
    return xmlschema.XMLSchema(HERE / "data" / "junit.xsd")


def test_junit_is_valid_and_counts_right(report_data, junit_schema):
    text = junit(report_data)
    junit_schema.validate(text)
    suite = ET.fromstring(text).find("testsuite")
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "1"
    (failure,) = suite.iter("failure")
    assert "regressed" in failure.attrib["message"]
    assert "1 of 12 runs failed" in failure.attrib["message"]
    assert "pausebench show 20261123-221500-3f2a.anon+new.b06.u02" in failure.text


def test_the_junit_schema_refuses_broken_files(report_data, junit_schema):
    text = junit(report_data)
    for broken in (
        text.replace("<properties>", "<props>").replace("</properties>", "</props>"),
        text.replace(' tests="4"', ""),
        text.replace("</failure>", "</failure><error message='x' type='y'/>"),
    ):
        assert not junit_schema.is_valid(broken)


def test_undecided_is_skipped_and_fails_when_strict(report_data, junit_schema):
    comparison = report_data.comparisons[0]
    cells = tuple(replace(c, verdict="undecided", reason="too wide") for c in comparison.cells)
    unclear = replace(report_data, comparisons=(replace(comparison, cells=cells),))
    for strict, count in ((False, 0), (True, 1)):
        text = junit(unclear, strict=strict)
        junit_schema.validate(text)
        memfd = next(
            c for c in ET.fromstring(text).iter("testcase") if "memfd on new" in c.attrib["name"]
        )
        assert len(memfd.findall("failure")) == count
        assert len(memfd.findall("skipped")) == 1 - count


# --- JSON ----------------------------------------------------------------------------------


def test_json_matches_its_published_schema(report_data):
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(report_json(report_data)), schema)
    bare = replace(report_data, comparisons=(), failures=(), reference=None)
    jsonschema.validate(json.loads(report_json(bare)), schema)


@pytest.mark.parametrize("key", ["schema", "verdict", "cells", "exit_code"])
def test_the_json_schema_refuses_broken_documents(report_data, key):
    document = report_document(report_data)
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(schema_text()))


def test_the_document_survives_json(report_data):
    assert json.loads(report_json(report_data)) == report_document(report_data)


# --- OpenMetrics ---------------------------------------------------------------------------


def test_openmetrics_is_read_back(report_data):
    families = {f.name: f for f in text_string_to_metric_families(openmetrics(report_data))}
    info = families["pausebench_session"].samples[0].labels
    assert info["verdict"] == "regressed"
    assert info["worst_cell"] == "anon on new"
    medians = {
        (s.labels["scenario"], s.labels["new"]): s.value
        for s in families["pausebench_blackout_median_seconds"].samples
        if s.labels["bound"] == "median"
    }
    for cell in report_data.cells:
        key = (cell.summary.scenario, cell.summary.new_build)
        assert medians[key] == pytest.approx(cell.summary.median_ns / 1e9)
    (failed,) = [
        s.value
        for s in families["pausebench_runs"].samples
        if s.labels["outcome"] == "failed" and s.labels["scenario"] == "anon"
        and s.labels["new"] == "new"
    ]  # fmt: skip
    assert failed == 1
    states = [s for s in families["pausebench_verdict"].samples if s.labels["scenario"] == "anon"]
    assert {s.labels["pausebench_verdict"] for s in states if s.value} == {"regressed"}


def test_labels_are_escaped(report_data):
    first = report_data.cells[0]
    nasty = replace(first, summary=replace(first.summary, scenario='a"b\\c\nd'))
    families = text_string_to_metric_families(openmetrics(replace(report_data, cells=(nasty,))))
    runs = next(f for f in families if f.name == "pausebench_runs")
    assert runs.samples[0].labels["scenario"] == 'a"b\\c\nd'
