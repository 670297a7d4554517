"""The formats: found by name, refused by name, told where people look for them."""

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


def test_what_is_no_format_is_refused_with_those_that_are(material, stored):
    with pytest.raises(UsageError, match=r"`prometheus` is none of html, markdown, junit, json,"):
        find_format("prometheus")
    with pytest.raises(UsageError, match=r"`` is none of html"):
        write_report("", Request(material, stored))
    assert list(stored.path.glob("reports")) == []


def test_the_readme_lists_them():
    listed = re.search(r"--format ([a-z|]+)", (ROOT / "README.md").read_text("utf-8"))
    assert listed[1].split("|") == list(FORMATS)
    assert DEFAULT in FORMATS


def test_asking_for_the_list_imports_none_of_them():
    code = "import sys, reports.formats.registry; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(said.stdout.split())
    assert not HEAVY & loaded
    assert not {form.module for form in FORMATS.values()} & loaded


@pytest.mark.parametrize("kind", FORMATS)
def test_each_is_written_where_it_is_told(material, stored, tmp_path, kind):
    path = tmp_path / "here"
    assert write_report(kind, Request(material, stored), path) == path
    files = list(path.iterdir()) if kind == "csv" else [path]
    assert files
    assert all(file.stat().st_size for file in files)
    assert list(path.parent.glob(".*.part")) == []
