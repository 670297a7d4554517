"""A session as JUnit XML: a case per cell, which a CI server lists, counts and compares."""

from __future__ import annotations

import time
from xml.etree import ElementTree as ET

from reports.harm_wording import harmed_text
from reports.request import Request
from reports.suggested_commands import repeat_command, show_command
from reports.wording import budget_text, cell_name, median_text, shift_text
from results.comparison import compare as judged
from results.printable import printable, printable_lines
from results.summary.accelerator import tcg_note
from results.summary.failures.unfinished import Unfinished
from results.summary.report_cells import ReportCell
from results.summary.report_data import ReportData


def report(request: Request) -> str:
    return junit(request.data, strict=request.strict)


def junit(data: ReportData, *, strict: bool = False) -> str:
    """One suite; a cell fails when it regressed, missed its budget, harmed a guest or failed.

    A cell that others are compared with does not fail by its budget. An undecided cell is a skipped
    case, as it neither passed nor failed; when `strict` it fails. Unproven runs are listed in the
    output of their case. Times are the median blackout in seconds.
    """
    cases = [_case(cell, data, strict=strict) for cell in data.cells]
    if data.unfinished is not None:
        cases.append(_unfinished(data.unfinished))
    session = data.session
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(session.started_unix_ns // 10**9))
    suite = ET.Element(
        "testsuite",
        name="pausebench",
        timestamp=stamp,
        hostname=printable(session.environment.get("host") or "localhost"),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{sum(float(case.get('time', '0')) for case in cases):.6f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _facts(data):
        ET.SubElement(properties, "property", name=printable(name), value=printable(value))
    suite.extend(cases)
    root = ET.Element("testsuites", name="pausebench")
    root.append(suite)
    ET.indent(root)
    # Attributes and texts hold no character that XML 1.0 forbids, escaped or not: `printable` has
    # replaced them. https://www.w3.org/TR/xml/#charsets
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _facts(data: ReportData) -> list[tuple[str, str]]:
    session = data.session
    facts = [("session", session.id), ("kind", data.kind)]
    if note := tcg_note(session, (cell.summary.dimensions for cell in data.cells)):
        facts.append(("accelerator", note))
    facts.append(("command", repeat_command(session)))
    facts += [(f"qemu.{build.label}", build.version) for build in session.builds]
    return facts + [(f"environment.{k}", v) for k, v in sorted(session.environment.items())]


def _case(cell: ReportCell, data: ReportData, *, strict: bool) -> ET.Element:
    summary = cell.summary
    case = ET.Element(
        "testcase",
        name=printable(cell_name(cell)),
        classname=printable(f"pausebench.{summary.scenario}"),
        time=f"{(summary.median_ns or 0) / 1e9:.6f}",
    )
    lines = [
        f"median blackout {median_text(summary)}, {summary.valid} valid, {summary.failed} failed"
    ]
    lines.append(f"dimensions: {summary.dimensions}")
    shifts = list(_shifts(cell, data))
    lines += [f"against {a}: {shift.verdict}, {shift_text(shift)}" for a, shift in shifts]
    if cell.budget is not None:
        lines.append(f"budget: {budget_text(cell)}")
    missed = cell.over_budget and not data.is_baseline(cell)
    kind, message = _trouble(cell, [shift for _, shift in shifts], missed, strict=strict)
    if kind:
        words = {"message": printable(message)} if kind != "skipped" or message else {}
        if kind != "skipped":
            words["type"] = "pausebench"
        trouble = ET.SubElement(case, kind, words)
        if kind != "skipped":
            trouble.text = printable_lines("\n".join([*lines, *_failed_runs(cell, data)]))
    out = ET.SubElement(case, "system-out")
    out.text = printable_lines("\n".join([*lines, *_unproven_runs(cell, data)]))
    return case


def _unfinished(found: Unfinished) -> ET.Element:
    """A case of its own: a CI server must not take a session that ended early for a success."""
    case = ET.Element("testcase", name="session", classname="pausebench", time="0")
    words = {"message": found.text, "type": "pausebench"}
    ET.SubElement(case, "error", words).text = f"exit status {found.exit_code}"
    return case


def _shifts(cell: ReportCell, data: ReportData) -> list[tuple[str, judged.Cell]]:
    """The verdicts in which this cell is B; of those against earlier nights the bad ones."""
    tonight = ((each, shift) for each in data.comparisons for shift in each.cells)
    return [
        (comparison.label_a, shift)
        for comparison, shift in (*tonight, *data.worse_than_before)
        if (comparison.label_b, shift.scenario) == (cell.builds, cell.summary.scenario)
    ]


def _trouble(
    cell: ReportCell, shifts: list[judged.Cell], missed: bool, *, strict: bool
) -> tuple[str, str]:
    """(element, message), or empty strings for a cell that passed."""
    summary = cell.summary
    harm = harmed_text(summary)
    if not summary.valid and not harm:
        return "error", "no valid run"
    reasons = [
        harm,
        "" if summary.valid else "no valid run",
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


def _unproven_runs(cell: ReportCell, data: ReportData) -> list[str]:
    """Those of the cell, below their reason."""
    lines = []
    for group in data.unproven:
        if runs := [run.id for run in group.members if run.is_of(cell.summary)]:
            lines.append(f"unproven: {group.reason}")
            lines += [f"  {show_command(run, data.store)}" for run in runs]
    return lines


def _failed_runs(cell: ReportCell, data: ReportData) -> list[str]:
    lines = []
    for group, runs in data.failures:
        for run in runs:
            if run.scenario == cell.summary.scenario and run.new_build == cell.summary.new_build:
                lines += ["", f"{group.runs} x {group.reason}"]
                lines += [show_command(run.id, data.store), run.log_tail]
                break
    return lines
