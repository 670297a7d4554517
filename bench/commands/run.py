"""`pausebench run`: measure scenarios and show one table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bench.arguments import duration, positive

from .options import add_mode_option, add_scenario_options, add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.measurement.session import Outcome
    from results.records.scenario import Build, Scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", nargs="+", help="what to measure (`pausebench list`)")
    parser.add_argument(
        "--boots",
        type=positive,
        default=3,
        help="guests booted per scenario (default 3; 6 give a distribution-free 95 %% interval)",
    )
    parser.add_argument(
        "--updates", type=positive, default=5, help="transfers in a row per guest (default 5)"
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="LABEL=PATH",
        help="QEMU to measure: a binary, a build directory or an unpacked tree; repeat for "
        "several, which take turns (default: the system's)",
    )
    parser.add_argument(
        "--observer",
        action="store_true",
        help="watch the guest's beats from the host too, by a small program that shares nothing "
        "with the probes; it takes a CPU of its own, and lengthens the blackout where there is "
        "none to spare",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="only keep the runs: no table at the end"
    )
    parser.add_argument(
        "--perf",
        action="store_true",
        help="count perf events of both QEMUs too (cycles, instructions and misses where there is "
        "a PMU); lengthens the blackout, see `pausebench overhead`",
    )
    parser.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help="longest blackout that is welcome, like 10ms: says of each longer run why it was so",
    )
    parser.add_argument(
        "--why",
        action=argparse.BooleanOptionalAction,
        help="watch the scheduler, so that `pausebench why` can tell what each blackout waited for "
        "(default: with --budget)",
    )
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    from bench.measurement.loading import Watch
    from bench.measurement.progress import SessionProgress
    from bench.measurement.schedule import plan_trials
    from bench.measurement.session import run_session
    from results.store.store import open_store

    from .options import chosen_scenarios, need_root, seed_of

    scenarios = chosen_scenarios(args, args.scenario)
    builds = _builds(args)
    need_root()
    with open_store(args.store) as store:
        seed = seed_of(args)
        trials = plan_trials(scenarios, builds, args.boots, args.updates, seed)
        with SessionProgress(sum(trial.updates for trial in trials)) as progress:
            command = ["pausebench", *sys.argv[1:]]
            extra = {"seed": str(seed)}
            watch = Watch(
                why=bool(args.budget) if args.why is None else args.why,
                observer=args.observer,
                perf=args.perf,
            )
            outcome = run_session(trials, builds, store, progress, command, extra, watch)
    if not args.quiet:
        show(args, outcome, scenarios, args.budget)
    return 0 if all(run.outcome == "completed" for run in outcome.runs) else 3


def _builds(args: argparse.Namespace) -> list[Build]:
    from runners.builds.discover import default_build, discover, parse_build_option

    from .options import labelled

    if not args.build:
        return [default_build()]
    options = [parse_build_option(option) for option in args.build]
    return labelled([discover(path, label) for label, path in options])


def show(
    args: argparse.Namespace,
    outcome: Outcome,
    scenarios: Sequence[Scenario],
    budget_ns: int | None = None,
) -> None:
    """Print what a session ended with: a table, or one JSON document with `--json`.

    Of runs with a blackout beyond `budget_ns` it says why.
    """
    from dataclasses import asdict

    from reports.terminal.why import budget_notes, budget_of
    from results.instrument.certificates import certificate_lines
    from results.stats.intervals import belongs, summarise
    from results.summary.caveats import doubts_of

    certificates = certificate_lines(args.store, outcome.session, outcome.session.builds)
    order = {scenario.id: number for number, scenario in enumerate(scenarios)}
    runs = sorted(outcome.runs, key=lambda run: order[run.scenario])
    summaries = summarise(runs)
    doubts = [doubts_of(run for run in runs if belongs(run, summary)) for summary in summaries]
    budget = budget_of(runs, budget_ns) if budget_ns else None
    if args.json:
        import json

        from reports.formats.session_json import document

        found = document(outcome.session, outcome.runs, summaries)
        for entry, mine in zip(found["summary"], doubts, strict=True):
            entry["doubts"] = [asdict(doubt) for doubt in mine]
        found |= {"certificates": certificates}
        print(json.dumps(found | ({"budget": asdict(budget)} if budget else {})))
        return
    import os

    from reports.terminal.session import look_for, session_page, write

    look = look_for(sys.stdout, os.environ)
    notes = [
        f"{summary.scenario}: {doubt.line}"
        for summary, mine in zip(summaries, doubts, strict=True)
        for doubt in mine
    ]
    notes = [*certificates, *notes, *(budget_notes(budget, args.store) if budget else ())]
    page = session_page(summaries, runs, args.store, outcome.session.id, look, notes)
    write(page, sys.stdout, look)
