"""Records that others wrote: no name, label, reason or log acts in any medium of a report."""

from __future__ import annotations

import csv
import email
import email.policy
import io
import json
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reports.formats.junit import junit
from reports.formats.mail import Letter, night_mail
from reports.formats.markdown import markdown
from reports.formats.markdown_tables import code, escaped, table
from reports.formats.openmetrics import openmetrics
from reports.formats.otava import otava_files
from reports.formats.parquet import parquet_table
from reports.formats.perfetto import report as perfetto
from reports.formats.registry import FORMATS, write_report
from reports.formats.report_json import report_json
from reports.html.history_page import history_html
from reports.html.page import html_report
from reports.request import Request
from reports.terminal.comparison import comparison_table
from reports.terminal.history import history_page
from reports.terminal.session import session_page
from reports.terminal.style import Look
from reports.terminal.waterfall import waterfall
from results.errors import UsageError
from results.history.lines import read_lines
from results.printable import printable_lines

HOSTILE = (
    "=cmd|'/C calc'!A1 <script>alert(1)</script> </pre></style> &#x202e; | `tick` ``` [a](b) "
    "\x1b]0;t\x07\x1b[31m\x00\x9b31m\u202eevil\u2066\r\nBcc: x@y\n# HELP\u2028--- \"'\\{{7*7}}"
)
# Words with a meaning to the code, and ids, which are verified where they are read.
MEANT = frozenset({
    "id", "session", "outcome", "verdict", "side", "state", "interval", "guest_clock", "witness",
    "proof", "probe_tier", "method", "worst_run", "code", "kind", "store",
})  # fmt: skip


def hostile(value, name=""):
    """`value` with hostile text in place of every text that names or says something."""
    if name in MEANT:
        return value
    if isinstance(value, str):
        return HOSTILE + value
    if is_dataclass(value):
        if type(value).__name__ == "Columns":
            texts = {
                key: (codes, hostile_words(key, words))
                for key, (codes, words) in value.texts.items()
            }
            return replace(value, texts=texts)
        changes = {f.name: hostile(getattr(value, f.name), f.name) for f in fields(value) if f.init}
        return replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(hostile(each, name) for each in value)
    if isinstance(value, dict):
        return {
            f"{key}{HOSTILE}" if name == "environment" else key: hostile(each, name)
            for key, each in value.items()
        }
    return value


def hostile_words(name, words):
    return words if name in MEANT else [HOSTILE + word for word in words]


@pytest.fixture
def evil(report_data):
    return hostile(report_data)


@pytest.fixture
def lines(stored):
    return [hostile(line) for line in read_lines(stored)]


def assert_shown(text):
    """Nothing but printable characters, line breaks and tabs."""
    assert printable_lines(text) == text
    assert "\r" not in text


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html(evil, report_data, lines):
    for page, usual in (
        (html_report(evil), html_report(report_data)),
        (history_html(HOSTILE, lines), None),
    ):
        assert_shown(page)
        found = Tags(page)
        assert "script" not in found.tags
        assert not any(name.startswith("on") for name in found.attributes)
        assert usual is None or found.tags <= Tags(usual).tags
        assert "{{7*7}}" in page


def test_markdown(evil):
    text = markdown(evil)
    assert_shown(text)
    bare = re.sub(r"</?(details|summary)>", "", text)
    code_removed = re.sub(r"(`+) ?.*?\1|^      .*$|^    .*$", "", bare, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[<>]", code_removed.replace("&lt;", "").replace("&gt;", ""))
    assert "&#x202e" not in re.sub(r"\\&", "", code_removed).replace("&amp;#", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- a list", "\\- a list"),
        ("1. a list", "1\\. a list"),
        ("--- a rule", "\\--- a rule"),
        ("0.5 ms", "0.5 ms"),
        ("+1.02 [+0.2]", "+1.02 \\[+0.2\\]"),
        ("&copy; | a", "\\&copy; \\| a"),
        ("a\nb\x1b", "a?b?"),
    ],
)
def test_markdown_escapes(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize("text", ["plain", "`", "a``b", "``", "```x", "line\nbreak"])
def test_a_code_span_is_ended_by_nothing_in_it(text):
    span = code(text)
    fence = re.match("`+", span)[0]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert not re.search(rf"(?<!`){fence}(?!`)", inside)
    assert "\n" not in span


def test_a_table_has_as_many_cells_as_its_header(evil):
    rows = [[HOSTILE, "a|b", "\\|"]]
    for line in table(("one", "two|2", "three"), rows).splitlines():
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4


def test_terminal(evil, lines):
    summaries = [cell.summary for cell in evil.cells]
    runs = [run for _, runs in evil.failures for run in runs]
    for unicode in (False, True):
        look = Look(100, unicode=unicode)
        pages = [
            session_page(summaries, runs, evil.store, evil.session.id, look, [HOSTILE]),
            history_page(lines, look),
            *(comparison_table(comparison, look) for comparison in evil.comparisons),
            *(waterfall(run, look) for run in runs),
        ]
        for page in pages:
            assert_shown(page.plain)
            assert "\t" not in page.plain


def test_mail(evil, lines):
    letter = Letter(HOSTILE, HOSTILE, HOSTILE, 0.0, HOSTILE, (HOSTILE,))
    raw = night_mail(evil, lines, letter)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert set(message.keys()) == {
        "Subject", "From", "To", "Date", "Auto-Submitted", "X-Pausebench-Host", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding",
    } - ({"X-Pausebench-Host"} if "X-Pausebench-Host" not in message else set())  # fmt: skip
    assert_shown(message.get_content())
    assert_shown(raw.decode())


def test_junit(evil):
    text = junit(evil)
    assert_shown(text)
    root = ET.fromstring(text)
    assert {each.tag for each in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "system-out",
        "error", "skipped",
    }  # fmt: skip


def test_openmetrics(evil):
    text = openmetrics(evil)
    assert_shown(text)
    assert all(line.startswith(("# ", "pausebench_")) for line in text.splitlines())
    assert list(text_string_to_metric_families(text))


def test_csv_has_no_formula(lines):
    files = otava_files(lines)
    assert set(yaml.safe_load(files["otava.yaml"])["tests"]) == {
        name.removesuffix(".csv") for name in files if name != "otava.yaml"
    }
    for name, text in files.items():
        assert re.fullmatch(r"[A-Za-z0-9_.+-]+", name)
        assert not name.startswith(".")
        assert_shown(text)
        if name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO(text)))
            assert len({len(row) for row in rows}) == 1
            assert not any(cell.startswith(("=", "+", "@", "-")) for row in rows for cell in row)


def test_programs_get_the_text_as_it_is(evil, stored):
    assert json.loads(report_json(evil))["sessions"][0]["environment"][f"host{HOSTILE}"].startswith(
        HOSTILE
    )
    report_json(evil).encode("ascii")
    assert parquet_table(evil.columns).num_rows == len(evil.columns)
    assert perfetto(Request(evil, stored))


@pytest.mark.parametrize("named", ["../../x", "/etc/x", "<script>", "\x1b[31m", "..", ""])
def test_a_file_is_named_by_a_session_id_only(report_data, stored, named, tmp_path):
    sessions = (replace(report_data.session, id=named),)
    before = sorted(tmp_path.rglob("*"))
    for kind in FORMATS:
        with pytest.raises(UsageError, match="session id"):
            write_report(kind, Request(replace(report_data, sessions=sessions), stored))
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "reports"] == before
