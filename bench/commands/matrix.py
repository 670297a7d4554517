"""`pausebench matrix`: every old build to every new one, with the blackout or why it did not go."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bench.arguments import positive

from .options import add_scenario_options, add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.records.run import Run
    from results.records.scenario import Build, Scenario

DEFAULT_SCENARIO = "anon"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Hands a guest from every build to every build, backward ones too. Each attempt is "
        "bounded: one that waits for ever is cut and named."
    )
    parser.add_argument(
        "build", nargs="+", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )
    parser.add_argument("--scenario", default=DEFAULT_SCENARIO, help=f"default {DEFAULT_SCENARIO}")
    parser.add_argument("--boots", type=positive, default=3, help="guests per pair (default 3)")
    add_scenario_options(parser)
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from bench.measurement.progress import SessionProgress
    from bench.measurement.scenarios import on_common_machine
    from bench.measurement.session import open_session
    from results.errors import UsageError
    from results.store.store import open_store
    from runners.builds.catalogue import resolve_build

    from .options import chosen_scenarios, labelled, need_root, seed_of

    need_root()
    builds = labelled([resolve_build(text) for text in args.build])
    if len(builds) < 2:
        raise UsageError("matrix takes two builds or more")
    scenarios, machine = on_common_machine(
        chosen_scenarios(args, [args.scenario]), builds, args.machine
    )
    seed = seed_of(args)
    extra = {"seed": str(seed), "machine": machine}
    attempts = len(builds) ** 2 * args.boots
    with (
        open_store(args.store) as store,
        SessionProgress(attempts) as progress,
        open_session(
            scenarios, builds, store, progress, ["pausebench", *sys.argv[1:]], extra
        ) as live,
    ):
        runs = asyncio.run(_measure(live.experiment, scenarios[0], builds, args.boots, seed))
        live.status = 0
        session = live.session.id
    _show(args, builds, runs, session)
    return 0


async def _measure(
    experiment: object, scenario: Scenario, builds: Sequence[Build], boots: int, seed: int
) -> list[Run]:
    """Pairs in a shuffled order, round by round; a pair that failed once is not tried again."""
    import random
    from itertools import product

    from bench.measurement.experiment import Experiment
    from bench.measurement.schedule import Trial

    assert isinstance(experiment, Experiment)
    order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
    runs: list[Run] = []
    failed: set[tuple[str, str]] = set()
    for boot in range(1, boots + 1):
        pairs = list(product(builds, builds))
        order.shuffle(pairs)
        for old, new in pairs:
            if (old.label, new.label) in failed:
                experiment.progress.skipped(1)
                continue
            cell = f"{scenario.id}+{old.label}-to-{new.label}"
            found = await experiment.run([Trial(scenario, old, new, boot, 1, cell)])
            runs += found
            if any(run.outcome == "failed" for run in found):
                failed.add((old.label, new.label))
    return runs


def _show(
    args: argparse.Namespace, builds: Sequence[Build], runs: Sequence[Run], session: str
) -> None:
    from results.summary.matrix import matrix_cells

    labels = [build.label for build in builds]
    cells = matrix_cells(runs, labels)
    if args.json:
        import json
        from dataclasses import asdict

        document = {
            "session": session,
            "builds": [{"label": b.label, "version": b.version} for b in builds],
            "cells": [asdict(cell) for cell in cells],
            "exit_code": 0,
        }
        print(json.dumps(document))
        return
    import os

    from reports.terminal.matrix import matrix_table
    from reports.terminal.session import closing_lines, look_for, write

    look = look_for(sys.stdout, os.environ)
    versions = {build.label: build.version for build in builds}
    write(matrix_table(cells, versions, look), sys.stdout, look)
    write(closing_lines(args.store, session, look), sys.stdout, look)
