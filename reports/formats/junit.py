"""A session as JUnit XML: a case per cell, so that a CI server lists, counts and compares them."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree as ET

from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import budget_text, cell_name, median_text, shift_text
from results.comparison import compare as judged
from results.summary.report_data import Cell, Material

# What XML 1.0 cannot hold, not even escaped. https://www.w3.org/TR/xml/#charsets
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report(request: Request) -> str:
    return junit(request.material, strict=request.strict)


def junit(material: Material, *, strict: bool = False) -> str:
    """One suite; a cell fails when it regressed, missed its budget or had a failed run.

    A cell that others are compared with does not fail by its budget.

    Undecided fails when `strict`, else it is a skipped case: it neither passed nor failed. Times
    are the median blackout in seconds.
    """
    cases = [_case(cell, material, strict=strict) for cell in material.cells]
    session = material.session
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(session.started_unix_ns // 10**9))
    suite = ET.Element(
        "testsuite",
        name="pausebench",
        timestamp=stamp,
        hostname=_say(session.environment.get("host") or "localhost"),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{sum(float(case.get('time', '0')) for case in cases):.6f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _facts(material):
        ET.SubElement(properties, "property", name=_say(name), value=_say(value))
    suite.extend(cases)
    root = ET.Element("testsuites", name="pausebench")
    root.append(suite)
    ET.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _facts(material: Material) -> list[tuple[str, str]]:
    session = material.session
    facts = [("session", session.id), ("command", repeat_command(session))]
    facts += [(f"qemu.{build.label}", build.version) for build in session.builds]
    return facts + [(f"environment.{k}", v) for k, v in sorted(session.environment.items())]


def _case(cell: Cell, material: Material, *, strict: bool) -> ET.Element:
    summary = cell.summary
    case = ET.Element(
        "testcase",
        name=_say(cell_name(cell)),
        classname=_say(f"pausebench.{summary.scenario}"),
        time=f"{(summary.median_ns or 0) / 1e9:.6f}",
    )
    lines = [f"median blackout {median_text(cell)}, {summary.valid} valid, {summary.failed} failed"]
    lines.append(f"dimensions: {summary.dimensions}")
    shifts = list(_shifts(cell, material))
    lines += [f"against {a}: {shift.verdict}, {shift_text(shift)}" for a, shift in shifts]
    if cell.budget is not None:
        lines.append(f"budget: {budget_text(cell)}")
    missed = cell.over_budget and not material.is_baseline(cell)
    kind, message = _trouble(cell, [shift for _, shift in shifts], missed, strict=strict)
    if kind:
        words = {"message": _say(message)} if kind != "skipped" or message else {}
        if kind != "skipped":
            words["type"] = "pausebench"
        trouble = ET.SubElement(case, kind, words)
        if kind != "skipped":
            trouble.text = _say("\n".join([*lines, *_failed_runs(cell, material)]))
    out = ET.SubElement(case, "system-out")
    out.text = _say("\n".join(lines))
    return case


def _shifts(cell: Cell, material: Material) -> list[tuple[str, judged.Cell]]:
    """The verdicts in which this cell is B."""
    return [
        (comparison.label_a, shift)
        for comparison in material.comparisons
        for shift in comparison.cells
        if (comparison.label_b, shift.scenario) == (cell.builds, cell.summary.scenario)
    ]


def _trouble(
    cell: Cell, shifts: list[judged.Cell], missed: bool, *, strict: bool
) -> tuple[str, str]:
    """(element, message), or empty strings for a cell that passed."""
    summary = cell.summary
    if not summary.valid:
        return "error", "no valid run"
    reasons = [
        f"the proof is broken in {summary.proofs['broken']} runs"
        if summary.proofs.get("broken")
        else "",
        f"{summary.failed} of {summary.valid + summary.failed} runs failed"
        if summary.failed
        else "",
        budget_text(cell) if missed else "",
    ]
    reasons += [
        f"regressed: {shift_text(s)}" if s.verdict == "regressed" else "fails more often"
        for s in shifts
        if s.verdict == "regressed" or s.more_failures
    ]
    undecided = [s.reason for s in shifts if s.verdict == "undecided"]
    if strict:
        reasons += [f"undecided: {reason}" for reason in undecided]
    found = "; ".join(filter(None, reasons))
    if found:
        return "failure", found
    return ("skipped", f"undecided: {undecided[0]}") if undecided else ("", "")


def _failed_runs(cell: Cell, material: Material) -> list[str]:
    lines = []
    for group, runs in material.failures:
        for run in runs:
            if run.scenario == cell.summary.scenario and run.new_build == cell.summary.new_build:
                lines += ["", f"{group.runs} x {group.reason}"]
                lines += [show_command(run.id, material.store), run.log_tail]
                break
    return lines


def _say(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
