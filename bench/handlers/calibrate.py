"""`pausebench calibrate`: inject pauses of known length and report how much is recovered."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.inputs.chosen import chosen_build, chosen_scenarios, command_line, require_host, seed_of
from bench.measurement.damage import show_damage
from bench.measurement.progress import SessionProgress
from bench.measurement.session import open_session
from bench.studies.calibrate import LEVELS_NS, Calibrator, Injectors
from reports.terminal.calibration import calibration_page
from reports.terminal.style import look_for, write
from results.errors import UsageError
from results.instrument.calibration import shots_needed
from results.instrument.certificates import Certificate, known_so_far, write_certificate
from results.instrument.shots import KINDS, Kind
from results.records.harm import exit_status, harm_of
from results.records.scenario import Scenario
from results.store.store import open_store
from results.summary.failures.failed_runs import failed_runs

_FAILED = 1  # exit statuses: failed, and too little measured to judge
_NOT_JUDGED = 3


def run(args: argparse.Namespace) -> int:
    levels = tuple(sorted(set(args.level))) if args.level else LEVELS_NS
    kinds: Sequence[Kind] = tuple(dict.fromkeys(args.kind)) if args.kind else KINDS
    scenarios = _cells(args)
    _check_enough(args, len(scenarios) * len(kinds) * len(levels))
    require_host()
    build = chosen_build(args)
    seed = seed_of(args)
    total = len(scenarios) * args.boots * args.rounds * len(kinds) * (1 + len(levels))
    extra = {"seed": str(seed), "purpose": "calibration"}
    with (
        open_store(args.store) as store,
        SessionProgress(total, boot_lines=False) as progress,
        open_session(
            scenarios, [build], store, progress, command_line(), extra, share=args.share
        ) as live,
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
        # What could not be judged takes the place of no certificate.
        path = write_certificate(args.store, certificate) if found.judged else None
        failed = failed_runs(store, live.session.id)
        own = 0 if found.passed else _FAILED if found.judged else _NOT_JUDGED
        live.status = exit_status(map(harm_of, failed), "damage") or own
    _show(args, certificate, path)
    show_damage(args, failed)
    return live.status


def _check_enough(args: argparse.Namespace, levels: int) -> None:
    """Refuse a plan that could not judge any length. Raises UsageError."""
    planned, needed = args.boots * args.rounds, shots_needed(levels)
    if planned < needed:
        raise UsageError(
            f"--boots {args.boots} --rounds {args.rounds}: {planned} transfers per length of pause "
            f"are too few to judge {levels} of them, which takes {needed}: "
            f"--rounds {-(-needed // args.boots)}"
        )


def _cells(args: argparse.Namespace) -> list[Scenario]:
    """Every scenario on each accelerator of this host, or on the one of `--accel`."""
    found: list[Scenario] = []
    for scenario in chosen_scenarios(args, args.scenario):
        found.append(scenario)
        if args.accel is None and scenario.accel == "kvm":
            found.append(replace(scenario, accel="tcg"))
    return found


def _show(args: argparse.Namespace, certificate: Certificate, path: Path | None) -> None:
    if args.json:
        document = asdict(certificate)
        calibration = document.pop("calibration")
        file = str(path) if path else None
        print(json.dumps(calibration | {"certificate": document, "file": file}))
        return
    look = look_for(sys.stdout, os.environ)
    write(calibration_page(certificate, path, look), sys.stdout, look)
