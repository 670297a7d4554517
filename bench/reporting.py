"""Writing reports: which format is written by what, how it is judged, and where it goes."""

from __future__ import annotations

import argparse
import math
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import UsageError

if TYPE_CHECKING:
    from results.material import Asked, Limit, Material
    from results.store import Store

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


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget", metavar="[SCENARIO=]MS[:PERCENT]", action="append", default=[],
        help="at least PERCENT (default 95) of the blackouts are to stay under MS; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--relative", type=float, default=5.0, metavar="PERCENT",
        help="between builds: a smaller change does not count (default 5)",
    )  # fmt: skip
    parser.add_argument(
        "--absolute", type=float, default=0.2, metavar="MS",
        help="between builds: a smaller change does not count (default 0.2 ms)",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="undecided counts as a failure")


def asked_of(args: argparse.Namespace) -> Asked:
    """Budgets and thresholds of the command line. Raises UsageError for what is none."""
    from results.material import Asked
    from results.verdict import Thresholds

    for name in ("relative", "absolute"):
        if not 0 <= getattr(args, name) < 1e6:
            raise UsageError(f"--{name} {getattr(args, name):g}: must be a number from 0")
    thresholds = Thresholds(args.relative / 100.0, round(args.absolute * 1e6))
    return Asked(dict(map(parse_budget, args.budget)), thresholds, args.strict)


def parse_budget(text: str) -> tuple[str, Limit]:
    """`50`, `50:99`, `anon=50:99` → the scenario (`*` for all) and its limit."""
    from results.material import Limit

    scenario, sign, value = text.rpartition("=")
    limit, colon, share = value.partition(":")
    try:
        ms, percent = float(limit), float(share) if colon else 95.0
    except ValueError:
        ms = percent = math.nan
    if not (0 < ms < 1e9 and 0 < percent <= 100) or (sign and not scenario):
        raise UsageError(f"--budget {text}: takes [SCENARIO=]MS[:PERCENT], like 50 or anon=8:99")
    return scenario or "*", Limit(round(ms * 1e6), percent / 100.0)


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
        from reports.perfetto import trace

        chosen = [run] if run else _worst_and_median(material)
        ids = [store.resolve_run(each) for each in chosen]
        return trace([(store.run(i), store.recording(i)) for i in ids])
    return _text(kind, material, strict=strict).encode("utf-8", "replace")


def _text(kind: str, material: Material, *, strict: bool) -> str:
    match kind:
        case "html":
            from reports.html import html_report

            return html_report(material, strict=strict)
        case "markdown":
            from reports.markdown import markdown

            return markdown(material, strict=strict)
        case "junit":
            from reports.junit import junit

            return junit(material, strict=strict)
        case "json":
            from reports.report_document import report_json

            return report_json(material, strict=strict)
        case _:
            from reports.openmetrics import openmetrics

            return openmetrics(material, strict=strict)


def _worst_and_median(material: Material) -> list[str]:
    """The session's longest handover and the median one of the same cell."""
    cells = [cell for cell in material.cells if cell.worst and cell.median]
    if not cells:
        raise UsageError(f"session {material.session.id} has no valid run to trace")
    cell = max(cells, key=lambda cell: (cell.worst and cell.worst.blackout_ns) or 0)
    return list(dict.fromkeys(run.id for run in (cell.worst, cell.median) if run))


def _write_csv(material: Material, store: Store, output: Path) -> Path:
    from reports.otava import otava_files
    from results.history import read_history

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
    from reports.parquet import write_parquet

    if output == STDOUT:
        raise UsageError("parquet goes to a file: name one with -o FILE")
    replace_file(output, lambda part: write_parquet(material, part))
    return output


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path` that then takes its place, whole."""
    part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")

    def fill() -> None:
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    _attempt(path, fill)


def _attempt(path: Path, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
