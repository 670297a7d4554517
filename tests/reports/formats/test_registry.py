"""The formats: looked up by name, and listed in the help and the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reports.formats.registry import DEFAULT, FORMATS, find_format, write_report
from reports.request import Request
from results.errors import UsageError

ROOT = Path(__file__).parents[3]
HEAVY = {"numpy", "sqlalchemy", "jinja2", "pyarrow", "msgspec", "rich"}


def test_an_unknown_format_is_refused_with_a_list(report_data, stored):
    with pytest.raises(
        UsageError, match=r"no format `prometheus`; there are html, markdown, junit, json,"
    ):
        find_format("prometheus")
    with pytest.raises(UsageError, match=r"no format ``; there are html"):
        write_report("", Request(report_data, stored))
    assert list(stored.path.glob("reports")) == []


def test_the_readme_lists_them():
    listed = re.search(r"--format ([a-z|]+)", (ROOT / "README.md").read_text("utf-8"))
    assert listed[1].split("|") == list(FORMATS)
    assert DEFAULT in FORMATS


def test_listing_the_formats_imports_none_of_them():
    code = "import sys, reports.formats.registry; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(said.stdout.split())
    assert not HEAVY & loaded
    assert not {form.module for form in FORMATS.values()} & loaded


@pytest.mark.parametrize("kind", FORMATS)
def test_each_is_written_to_its_path(report_data, stored, tmp_path, kind):
    path = tmp_path / "here"
    assert write_report(kind, Request(report_data, stored), path) == path
    files = list(path.iterdir()) if kind == "csv" else [path]
    assert files
    assert all(file.stat().st_size for file in files)
    assert list(path.parent.glob(".*.part")) == []
