"""`pausebench faults`: break QEMU in every phase of an update and see what becomes of the guest."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from bench.claims.campaign import oldest_first
from bench.inputs.chosen import check_labels, command_line, require_root
from bench.measurement.progress import SessionProgress
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.session import open_session
from bench.reliability.faults import RAM_BYTES, VCPUS, FaultTrials, all_faults, one_per_phase
from bench.reliability.injection import Injectors
from reports.terminal.faults import faults_table
from reports.terminal.session import closing_lines
from reports.terminal.style import look_for, write
from results.records.scenario import Build
from results.store.store import open_store
from results.summary.failures.faults import SCHEMA, FaultRow
from runners.builds.catalogue import resolve_build

_LOST = 3


def run(args: argparse.Namespace) -> int:
    require_root()
    names = args.build or ["system"]
    builds = oldest_first(check_labels([resolve_build(name) for name in names]))
    anon = replace(find_scenario("anon", BUILTIN), ram_bytes=RAM_BYTES, vcpus=VCPUS)
    anon = replace(anon, accel=args.accel or anon.accel)
    (scenario,), machine = on_common_machine([anon], builds, None)
    scenario = resolve(scenario)
    faults = all_faults(builds)
    faults = one_per_phase(faults) if args.quick else faults
    extra = {"machine": machine, "purpose": "faults"}
    with (
        open_store(args.store) as store,
        SessionProgress(len(faults), boot_lines=False) as progress,
        open_session([scenario], builds, store, progress, command_line(), extra) as live,
        Injectors(builds) as injectors,
    ):
        trials = FaultTrials(live.experiment, scenario, builds, injectors)
        rows = asyncio.run(trials.run(faults))
        live.status = 0 if all(row.as_expected for row in rows) else _LOST
        session = live.session.id
    _show(args, builds, rows, session)
    return live.status


def _show(
    args: argparse.Namespace, builds: Sequence[Build], rows: Sequence[FaultRow], session: str
) -> None:
    if args.json:
        document = {
            "schema": SCHEMA,
            "session": session,
            "builds": {build.label: build.version for build in builds},
            "rows": [asdict(row) | {"as_expected": row.as_expected} for row in rows],
        }
        print(json.dumps(document))
        return
    look = look_for(sys.stdout, os.environ)
    write(faults_table(rows, look), sys.stdout, look)
    write(closing_lines(args.store, session, look, f"show {rows[-1].run}"), sys.stdout, look)
