"""`pausebench run`: measure guest blackout over repeated updates."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.arguments import EVERY, TimeBudget
from bench.inputs.chosen import check_labels, chosen_scenarios, command_line, require_host, seed_of
from bench.measurement.budgets import budget_reports, check_measured, missed
from bench.measurement.loading import Watch
from bench.measurement.progress import SessionProgress
from bench.measurement.schedule import plan_trials
from bench.measurement.session import Outcome, run_session
from reports.formats.session_json import document
from reports.terminal.session import session_page
from reports.terminal.style import look_for, write
from reports.terminal.why import BudgetReport, budget_notes
from results.instrument.certificates import certificate_lines
from results.records.harm import exit_status, harm_of
from results.records.scenario import Build, Scenario
from results.store.store import open_store
from results.store.tables.columns import columns_of
from results.summary.accelerator import tcg_note
from results.summary.caveats import doubts_of
from results.summary.cells import summarise_cell
from results.summary.redaction import redacted_run, redacted_session
from runners.builds.discover import default_build, discover, parse_build_option


def run(args: argparse.Namespace) -> int:
    scenarios = chosen_scenarios(args, args.scenario)
    check_measured(args.budget, [scenario.id for scenario in scenarios])
    require_host()
    builds = _builds(args)
    with open_store(args.store) as store:
        seed = seed_of(args)
        trials = plan_trials(scenarios, builds, args.boots, args.updates, seed)
        with SessionProgress(sum(trial.updates for trial in trials)) as progress:
            extra = {"seed": str(seed)}
            watch = Watch(
                why=bool(args.budget) if args.why is None else args.why,
                observer=args.observer,
                perf=args.perf,
            )
            command, share = command_line(), args.share
            outcome = run_session(
                trials, builds, store, progress, command, extra, watch, share=share
            )
    if not args.quiet:
        show_outcome(args, outcome, scenarios, args.budget)
    return exit_status(map(harm_of, outcome.runs))


def _builds(args: argparse.Namespace) -> list[Build]:
    if not args.build:
        return [default_build()]
    options = [parse_build_option(option) for option in args.build]
    return check_labels([discover(path, label) for label, path in options])


def show_outcome(
    args: argparse.Namespace,
    outcome: Outcome,
    scenarios: Sequence[Scenario],
    budgets: Sequence[TimeBudget] = (),
) -> None:
    """Print a session: a table, or one JSON document with `--json`.

    Runs that are over their budget are explained.
    """
    certificates = certificate_lines(args.store, outcome.session, outcome.session.builds)
    order = {scenario.id: number for number, scenario in enumerate(scenarios)}
    runs = sorted(outcome.runs, key=lambda run: order[run.scenario])
    columns = columns_of(runs)
    cells = columns.cells()
    summaries = [summarise_cell(key, columns.where(at)) for key, at in cells]
    doubts = [doubts_of(runs[i] for i in at.tolist()) for _, at in cells]
    kept = budget_reports(budgets, runs)
    if args.json:
        # Its output is mostly a log of CI, which others read.
        session, shown = redacted_session(outcome.session), map(redacted_run, outcome.runs)
        found = document(session, shown, summaries)
        for entry, mine in zip(found["summary"], doubts, strict=True):
            entry["doubts"] = [asdict(doubt) for doubt in mine]
        print(json.dumps(found | {"certificates": certificates} | _budget_entries(kept)))
        return
    look = look_for(sys.stdout, os.environ)
    note = tcg_note(outcome.session, (summary.dimensions for summary in summaries))
    notes = [
        *([note] if note else []),
        *certificates,
        *(
            f"{summary.scenario}: {doubt.line}"
            for summary, mine in zip(summaries, doubts, strict=True)
            for doubt in mine
        ),
        *(line for budget, report in kept for line in _budget_lines(budget, report, args.store)),
    ]
    page = session_page(summaries, runs, args.store, outcome.session.id, look, notes)
    write(page, sys.stdout, look)


def _budget_entries(kept: Sequence[tuple[TimeBudget, BudgetReport]]) -> dict[str, object]:
    """`budget` is the one of all scenarios, `budgets` are those of single ones."""
    entries = {budget.scenario: asdict(report) for budget, report in kept}
    every = entries.pop(EVERY, None)
    return ({"budget": every} if every else {}) | ({"budgets": entries} if entries else {})


def _budget_lines(budget: TimeBudget, report: BudgetReport, store: Path) -> list[str]:
    first, *others = budget_notes(report, store)
    about = "" if budget.scenario == EVERY else f"{budget.scenario}: "
    words = missed(budget, report.within, report.total)
    return [f"{about}{first}{f' (missed: {words})' if words else ''}", *others]
