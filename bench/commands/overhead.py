"""`pausebench overhead`: how much longer guests stand still because they are watched."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from bench.arguments import positive

from .options import add_scenario_options, add_session_options

if TYPE_CHECKING:
    from results.instrument.certificates import Certificate

DEFAULT_SCENARIOS = ("anon",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Hands guests over with nothing loaded, with guest entry and exit alone, with all that "
        "`run` loads, and with perf events too, in turns, probes loaded and unloaded each time. "
        "The guest's own beats are the judge: they need no probe. Kept beside the calibration of "
        "this host, kernel and build; every report quotes it."
    )
    parser.add_argument(
        "scenario", nargs="*", help=f"what to hand over (default {' '.join(DEFAULT_SCENARIOS)})"
    )
    parser.add_argument(
        "--boots", type=positive, default=12, help="guests per scenario and tier (default 12)"
    )
    parser.add_argument("--updates", type=positive, default=10, help="per guest (default 10)")
    parser.add_argument(
        "--build", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )
    add_scenario_options(parser)
    add_session_options(parser)


def run(args: argparse.Namespace) -> int:
    import asyncio
    import time
    from dataclasses import replace

    from bench.measurement.progress import SessionProgress
    from bench.measurement.session import open_session
    from bench.studies.overhead import Watcher
    from results.instrument.certificates import known_so_far, write_certificate
    from results.instrument.overhead import TIERS
    from results.store.store import open_store
    from runners.builds.catalogue import resolve_build
    from runners.builds.discover import default_build

    from .options import chosen_scenarios, need_root, seed_of

    scenarios = chosen_scenarios(args, args.scenario or DEFAULT_SCENARIOS)
    need_root()
    build = resolve_build(args.build) if args.build else default_build()
    seed = seed_of(args)
    command = ["pausebench", *sys.argv[1:]]
    extra = {"seed": str(seed), "purpose": "overhead"}
    total = len(scenarios) * len(TIERS) * args.boots * args.updates
    with (
        open_store(args.store) as store,
        SessionProgress(total, tell_boots=False) as progress,
        open_session(scenarios, [build], store, progress, command, extra, watch=None) as live,
    ):
        watcher = Watcher(live.experiment, note=progress.note)

        async def all_cells() -> None:
            for scenario in scenarios:
                await watcher.cell(scenario, build, args.boots, args.updates, seed)

        asyncio.run(all_cells())
        certificate = replace(
            known_so_far(args.store, live.session, build),
            watched_unix_ns=time.time_ns(),
            watched_session=live.session.id,
            effect=watcher.judged(),
        )
        path = write_certificate(args.store, certificate)
        live.status = 0
    _show(args, certificate, path)
    return 0


def _show(args: argparse.Namespace, certificate: Certificate, path: Any) -> None:
    effect = certificate.effect
    assert effect is not None
    if args.json:
        import json
        from dataclasses import asdict

        costs = [
            asdict(cost) | {"percent": cost.percent, "verdict": cost.verdict}
            for cost in effect.costs
        ]
        print(json.dumps({"costs": costs, "lost": effect.lost, "file": str(path)}))
        return
    import os

    from reports.terminal.overhead import effect_page
    from reports.terminal.session import look_for, write

    look = look_for(sys.stdout, os.environ)
    write(effect_page(certificate, str(path), look), sys.stdout, look)
