"""All formats of a session's report, and how one is written.

A format is a module with `report(request: Request) -> Written` and an entry here, which says all
that is asked before the module is imported: that may take most of a second.
"""

from __future__ import annotations

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
        """Import the module ahead of its use."""
        import_module(self.module)

    def report(self, request: Request) -> Written:
        """The report's content. Raises UsageError where the session has nothing to show in it."""
        written: Written = import_module(self.module).report(request)
        return written


FORMATS = {
    "html": Format(".html", "reports.html.page", "one self-contained file to read and forward"),
    "markdown": Format(".md", "reports.formats.markdown", "for a CI step summary; details folded"),
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
    "parquet": Format(".parquet", "reports.formats.parquet", "a row per handover"),
    "perfetto": Format(
        ".perfetto-trace", "reports.formats.perfetto",
        "the worst and the median handover (or one --run) for ui.perfetto.dev",
    ),
}  # fmt: skip
DEFAULT = "html"


def find_format(kind: str) -> Format:
    """The format of that name. Raises UsageError, naming all, where there is none."""
    if kind not in FORMATS:
        raise UsageError(f"`{kind}` is none of {', '.join(FORMATS)}")
    return FORMATS[kind]


def write_report(kind: str, request: Request, output: Path | None = None) -> Path | None:
    """Write one format to `output`, or below the store; None when it went to standard output.

    A file is whole or it is not there. Raises UsageError for a format that is none and for a place
    that cannot be written.
    """
    form = find_format(kind)
    if output is None:
        # Only the store's own directory is made; a directory that was named must be there.
        directory = make_directory(request.store.path / "reports")
        output = directory / f"{request.material.session.id}{form.suffix}"
    written = form.report(request)
    if isinstance(written, Mapping):
        if output == STDOUT:
            raise UsageError(f"{kind} writes a directory: name one with -o DIR")
        make_directory(output, parents=False)
        for name, content in written.items():
            write_atomically(output / name, content)
        return output
    if output != STDOUT:
        return write_atomically(output, written)
    if callable(written):
        raise UsageError(f"{kind} goes to a file: name one with -o FILE")
    sys.stdout.buffer.write(encoded(written))
    sys.stdout.buffer.flush()
    return None
