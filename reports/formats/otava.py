"""The history as CSV files for Apache Otava (formerly Hunter), with a configuration.

Otava reads a file per test, a row per night, and a number for every metric of every row:
https://otava.apache.org/docs/csv. A phase without a share of the blackout counts as 0.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Sequence

from reports.request import Request
from results.history.lines import Line, Point, read_lines
from results.printable import printable

CONFIG_NAME = "otava.yaml"
_ATTRIBUTES = ("session", "version", "build_id", "kernel", "valid", "failed")


def report(request: Request) -> dict[str, str]:
    """The history of the session's cells, up to this session."""
    data = request.data
    measured = {(c.summary.scenario, c.summary.dimensions) for c in data.cells}
    lines = read_lines(request.store, until_unix_ns=data.session.started_unix_ns)
    wanted = [line for line in lines if (line.key.scenario, line.key.dimensions) in measured]
    return otava_files(wanted)


def otava_files(lines: Sequence[Line]) -> dict[str, str]:
    """File name → text: a CSV per line of the history, and one configuration for all."""
    files: dict[str, str] = {}
    tests: list[str] = []
    for line in lines:
        if not line.points:
            continue
        name = _free_name(line, files)
        metrics = _metrics(line.points)
        files[f"{name}.csv"] = _csv(line.points, metrics)
        tests.append(_test(name, metrics))
    files[CONFIG_NAME] = "tests:\n" + "".join(tests) if tests else "tests: {}\n"
    return files


def _free_name(line: Line, taken: dict[str, str]) -> str:
    """`anon.system`, with a number where that is taken: by another size or other probes."""
    base = re.sub(r"[^A-Za-z0-9_.+-]+", "-", f"{line.key.scenario}.{line.builds}")
    name, number = base, 2
    while f"{name}.csv" in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _metrics(points: Sequence[Point]) -> list[str]:
    phases = dict.fromkeys(phase for point in points for phase in point.phases)
    # A phase of any other name is not one of ours, and would need quotes in CSV and YAML.
    phases = {phase: None for phase in phases if re.fullmatch("[A-Za-z0-9_]+", phase)}
    fixed = ["blackout_median_ms", "blackout_max_ms"]
    # A metric missing from one night makes Otava reject the file.
    fixed += [
        f"{name}_ms"
        for name in ("handover_median", "qemu_median")
        if all(getattr(point, f"{name}_ns") is not None for point in points)
    ]
    return fixed + [f"phase_{phase}_ms" for phase in phases]


def _value(point: Point, metric: str) -> str:
    if metric.startswith("phase_"):
        ns = point.phases.get(metric.removeprefix("phase_").removesuffix("_ms"), 0)
    else:
        field = metric.removesuffix("_ms") + "_ns"
        ns = getattr(point, field.removeprefix("blackout_"))
    return f"{ns / 1e6:.6f}"


def _csv(points: Sequence[Point], metrics: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["time", *_ATTRIBUTES, *metrics])
    for point in points:
        stamp = time.strftime(
            "%Y-%m-%d %H:%M:%S +0000", time.gmtime(point.started_unix_ns // 10**9)
        )
        attributes = [_cell(str(getattr(point, name))) for name in _ATTRIBUTES]
        writer.writerow([stamp, *attributes, *(_value(point, metric) for metric in metrics)])
    return out.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    shown = printable(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def _test(name: str, metrics: Sequence[str]) -> str:
    """Quoted names are safe: they have only letters, digits and _ . + -. Shorter is better."""
    lines = [
        f'  "{name}":',
        "    type: csv",
        f'    file: "{name}.csv"',
        "    time_column: time",
        f"    attributes: [{', '.join(_ATTRIBUTES)}]",
        "    metrics:",
    ]
    for metric in metrics:
        lines += [f'      "{metric}":', f'        column: "{metric}"', "        direction: -1"]
    return "\n".join(lines) + "\n"
