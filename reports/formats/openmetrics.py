"""A session as OpenMetrics text, for a textfile collector or a push gateway.

The format: https://prometheus.io/docs/specs/om/open_metrics_spec/. Durations are in seconds, its
base unit; there is one time series per cell, so that a scrape stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from reports.headline import headline
from reports.request import Request
from results.printable import printable_lines
from results.summary.accelerator import tcg_note
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData

Sample = tuple[dict[str, str], float]
_VERDICTS = ("regressed", "undecided", "improved", "same")


def report(request: Request) -> str:
    return openmetrics(request.data, strict=request.strict)


def openmetrics(data: ReportData, *, strict: bool = False) -> str:
    """All families, ending in `# EOF`."""
    top = headline(data, strict=strict)
    session = data.session
    about = {
        "session": session.id,
        "kind": data.kind,
        "host": session.environment.get("host", ""),
        "kernel": session.environment.get("kernel", ""),
        "verdict": top.word,
        "worst_cell": top.cell,
    }
    if note := tcg_note(session, (cell.summary.dimensions for cell in data.cells)):
        about["accelerator"] = note
    started = session.started_unix_ns / 1e9
    lines: list[str] = []
    add = lines.extend
    add(_family("session", "info", "The session and its verdict.", [(about, 1)], "_info"))
    add(_family("session_started_timestamp_seconds", "gauge", "When it started.", [({}, started)]))
    add(_family("exit_code", "gauge", "As that of `pausebench compare`.", [({}, top.exit_code)]))
    for family in _of_cells(data.cells):
        add(family)
    about_unproven = "A run whose proof could not be completed, and why."
    add(_family("unproven", "info", about_unproven, _unproven(data), "_info"))
    add(_family("shift_seconds", "gauge", "B minus A with its 95 % interval.", _shifts(data)))
    add(_family("verdict", "stateset", "Verdict of B against A.", _verdicts(data)))
    return "\n".join([*lines, "# EOF"]) + "\n"


def _of_cells(cells: Sequence[ReportCell]) -> Iterable[list[str]]:
    yield _family(
        "blackout_median_seconds",
        "gauge",
        "Median over boots of each boot's median VM blackout, and its 95 % bounds.",
        [
            (_labels(cell) | {"bound": bound}, ns / 1e9)
            for cell in cells
            for bound, ns in (
                ("median", cell.summary.median_ns),
                ("low", cell.summary.low_ns),
                ("high", cell.summary.high_ns),
            )
            if ns is not None
        ],
    )
    yield _family("blackout_seconds", "summary", "VM blackout of valid updates.", _blackouts(cells))
    yield _family(
        "witness_median_seconds",
        "gauge",
        "Median over boots of the pause that each witness saw.",
        [
            (_labels(cell) | {"witness": t.witness}, t.median_ns / 1e9)
            for cell in cells
            for t in cell.testimonies
            if t.median_ns is not None
        ],
    )
    yield _family(
        "phase_median_seconds",
        "gauge",
        "Median over boots of each phase's share of the blackout.",
        [
            (_labels(cell) | {"phase": name}, ns / 1e9)
            for cell in cells
            for name, ns in cell.summary.phases.items()
        ],
    )
    yield _family(
        "runs",
        "gauge",
        "Stored updates of the session.",
        [
            (_labels(cell) | {"outcome": outcome}, count)
            for cell in cells
            for outcome, count in (
                ("completed", cell.summary.valid),
                ("failed", cell.summary.failed),
            )
        ],
    )
    yield _family(
        "harmed_boots",
        "gauge",
        "Boots with a failed run, by the worst that was done to their guest.",
        [
            (_labels(cell) | {"harm": harm}, count)
            for cell in cells
            for harm, count in cell.summary.harmed_boots.items()
        ],
    )
    yield _family(
        "within_budget_ratio",
        "gauge",
        "Share of updates under their budget, failed ones among the others.",
        [
            (_labels(cell) | {"budget_seconds": f"{b.limit_ns / 1e9:g}"}, b.within / b.total)
            for cell in cells
            if (b := cell.budget) is not None and b.total
        ],
    )


def _unproven(data: ReportData) -> list[Sample]:
    return [
        ({"run": run, "reason": group.reason}, 1) for group in data.unproven for run in group.runs
    ]


def _blackouts(cells: Sequence[ReportCell]) -> list[tuple[dict[str, str], float, str]]:
    """Quantiles, count and sum of a series next to each other, as the format requires."""
    found: list[tuple[dict[str, str], float, str]] = []
    for cell in cells:
        values, labels = cell.columns.known("blackout_ns"), _labels(cell)
        if len(values):
            for q in (0.5, 0.9, 1.0):
                at = np.quantile(values, q, method="inverted_cdf")
                found.append((labels | {"quantile": f"{q:g}"}, float(at) / 1e9, ""))
        found.append((labels, len(values), "_count"))
        found.append((labels, float(values.sum()) / 1e9, "_sum"))
    return found


def _shifts(data: ReportData) -> list[Sample]:
    return [
        (
            {"scenario": cell.scenario, "a": c.label_a, "b": c.label_b, "bound": bound},
            ns / 1e9,
        )
        for c in data.comparisons
        for cell in c.cells
        for bound, ns in (("shift", cell.shift_ns), ("low", cell.low_ns), ("high", cell.high_ns))
        if ns is not None
    ]


def _verdicts(data: ReportData) -> list[Sample]:
    """A state set: every state has a sample, that of the verdict is 1."""
    return [
        (
            {
                "scenario": cell.scenario,
                "a": c.label_a,
                "b": c.label_b,
                "pausebench_verdict": word,
            },
            int(cell.verdict == word),
        )
        for c in data.comparisons
        for cell in c.cells
        for word in _VERDICTS
    ]


def _labels(cell: ReportCell) -> dict[str, str]:
    summary = cell.summary
    return {
        "scenario": summary.scenario,
        "old": summary.old_build,
        "new": summary.new_build,
        "dimensions": summary.dimensions_but_id,
    }


def _family(
    name: str,
    kind: str,
    about: str,
    samples: Sequence[Sample] | Sequence[tuple[dict[str, str], float, str]],
    suffix: str = "",
) -> list[str]:
    """A family's lines; none without samples."""
    if not samples:
        return []
    full = f"pausebench_{name}"
    lines = [f"# TYPE {full} {kind}"]
    if name.endswith("_seconds"):
        lines.append(f"# UNIT {full} seconds")
    lines.append(f"# HELP {full} {_escaped(about)}")
    for sample in samples:
        labels, value, *own = sample
        words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        end = own[0] if own else suffix
        lines.append(f"{full}{end}{{{words}}} {value:.9g}" if words else f"{full}{end} {value!r}")
    return lines


def _escaped(text: object) -> str:
    """For a label or a help text: line breaks are kept, as the format has an escape for them."""
    lines = printable_lines(str(text).replace("\\", "\\\\").replace('"', '\\"'))
    return lines.replace("\n", "\\n")
