"""`pausebench matrix`: update from every build to every build."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench.inputs.chosen import check_labels, chosen_scenarios, command_line, require_host, seed_of
from bench.measurement.progress import SessionProgress
from bench.measurement.scenarios import on_common_machine
from bench.measurement.session import LiveSession, open_session
from bench.studies.matrix import measure_matrix
from reports.terminal.matrix import matrix_table
from reports.terminal.session import closing_lines
from reports.terminal.style import look_for, write
from results.errors import UsageError
from results.records.harm import exit_status, harm_of
from results.records.run import Run
from results.records.scenario import Build
from results.store.store import open_store
from results.summary.matrix import matrix_cells
from runners.builds.catalogue import resolve_build


def run(args: argparse.Namespace) -> int:
    require_host()
    builds = check_labels([resolve_build(text) for text in args.build])
    if len(builds) < 2:
        raise UsageError("matrix needs two builds or more")
    chosen = chosen_scenarios(args, [args.scenario])
    scenarios, machine = on_common_machine(chosen, builds, args.machine)
    seed = seed_of(args)
    extra = {"seed": str(seed), "machine": machine}
    attempts = len(builds) ** 2 * args.boots
    with (
        open_store(args.store) as store,
        SessionProgress(attempts) as progress,
        open_session(
            scenarios, builds, store, progress, command_line(), extra, share=args.share
        ) as live,
    ):
        runs = asyncio.run(measure_matrix(live.experiment, scenarios[0], builds, args.boots, seed))
        # An update that QEMU refuses is a result of a matrix; one that costs the guest is not.
        live.status = exit_status(map(harm_of, runs), "loss")
    _show(args, builds, runs, live)
    return live.status


def _show(
    args: argparse.Namespace, builds: Sequence[Build], runs: Sequence[Run], live: LiveSession
) -> None:
    session = live.session.id
    cells = matrix_cells(runs, [build.label for build in builds])
    if args.json:
        document = {
            "session": session,
            "builds": [{"label": b.label, "version": b.version} for b in builds],
            "cells": [asdict(cell) for cell in cells],
            "exit_code": live.status,
        }
        print(json.dumps(document))
        return
    look = look_for(sys.stdout, os.environ)
    versions = {build.label: build.version for build in builds}
    write(matrix_table(cells, versions, look), sys.stdout, look)
    write(closing_lines(args.store, session, look), sys.stdout, look)
