"""All formats of a session's report, and writing one.

A format is a module with `report(request: Request) -> Written` and an entry here. The entry has all
that is needed before the module is imported, which may take most of a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import UsageError
from results.files import encoded, make_directory, write_atomically

if TYPE_CHECKING:
    from reports.request import Request, Written

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Format:
    """The end of the file's name, the module that makes the report, and a line of help."""

    suffix: str
    module: str
    help: str

    def load(self) -> None:
        """Import the module before it is used."""
        import_module(self.module)

    def report(self, request: Request) -> Written:
        """The report's content. Raises UsageError if the session has nothing for this format."""
        written: Written = import_module(self.module).report(request)
        return written


FORMATS = {
    "html": Format(".html", "reports.html.page", "one self-contained file"),
    "markdown": Format(".md", "reports.formats.markdown", "for a CI step summary, details folded"),
    "junit": Format(".xml", "reports.formats.junit", "JUnit XML, a case per scenario and build"),
    "json": Format(
        ".json", "reports.formats.report_json",
        "one document; its JSON Schema: pausebench report --schema",
    ),
    "openmetrics": Format(".prom", "reports.formats.openmetrics", "for a textfile collector"),
    "csv": Format(
        ".otava", "reports.formats.otava",
        "a directory of histories with otava.yaml, for Apache Otava",
    ),
    "parquet": Format(".parquet", "reports.formats.parquet", "a row per update"),
    "perfetto": Format(
        ".perfetto-trace", "reports.formats.perfetto",
        "the longest update and one near the median (or one --run), for ui.perfetto.dev",
    ),
}  # fmt: skip
DEFAULT = "html"


def find_format(kind: str) -> Format:
    """The format of that name. Raises UsageError with the list of formats."""
    if kind not in FORMATS:
        raise UsageError(f"no format `{kind}`; there are {', '.join(FORMATS)}")
    return FORMATS[kind]


def write_report(kind: str, request: Request, output: Path | None = None) -> Path | None:
    """Write one format to `output`, or below the store; None when it went to standard output.

    Files are written atomically. Raises UsageError for an unknown format and for a path that cannot
    be written.
    """
    form = find_format(kind)
    if output is None:
        from results.store.recordings import check_session_id  # not needed for --help

        # Only the store's own directory is created; a named directory must exist.
        directory = make_directory(request.store.path / "reports")
        output = directory / f"{check_session_id(request.data.session.id)}{form.suffix}"
    written = form.report(request)
    if isinstance(written, Mapping):
        if output == STDOUT:
            raise UsageError(f"{kind} writes a directory: give one with -o DIR")
        make_directory(output, parents=False)
        for name, content in written.items():
            write_atomically(output / name, content)
        return output
    if output != STDOUT:
        write_atomically(output, written)
        return None if _is_standard_output(output) else output
    if callable(written):
        raise UsageError(f"{kind} is written to a file: give one with -o FILE")
    sys.stdout.buffer.write(encoded(written))
    sys.stdout.buffer.flush()
    return None


def _is_standard_output(path: Path) -> bool:
    """Whether it is ours under another name, like /dev/stdout."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False
