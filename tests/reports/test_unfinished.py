"""A session that ended early is green in no format, and each gives its true status."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import jsonschema
import pyarrow.parquet as pq
import pytest

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.openmetrics import openmetrics
from reports.formats.parquet import write_parquet
from reports.formats.report_json import report_json, schema_text
from reports.headline import headline
from reports.html.page import html_report
from results.store.store import SessionEnd


@pytest.fixture(params=[130, 3, None], ids=["interrupted", "disk full", "killed"])
def early(request, session_of):
    """A good session of 6 updates, of 40 that were planned."""
    data = session_of("run anon", [("anon", "system", "system", 4.0)])
    planned = replace(data.session, planned_updates=40)
    end = SessionEnd(None if request.param is None else 2, request.param)
    return replace(data, sessions=(planned,), end=end)


def test_it_is_good_news_in_no_format(early):
    top = headline(early)
    status = 130 if early.end.exit_code == 130 else 3
    assert (top.word, top.tone, top.exit_code) == ("interrupted", "doubt", status)
    assert "6 of 40 updates. " in top.sentence
    page = html_report(early)
    assert '<header class="doubt">' in page
    assert f"exit status {status}" in page
    text = markdown(early)
    assert text.startswith("## 🟡 ")
    assert f"Exit status {status}." in text
    document = json.loads(report_json(early))
    assert (document["verdict"], document["exit_code"]) == ("interrupted", status)
    assert document["sentence_key"]["figures"]["planned_updates"] == 40
    jsonschema.validate(document, json.loads(schema_text()))
    suite = ET.fromstring(junit(early)).find("testsuite")
    assert suite.attrib["errors"] == "1"
    assert "6 of 40 updates" in suite.find(".//error").attrib["message"]
    metrics = openmetrics(early)
    assert 'verdict="interrupted"' in metrics
    assert f"pausebench_exit_code {status}\n" in metrics
    letter = Letter("night", "a@b", "c@d", 0.0, "again")
    mail = night_mail(early, [], letter).decode()
    assert "interrupted: " in mail
    assert f"exit status {status}" in mail
    file = io.BytesIO()
    write_parquet(early, file)
    about = pq.read_schema(file).metadata
    assert b"6 of 40 updates" in about[b"pausebench.unfinished"]
    for said in (page, text, suite.find(".//error").attrib["message"], mail, top.sentence):
        assert "6 of 40 updates" in said


def test_bad_news_stay_what_they_are(early):
    cell = early.cells[0]
    failed = replace(cell, summary=replace(cell.summary, failed=2))
    top = headline(replace(early, cells=(failed,)))
    assert (top.word, top.tone) == ("failed", "bad")
    assert "6 of 40 updates. 2 of 8 runs failed" in top.sentence
    assert top.exit_code == (130 if early.end.exit_code == 130 else 3)
