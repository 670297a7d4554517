"""`pausebench sweep`: how the blackout grows with the guest, beside a precopy that copies RAM."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from bench.arguments import positive

from .options import add_scenario_options, add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.records.scenario import Scenario
    from results.stats.slopes import Dimension

DEFAULT_SCENARIO = "anon"
_EPILOG = """\
dimensions:
  ram       RAM of the guest, all of it touched (default 256M 512M 1G)
  vcpus     vCPUs (default 1 2 4)
  devices   virtio devices that nobody uses, to carry more state (default 0 8 16)

examples:
  pausebench sweep ram                        does RAM stay in place? slope by GiB
  pausebench sweep ram anon hugetlb-2m        small pages against huge ones
  pausebench sweep vcpus --values 1 2 4 8 --boots 6"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.description = (
        "Hands guests of growing size over and shows how much longer each phase takes by unit, "
        "with its 95 % interval. Each boot ends with a precopy migration of the same guest on the "
        "same host, which has to copy its RAM."
    )
    parser.add_argument("dimension", choices=("ram", "vcpus", "devices"), help="what grows")
    parser.add_argument(
        "scenario", nargs="*", help=f"what to hand over (default {DEFAULT_SCENARIO})"
    )
    parser.add_argument("--values", nargs="+", metavar="VALUE", help="three or more, ascending")
    parser.add_argument("--boots", type=positive, default=4, help="guests per value (default 4)")
    parser.add_argument("--updates", type=positive, default=5, help="per guest (default 5)")
    parser.add_argument(
        "--no-precopy", dest="precopy", action="store_false", help="cpr-transfer alone"
    )
    parser.add_argument(
        "--build", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )
    add_scenario_options(parser)
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from bench.measurement.progress import SessionProgress
    from bench.measurement.session import open_session
    from bench.studies.sweep import Sweeper
    from results.store.store import open_store
    from runners.builds.catalogue import resolve_build
    from runners.builds.discover import default_build

    from .options import chosen_scenarios, need_root, seed_of

    dimension: Dimension = args.dimension
    scenarios = chosen_scenarios(args, args.scenario or [DEFAULT_SCENARIO])
    values = _values(args)
    sizes = _sizes(scenarios, dimension, values, precopy=args.precopy)
    need_root()
    build = resolve_build(args.build) if args.build else default_build()
    seed = seed_of(args)
    command = ["pausebench", *sys.argv[1:]]
    extra = {"seed": str(seed), "purpose": "sweep"}
    each = args.updates + int(args.precopy)
    total = len(scenarios) * len(values) * args.boots * each
    with (
        open_store(args.store) as store,
        SessionProgress(total, tell_boots=False) as progress,
        open_session(sizes, [build], store, progress, command, extra) as live,
    ):
        sweeper = Sweeper(live.experiment, dimension, progress.note)
        asyncio.run(
            sweeper.run(
                scenarios, values, build, args.boots, args.updates, seed, precopy=args.precopy
            )
        )
        found = sweeper.judged()
        live.status = 3 if found.failed else 0
        session = live.session.id
    _show(args, found, session)
    return live.status


def _values(args: argparse.Namespace) -> list[int]:
    """Whole numbers, bytes for RAM. Raises UsageError."""
    from bench.arguments import parse_size
    from bench.studies.sweep import DEFAULTS
    from results.errors import UsageError
    from results.stats.slopes import LEAST_VALUES

    found = []
    for text in args.values or DEFAULTS[args.dimension]:
        if args.dimension == "ram":
            found.append(parse_size(text))
        elif text.isdecimal() and len(text) < 6:
            found.append(int(text))
        else:
            raise UsageError(f"--values {text}: takes whole numbers for {args.dimension}")
    if len(set(found)) < LEAST_VALUES:
        raise UsageError(f"--values: a slope takes {LEAST_VALUES} different values or more")
    return sorted(set(found))


def _sizes(
    scenarios: Sequence[Scenario], dimension: Dimension, values: Sequence[int], *, precopy: bool
) -> list[Scenario]:
    """Every guest that will be, checked; for a precopy one as large as both its ends as well."""
    import os
    from dataclasses import replace

    import psutil

    from bench.studies.sweep import grown
    from runners.qemu.command_line import check_scenario

    memory, cpus = psutil.virtual_memory().available, os.cpu_count() or 1
    found = [grown(scenario, dimension, value) for scenario in scenarios for value in values]
    if precopy:
        found += [replace(size, ram_bytes=2 * size.ram_bytes) for size in found]
    for size in found:
        check_scenario(size, memory, cpus)
    return found


def _show(args: argparse.Namespace, found: Any, session: str) -> None:
    if args.json:
        import json
        from dataclasses import asdict

        print(json.dumps({"session": session, "unit": found.unit} | asdict(found)))
        return
    import os

    from reports.terminal.session import closing_lines, look_for, write
    from reports.terminal.sweep import growth_page

    look = look_for(sys.stdout, os.environ)
    write(growth_page(found, look), sys.stdout, look)
    write(closing_lines(args.store, session, look), sys.stdout, look)
