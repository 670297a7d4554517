"""`pausebench sweep`: measure how the blackout grows with the guest."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import psutil

from bench.arguments import parse_size
from bench.inputs.chosen import chosen_build, chosen_scenarios, command_line, require_host, seed_of
from bench.measurement.damage import show_damage
from bench.measurement.progress import SessionProgress
from bench.measurement.session import open_session
from bench.studies.sweep import DEFAULTS, Sweeper, sized
from reports.terminal.session import closing_lines
from reports.terminal.style import look_for, write
from reports.terminal.sweep import growth_page
from results.errors import UsageError
from results.records.harm import exit_status, harm_of
from results.records.scenario import Scenario
from results.stats.slopes import LEAST_VALUES, Dimension, Growth, boots_needed
from results.store.store import open_store
from results.summary.failures.failed_runs import failed_runs
from runners.qemu.command_line import check_scenario
from runners.qemu.headroom import check_room


def run(args: argparse.Namespace) -> int:
    dimension: Dimension = args.dimension
    scenarios = chosen_scenarios(args, args.scenario)
    values = _values(args)
    if args.boots < (needed := boots_needed(len(values))):
        raise UsageError(
            f"--boots {args.boots} at {len(values)} values: too few for the interval of a slope, "
            f"which takes --boots {needed}"
        )
    sizes = _sizes(scenarios, dimension, values, precopy=args.precopy)
    require_host()
    build = chosen_build(args)
    seed = seed_of(args)
    extra = {"seed": str(seed), "purpose": "sweep"}
    each = args.updates + int(args.precopy)
    total = len(scenarios) * len(values) * args.boots * each
    with (
        open_store(args.store) as store,
        SessionProgress(total, boot_lines=False) as progress,
        open_session(
            sizes, [build], store, progress, command_line(), extra, share=args.share
        ) as live,
    ):
        sweeper = Sweeper(live.experiment, dimension, progress.note)
        asyncio.run(
            sweeper.run(
                scenarios, values, build, args.boots, args.updates, seed, precopy=args.precopy
            )
        )
        found = sweeper.judged()
        session = live.session.id
        failed = failed_runs(store, session)
        live.status = exit_status(map(harm_of, failed))
    _show(args, found, session)
    show_damage(args, failed)
    return live.status


def _values(args: argparse.Namespace) -> list[int]:
    """Integers, bytes for RAM. Raises UsageError."""
    found = []
    for text in args.values or DEFAULTS[args.dimension]:
        if args.dimension == "ram":
            found.append(parse_size(text))
        elif text.isdecimal() and len(text) < 6:
            found.append(int(text))
        else:
            raise UsageError(f"--values {text}: expected integers for {args.dimension}")
    if len(set(found)) < LEAST_VALUES:
        raise UsageError(f"--values: a slope needs {LEAST_VALUES} different values or more")
    return sorted(set(found))


def _sizes(
    scenarios: Sequence[Scenario], dimension: Dimension, values: Sequence[int], *, precopy: bool
) -> list[Scenario]:
    """Every guest to boot, checked; for a precopy also one as large as both of its QEMUs."""
    memory, cpus = psutil.virtual_memory().available, os.cpu_count() or 1
    found = [sized(scenario, dimension, value) for scenario in scenarios for value in values]
    if precopy:
        found += [replace(size, ram_bytes=2 * size.ram_bytes) for size in found]
    for size in found:
        check_scenario(size, memory, cpus)
        check_room(size)
    return found


def _show(args: argparse.Namespace, found: Growth, session: str) -> None:
    if args.json:
        print(json.dumps({"session": session, "unit": found.unit} | asdict(found)))
        return
    look = look_for(sys.stdout, os.environ)
    write(growth_page(found, look), sys.stdout, look)
    write(closing_lines(args.store, session, look), sys.stdout, look)
