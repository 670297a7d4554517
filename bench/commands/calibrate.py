"""`pausebench calibrate`: pauses of known length, and what was measured of them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from bench.arguments import positive

from .options import add_scenario_options, add_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.instrument.calibration import Kind
    from results.records.scenario import Scenario

DEFAULT_SCENARIOS = ("anon", "hugetlb-2m")
EXIT_OFF = 1
_MOST_MS = 2000.0  # far below the bounds on each step of a handover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Injects pauses of 0.5, 1, 5, 20 and 100 ms into the blackouts of real handovers, in turns "
        "with handovers that get none, and shows how much of each was recovered. The certificate "
        "is kept for this host, kernel and build; every report quotes it. It fails when the "
        "median error at any length is beyond 50 us + 1 %."
    )
    parser.epilog = (
        "exit status: 0 passed, 1 off by more than is allowed, 2 usage, 3 too few pauses came "
        "about, 4 host unfit"
    )
    parser.add_argument(
        "scenario",
        nargs="*",
        help=f"what to calibrate on, each on KVM and TCG (default {' '.join(DEFAULT_SCENARIOS)})",
    )
    parser.add_argument(
        "--boots", type=positive, default=2, help="guests per scenario and accelerator (default 2)"
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=4,
        help="times each length is tried per guest (default 4)",
    )
    parser.add_argument(
        "--level",
        type=_level,
        action="append",
        metavar="MS",
        help="length of a pause in ms; repeat for several (default: the five above)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=("new", "old", "main"),
        help="how: new or old QEMU stopped by a signal, or the main channel held back (default: "
        "all)",
    )
    parser.add_argument(
        "--build", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )
    add_scenario_options(parser)
    add_session_options(parser)


def _level(text: str) -> int:
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0.1 <= length <= _MOST_MS:
        raise argparse.ArgumentTypeError(
            f"`{text}` is no length of a pause: 0.1 to {_MOST_MS:g} ms"
        )
    return round(length * 1e6)


def run(args: argparse.Namespace) -> int:
    import asyncio
    import time
    from dataclasses import replace

    from bench.measurement.progress import SessionProgress
    from bench.measurement.session import open_session
    from bench.studies.calibrate import LEVELS_NS, Calibrator, Injectors
    from results.instrument.calibration import KINDS
    from results.instrument.certificates import known_so_far, write_certificate
    from results.store.store import open_store
    from runners.builds.catalogue import resolve_build
    from runners.builds.discover import default_build

    from .options import need_root, seed_of

    levels = tuple(sorted(set(args.level))) if args.level else LEVELS_NS
    kinds: Sequence[Kind] = tuple(dict.fromkeys(args.kind)) if args.kind else KINDS
    scenarios = _cells(args)
    need_root()
    build = resolve_build(args.build) if args.build else default_build()
    seed = seed_of(args)
    total = len(scenarios) * args.boots * args.rounds * len(kinds) * (1 + len(levels))
    command = ["pausebench", *sys.argv[1:]]
    extra = {"seed": str(seed), "purpose": "calibration"}
    with (
        open_store(args.store) as store,
        SessionProgress(total, tell_boots=False) as progress,
        open_session(scenarios, [build], store, progress, command, extra) as live,
        Injectors([build]) as injectors,
    ):
        calibrator = Calibrator(live.experiment, injectors, levels, kinds, progress.note)

        async def all_cells() -> None:
            for scenario in scenarios:
                await calibrator.cell(scenario, build, args.boots, args.rounds, seed)

        asyncio.run(all_cells())
        found = calibrator.judged()
        certificate = replace(
            known_so_far(args.store, live.session, build),
            made_unix_ns=time.time_ns(),
            session=live.session.id,
            calibration=found,
        )
        path = write_certificate(args.store, certificate)
        live.status = 0 if found.passed else EXIT_OFF if found.levels else 3
    _show(args, certificate, path)
    return live.status


def _cells(args: argparse.Namespace) -> list[Scenario]:
    """Every scenario on each accelerator that this host has, or on the one asked for."""
    from dataclasses import replace

    from .options import chosen_scenarios

    found: list[Scenario] = []
    for scenario in chosen_scenarios(args, args.scenario or DEFAULT_SCENARIOS):
        found.append(scenario)
        if args.accel is None and scenario.accel == "kvm":
            found.append(replace(scenario, accel="tcg"))
    return found


def _show(args: argparse.Namespace, certificate: Any, path: Any) -> None:
    if args.json:
        import json
        from dataclasses import asdict

        document = asdict(certificate)
        calibration = document.pop("calibration")
        print(json.dumps(calibration | {"certificate": document, "file": str(path)}))
        return
    import os

    from reports.terminal.calibration import calibration_page
    from reports.terminal.session import look_for, write

    look = look_for(sys.stdout, os.environ)
    write(calibration_page(certificate, str(path), look), sys.stdout, look)
