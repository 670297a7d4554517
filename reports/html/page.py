"""A session as one self-contained HTML file: no script, no network, no font of its own.

The template escapes all that a record holds. A Content-Security-Policy in the page forbids what
the page does not need, so that a browser holds to it too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from reports import claim_groups as told
from reports.headline import headline
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import (
    about_dimensions,
    budget_text,
    device_text,
    interval_text,
    median_text,
    ms,
    percent,
)
from results.comparison.compare import Cell as Shift
from results.summary.report_data import Cell, Material, total_runs
from results.timeline.marks import phase_label

from . import charts
from .forest_plot import forest
from .handover_chart import HEADER, Handover, handover
from .svg import Chart

if TYPE_CHECKING:
    from jinja2 import Template

_MOST_SCENARIOS = 24
_LOG_LINES = 40
_MARKS = {"bad": "✕", "doubt": "?", "good": "✓"}
_FIRST = ("host", "kernel", "cpu", "cpus", "memory_bytes", "hypervisor", "governor", "distribution")
_LONG = 60  # a fact longer than this is folded


@dataclass(frozen=True, slots=True)
class Section:
    """One scenario: its cells, its charts and its single handovers."""

    anchor: str
    name: str
    about: str
    cells: tuple[Cell, ...]
    charts: tuple[Chart, ...]
    handovers: tuple[Handover, ...]


def report(request: Request) -> str:
    return html_report(request.material, strict=request.strict)


def html_report(material: Material, *, strict: bool = False) -> str:
    """The whole page as text; the same material gives the same page."""
    top = headline(material, strict=strict)
    valid, failed = total_runs(material)
    sections, left_out = _sections(material.cells)
    session = material.session
    return template("report.html.j2").render(
        top=top,
        mark=_MARKS[top.tone],
        material=material,
        session=session,
        started=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(session.started_unix_ns // 10**9)),
        valid=valid,
        failed=failed,
        tiles=_tiles(material),
        cells=[_row(cell, material) for cell in material.cells],
        budgets=any(cell.budget for cell in material.cells),
        claims=_claims(material),
        forests=[
            (forest(c, f"forest{i}"), [_note(cell) for cell in c.cells])
            for i, c in enumerate(material.comparisons)
            if c.cells
        ],
        comparisons=material.comparisons,
        sections=sections,
        notes=[*material.notes, *left_out],
        worst=_worst(material, sections),
        handover_header=HEADER,
        proofs=_proofs(material),
        log=lambda text: "\n".join(text.splitlines()[-_LOG_LINES:]),
        show=lambda run_id: show_command(run_id, material.store),
        repeat=repeat_command(session),
        environment=_environment(material),
        long=_LONG,
        style=style(),
        ms=ms,
        percent=percent,
        median_text=median_text,
        device_text=device_text,
    )


@cache
def template(name: str) -> Template:
    """One of the templates beside this module; all that is filled in is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    # S701: everything is escaped but what the template marks as safe: SVG and CSS of ours.
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


def _claims(material: Material) -> dict[str, Any] | None:
    """The table of claims, a part for each, and what else was found."""
    document = material.claims
    if document is None:
        return None
    rows = document.rows
    numbers = list(dict.fromkeys(row.claim.number for row in rows))
    return {
        "document": document,
        "summary": told.summary_line(document),
        "short": told.short_names(document),
        "groups": [[row for row in rows if row.claim.number == n] for n in numbers],
        "topics": [
            (title, told.merge_findings(document.others((topic,))))
            for topic, title in told.TOPICS
            if document.others((topic,))
        ],
    }


def _tiles(material: Material) -> list[tuple[str, str, str]]:
    """What the first glance gets: (what, figure, remark)."""
    cells = [cell for cell in material.cells if cell.summary.median_ns is not None]
    tiles = []
    if cells:
        slowest = max(cells, key=lambda cell: cell.summary.median_ns or 0)
        longest = max(cells, key=lambda cell: cell.summary.max_ns or 0)
        tiles.append(("slowest median", ms(slowest.summary.median_ns), _name(slowest)))
        tiles.append(("longest blackout", ms(longest.summary.max_ns), _name(longest)))
        claimed = [cell for cell in cells if cell.summary.qemu_error_percent is not None]
        if claimed:
            worst = min(claimed, key=lambda cell: cell.summary.qemu_error_percent or 0.0)
            off = percent(worst.summary.qemu_error_percent)
            said = f"said {ms(worst.summary.qemu_median_ns)}, {_name(worst)}"
            tiles.append(("QEMU's downtime is off by", off, said))
    held = sum(cell.summary.proofs.get("held", 0) for cell in material.cells)
    of = sum(sum(cell.summary.proofs.values()) for cell in material.cells)
    if of:
        tiles.append(("proof held", f"{held} of {of}", "RAM, descriptors and pins in place"))
    return tiles


def _name(cell: Cell) -> str:
    return f"{cell.summary.scenario} on {cell.builds}"


def _row(cell: Cell, material: Material) -> dict[str, Any]:
    verdicts = [
        shift
        for comparison in material.comparisons
        for shift in comparison.cells
        if (comparison.label_b, shift.scenario) == (cell.builds, cell.summary.scenario)
    ]
    return {
        "cell": cell,
        "budget": budget_text(cell) if cell.budget else "–",
        "verdict": verdicts[0].verdict if verdicts else "",
        "more_failures": any(shift.more_failures for shift in verdicts),
        "moved": [phase_label(phase.name) for s in verdicts for phase in s.moved[:3]],
    }


def _note(shift: Shift) -> dict[str, str]:
    """What stands beside a forest plot: the phases that moved, or why nothing can be said."""
    moved = "; ".join(
        f"{p.name.replace('_', ' ')} "
        f"{interval_text(p.shift.shift_ns, p.shift.low_ns, p.shift.high_ns)} ms"
        for p in shift.moved[:4]
    )
    text = (
        moved or shift.reason or f"{interval_text(shift.shift_ns, shift.low_ns, shift.high_ns)} ms"
    )
    if shift.verdict in ("undecided", "same") and shift.smallest_detectable_ns is not None:
        text += f"; a change of {ms(shift.smallest_detectable_ns)} would have been seen"
    if shift.more_failures:
        text += "; fails more often"
    return {"verdict": shift.verdict, "scenario": shift.scenario, "text": text}


def _sections(cells: Sequence[Cell]) -> tuple[list[Section], list[str]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.summary.scenario, cell.summary.dimensions), []).append(cell)
    left_out = []
    if len(groups) > _MOST_SCENARIOS:
        left_out.append(
            f"charts are drawn for the first {_MOST_SCENARIOS} of {len(groups)} scenarios; the "
            "table of verdicts has them all"
        )
    chosen = list(groups.items())[:_MOST_SCENARIOS]
    return [_section(i, key, group) for i, (key, group) in enumerate(chosen)], left_out


def _section(number: int, key: tuple[str, str], cells: Sequence[Cell]) -> Section:
    anchor = f"s{number}"
    vcpus = charts.vcpus(cells, f"{anchor}vcpus")
    drawn = [
        charts.ecdf(cells, f"{anchor}ecdf"),
        charts.phases(cells, f"{anchor}phases"),
        charts.run_order(cells, f"{anchor}order"),
        vcpus,
        # Without the vCPUs' it is the fourth of two rows.
        replace(charts.witnesses(cells, f"{anchor}wit"), wide=vcpus is not None),
    ]
    valid = any(cell.summary.valid for cell in cells)
    kept = tuple(chart for chart in drawn if chart is not None) if valid else ()
    return Section(
        anchor, key[0], about_dimensions(key[1]), tuple(cells), kept, tuple(_handovers(cells))
    )


def _handovers(cells: Sequence[Cell]) -> list[Handover]:
    """The worst of the scenario and the median of the same cell."""
    found = [cell for cell in cells if cell.worst and cell.median]
    if not found:
        return []
    cell = max(found, key=lambda cell: (cell.worst and cell.worst.blackout_ns) or 0)
    runs = {"the longest": cell.worst, "the median": cell.median}
    return [handover(run, name) for name, run in runs.items() if run]


def _worst(material: Material, sections: Sequence[Section]) -> Section | None:
    """The scenario whose longest blackout is the session's longest."""
    found = [section for section in sections if section.handovers]
    if not found:
        return None
    return max(found, key=lambda section: section.handovers[0].run.blackout_ns or 0)


def _proofs(material: Material) -> list[tuple[str, Any]]:
    """Proofs shown in full: of the longest run of each cell, and of each failure's example."""
    shown: dict[str, Any] = {}
    for cell in material.cells:
        if cell.worst is not None and cell.worst.proof is not None:
            shown.setdefault(cell.worst.id, cell.worst.proof)
    broken = {
        run.id: run.proof
        for _, runs in material.failures
        for run in runs
        if run.proof is not None and run.proof.verdict != "held"
    }
    return list((broken | shown).items())


def _environment(material: Material) -> list[tuple[str, str]]:
    session = material.session
    facts = [
        (f"QEMU {b.label}", f"{b.version}, build id {b.build_id or 'none'}") for b in session.builds
    ]
    facts += [("probes", session.probe_tier)]
    own = session.environment
    first = [(key, own[key]) for key in _FIRST if key in own]
    return facts + first + sorted((k, v) for k, v in own.items() if k not in _FIRST)
