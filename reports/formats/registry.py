"""Writing reports: which format is written by what, how it is judged, and where it goes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import UsageError
from results.store.documents import _attempt, replace_file

if TYPE_CHECKING:
    from results.store.store import Store
    from results.summary.report_data import Material

# Format → the end of a file's name; csv makes a directory.
FORMATS = {
    "html": ".html",
    "markdown": ".md",
    "junit": ".xml",
    "json": ".json",
    "openmetrics": ".prom",
    "csv": "",
    "parquet": ".parquet",
    "perfetto": ".perfetto-trace",
}
STDOUT = Path("-")


def write_report(
    kind: str,
    material: Material,
    store: Store,
    output: Path | None = None,
    *,
    strict: bool = False,
    run: str | None = None,
) -> Path | None:
    """Write one format to `output`, or below the store; None when it went to standard output.

    A file is whole or it is not there. Raises UsageError for a place that cannot be written.
    """
    if output is None:
        output = store.path / "reports" / f"{material.session.id}{FORMATS[kind] or '.otava'}"
        # Only the store's own directory is made; a directory that was named must be there.
        _attempt(output, lambda: output.parent.mkdir(parents=True, exist_ok=True))
    if kind == "csv":
        return _write_csv(material, store, output)
    if kind == "parquet":
        return _write_parquet(material, output)
    payload = _payload(kind, material, store, strict=strict, run=run)
    if output == STDOUT:
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.flush()
        return None
    replace_file(output, lambda part: part.write_bytes(payload))
    return output


def _payload(
    kind: str, material: Material, store: Store, *, strict: bool, run: str | None
) -> bytes:
    if kind == "perfetto":
        from .perfetto import trace

        chosen = [run] if run else _worst_and_median(material)
        ids = [store.resolve_run(each) for each in chosen]
        return trace([(store.run(i), store.recording(i)) for i in ids])
    return _text(kind, material, strict=strict).encode("utf-8", "replace")


def _text(kind: str, material: Material, *, strict: bool) -> str:
    match kind:
        case "html":
            from reports.html.page import html_report

            return html_report(material, strict=strict)
        case "markdown":
            from .markdown import markdown

            return markdown(material, strict=strict)
        case "junit":
            from .junit import junit

            return junit(material, strict=strict)
        case "json":
            from .report_json import report_json

            return report_json(material, strict=strict)
        case _:
            from .openmetrics import openmetrics

            return openmetrics(material, strict=strict)


def _worst_and_median(material: Material) -> list[str]:
    """The session's longest handover and the median one of the same cell."""
    cells = [cell for cell in material.cells if cell.worst and cell.median]
    if not cells:
        raise UsageError(f"session {material.session.id} has no valid run to trace")
    cell = max(cells, key=lambda cell: (cell.worst and cell.worst.blackout_ns) or 0)
    return list(dict.fromkeys(run.id for run in (cell.worst, cell.median) if run))


def _write_csv(material: Material, store: Store, output: Path) -> Path:
    from results.summary.history import read_history

    from .otava import otava_files

    if output == STDOUT:
        raise UsageError("csv writes a directory: name one with -o DIR")
    _attempt(output, lambda: output.mkdir(exist_ok=True))
    measured = {(c.summary.scenario, c.summary.dimensions) for c in material.cells}
    lines = read_history(store, until_unix_ns=material.session.started_unix_ns)
    here = [line for line in lines if (line.scenario, line.dimensions) in measured]
    for name, text in otava_files(here).items():
        replace_file(output / name, partial(_fill, text))
    return output


def _fill(text: str, part: Path) -> None:
    part.write_text(text, "utf-8")


def _write_parquet(material: Material, output: Path) -> Path | None:
    from .parquet import write_parquet

    if output == STDOUT:
        raise UsageError("parquet goes to a file: name one with -o FILE")
    replace_file(output, lambda part: write_parquet(material, part))
    return output
