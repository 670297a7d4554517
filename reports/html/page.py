"""A session as one self-contained HTML file: no script, no network, no font of its own.

The template escapes all that a record holds. A Content-Security-Policy in the page forbids what
the page does not need, so that a browser enforces it too.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any

from reports.claim_groups import claims_report
from reports.growth_tables import DIMENSIONS, SLOPES_HEADER, missing_slopes, slope_rows
from reports.harm_wording import harm_lines, harmed_text, verdict_text
from reports.headline import headline
from reports.instrument_tables import instrument_result
from reports.matrix_grid import matrix_grid
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import (
    KIND_TITLES,
    RATIOS,
    about_dimensions,
    budget_text,
    device_text,
    disagreement_text,
    interval_text,
    median_text,
    ms,
    percent,
    proofs_text,
    qemu_text,
    rollback_text,
    rollbacks_text,
)
from results.comparison.compare import Cell as CellShift
from results.printable import printable_lines
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData, total_runs
from results.timeline.marks import phase_label

from . import charts
from .forest_plot import forest
from .growth_chart import growth_charts
from .handover_chart import HEADER, Handover, handover
from .phase_chart import phases
from .svg import Chart
from .tiles import tiles
from .witness_chart import witnesses

if TYPE_CHECKING:
    from jinja2 import Template

_MOST_SCENARIOS = 24
_LOG_LINES = 40
_MARKS = {"bad": "✕", "doubt": "?", "good": "✓"}
_FIRST = ("host", "kernel", "cpu", "cpus", "memory_bytes", "hypervisor", "governor", "distribution")
_POLICY = "POLICY-OF-THIS-PAGE"  # in templates, until the page and so its style sheets are known
_LONG = 60  # a longer fact is folded


@dataclass(frozen=True, slots=True)
class Section:
    """One scenario: its cells, its charts and its single updates."""

    anchor: str
    name: str
    about: str
    cells: tuple[ReportCell, ...]
    charts: tuple[Chart, ...]
    handovers: tuple[Handover, ...]


def report(request: Request) -> str:
    return html_report(request.data, strict=request.strict)


def html_report(data: ReportData, *, strict: bool = False) -> str:
    """The complete page; the same data gives the same page."""
    top = headline(data, strict=strict)
    valid, failed = total_runs(data)
    sections, left_out = _sections(data.cells)
    session = data.session
    return render(
        "report.html.j2",
        top=top,
        mark=_MARKS[top.tone],
        kind=KIND_TITLES[data.kind],
        data=data,
        session=session,
        started=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(session.started_unix_ns // 10**9)),
        valid=valid,
        failed=failed,
        tiles=tiles(data),
        own=_own_result(data),
        cells=[_row(cell, data) for cell in data.cells],
        budgets=any(cell.budget for cell in data.cells),
        forests=[
            (forest(c, f"forest{i}"), [_note(cell) for cell in c.cells])
            for i, c in enumerate((*data.comparisons, *data.anchors))
            if c.cells
        ],
        comparisons=data.comparisons,
        sections=sections,
        notes=[*data.notes, *left_out],
        worst=_worst(sections),
        handover_header=HEADER,
        proofs=_proofs(data),
        log=lambda text: "\n".join(text.splitlines()[-_LOG_LINES:]),
        show=lambda run_id: show_command(run_id, data.store),
        rollback_text=rollback_text,
        rollbacks_text=rollbacks_text,
        repeat=repeat_command(session),
        environment=_environment(data),
        long=_LONG,
        ms=ms,
        percent=percent,
        median_text=median_text,
        qemu_text=qemu_text,
        ratios=RATIOS,
        device_text=device_text,
        proofs_text=proofs_text,
    )


def render(name: str, **values: Any) -> str:
    """A page from one of the package's templates; all that is filled in is escaped."""
    page = printable_lines(_template(name).render(style=style(), policy=_POLICY, **values))
    return page.replace(_POLICY, policy(page), 1)


def policy(page: str) -> str:
    """The Content-Security-Policy of a page: nothing but its own style sheets, known by hash.

    Attributes may style: bars have their widths in them, and charts their colours.
    """
    sheets = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    hashes = {base64.b64encode(sha256(sheet.encode()).digest()).decode() for sheet in sheets}
    allowed = " ".join(f"'sha256-{known}'" for known in sorted(hashes))
    return (
        f"default-src 'none'; style-src-elem {allowed}; style-src-attr 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    # S701: all is escaped but what the template marks as safe: SVG and CSS of this package.
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def style() -> str:
    """The CSS of every page."""
    return resources.files("reports").joinpath("templates", "report.css").read_text("utf-8")


def _own_result(data: ReportData) -> dict[str, Any]:
    """The result of sessions that answer a question of their own, None for all others."""
    growth = data.growth
    return {
        "claims": None if data.claims is None else claims_report(data.claims),
        "growth": growth and {
            "growth": growth,
            "dimension": DIMENSIONS[growth.dimension],
            "charts": growth_charts(growth),
            "header": SLOPES_HEADER,
            "slopes": slope_rows(growth),
            "missing": missing_slopes(growth),
        },
        "matrix": matrix_grid(data.pairs),
        "instrument": instrument_result(data.certificate, data.session.id),
    }  # fmt: skip


def _row(cell: ReportCell, data: ReportData) -> dict[str, Any]:
    shifts = [
        shift
        for comparison in data.comparisons
        for shift in comparison.cells
        if (comparison.label_b, shift.scenario) == (cell.builds, cell.summary.scenario)
    ]
    verdict = shifts[0].verdict if shifts else ""
    harmed = "damage" in cell.harms or any(shift.more_failures for shift in shifts)
    return {
        "cell": cell,
        "budget": budget_text(cell),
        "verdict": verdict,
        # No verdict on time is green where guests were harmed.
        "look": "" if harmed and verdict in ("same", "improved") else verdict,
        "damaged": "damage" in cell.harms,
        "role": _role(cell, data),
        "harm": harmed_text(cell.summary),
        "more_failures": any(shift.more_failures for shift in shifts),
        "moved": [phase_label(phase.name) for shift in shifts for phase in shift.moved[:3]],
    }


def _role(cell: ReportCell, data: ReportData) -> str:
    """What a cell without a verdict is in the comparisons: nothing is compared with an upgrade."""
    if any(cell.builds == comparison.label_a for comparison in data.comparisons):
        return "baseline"
    return "upgrade" if cell.is_upgrade else "–"


def _note(shift: CellShift) -> dict[str, str]:
    """The text next to a forest plot: the phases that moved, or why nothing can be decided."""
    moved = "; ".join(
        f"{p.name.replace('_', ' ')} "
        f"{interval_text(p.shift.shift_ns, p.shift.low_ns, p.shift.high_ns)} ms"
        for p in shift.moved[:4]
    )
    text = (
        moved or shift.reason or f"{interval_text(shift.shift_ns, shift.low_ns, shift.high_ns)} ms"
    )
    if shift.verdict in ("undecided", "same") and shift.smallest_detectable_ns is not None:
        text += f"; a change of {ms(shift.smallest_detectable_ns)} would have been detected"
    text = "; ".join([*(line.text for line in harm_lines(shift)), text])
    if disagreement := disagreement_text(shift):
        text += f"; {disagreement}"
    worse = shift.damaged or shift.more_failures
    look = "regressed" if worse else shift.verdict
    words = verdict_text(shift)
    return {"look": look, "verdict": words, "scenario": shift.scenario, "text": text}


def _sections(cells: Sequence[ReportCell]) -> tuple[list[Section], list[str]]:
    groups: dict[tuple[str, str], list[ReportCell]] = {}
    for cell in cells:
        groups.setdefault((cell.summary.scenario, cell.summary.dimensions), []).append(cell)
    left_out = []
    if len(groups) > _MOST_SCENARIOS:
        left_out.append(
            f"charts are drawn for the first {_MOST_SCENARIOS} of {len(groups)} scenarios; the "
            "table of results has them all"
        )
    chosen = list(groups.items())[:_MOST_SCENARIOS]
    return [_section(i, key, group) for i, (key, group) in enumerate(chosen)], left_out


def _section(number: int, key: tuple[str, str], cells: Sequence[ReportCell]) -> Section:
    anchor = f"s{number}"
    return Section(
        anchor,
        key[0],
        about_dimensions(key[1]),
        tuple(cells),
        _charts(cells, anchor),
        tuple(_handovers(cells)),
    )


def _charts(cells: Sequence[ReportCell], anchor: str) -> tuple[Chart, ...]:
    shown = charts.with_data(cells)
    if not shown:
        return ()
    vcpus = charts.vcpus(shown, f"{anchor}vcpus")
    drawn = [
        charts.ecdf(shown, f"{anchor}ecdf"),
        phases(shown, f"{anchor}phases"),
        charts.run_order(cells, f"{anchor}order"),
        vcpus,
        # Without the vCPUs' it is the fourth of two rows.
        replace(witnesses(shown, f"{anchor}wit"), wide=vcpus is not None),
    ]
    return tuple(chart for chart in drawn if chart is not None)


def _handovers(cells: Sequence[ReportCell]) -> list[Handover]:
    """The longest of the scenario, and the one nearest to the median of the same cell."""
    found = [cell for cell in cells if cell.worst and cell.median]
    if not found:
        return []
    cell = max(found, key=lambda cell: (cell.worst and cell.worst.blackout_ns) or 0)
    runs = {"longest": cell.worst}
    if cell.median and cell.worst and cell.median.id != cell.worst.id:
        runs["nearest to the median"] = cell.median
    return [handover(run, name) for name, run in runs.items() if run]


def _worst(sections: Sequence[Section]) -> Section | None:
    """The scenario whose longest blackout is the session's longest."""
    found = [section for section in sections if section.handovers]
    if not found:
        return None
    return max(found, key=lambda section: section.handovers[0].run.blackout_ns or 0)


def _proofs(data: ReportData) -> list[tuple[str, Any]]:
    """Proofs shown in full: of the longest run of each cell, and of each failure's example."""
    shown: dict[str, Any] = {}
    for cell in data.cells:
        if cell.worst is not None and cell.worst.proof is not None:
            shown.setdefault(cell.worst.id, cell.worst.proof)
    broken = {
        run.id: run.proof
        for _, runs in data.failures
        for run in runs
        if run.proof is not None and run.proof.verdict != "held"
    }
    return list((broken | shown).items())


def _environment(data: ReportData) -> list[tuple[str, str]]:
    session = data.session
    facts = [
        (f"QEMU {b.label}", f"{b.version}, build id {b.build_id or 'none'}") for b in session.builds
    ]
    facts += [("probes", session.probe_tier)]
    own = session.environment
    first = [(key, own[key]) for key in _FIRST if key in own]
    return facts + first + sorted((k, v) for k, v in own.items() if k not in _FIRST)
