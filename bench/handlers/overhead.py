"""`pausebench overhead`: measure how much the probes themselves lengthen the blackout."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from bench.inputs.chosen import chosen_build, chosen_scenarios, command_line, require_host, seed_of
from bench.measurement.damage import show_damage
from bench.measurement.progress import SessionProgress
from bench.measurement.session import open_session
from bench.studies.overhead import OverheadStudy
from reports.terminal.overhead import effect_page
from reports.terminal.style import look_for, write
from results.errors import UsageError
from results.instrument.certificates import Certificate, known_so_far, write_certificate
from results.instrument.overhead import TIERS, boots_needed
from results.records.harm import exit_status, harm_of
from results.store.store import open_store
from results.summary.failures.failed_runs import failed_runs

_NOT_JUDGED = 3  # exit status: too few boots gave a value


def run(args: argparse.Namespace) -> int:
    if args.boots < (needed := boots_needed()):
        raise UsageError(
            f"--boots {args.boots}: too few for an interval of the cost, which takes {needed}"
        )
    scenarios = chosen_scenarios(args, args.scenario)
    require_host()
    build = chosen_build(args)
    seed = seed_of(args)
    extra = {"seed": str(seed), "purpose": "overhead"}
    command = command_line()
    total = len(scenarios) * len(TIERS) * args.boots * args.updates
    with (
        open_store(args.store) as store,
        SessionProgress(total, boot_lines=False) as progress,
        open_session(
            scenarios, [build], store, progress, command, extra, watch=None, share=args.share
        ) as live,
    ):
        study = OverheadStudy(live.experiment, note=progress.note)

        async def all_cells() -> None:
            for scenario in scenarios:
                await study.cell(scenario, build, args.boots, args.updates, seed)

        asyncio.run(all_cells())
        found = study.judged()
        certificate = replace(
            known_so_far(args.store, live.session, build),
            watched_unix_ns=time.time_ns(),
            watched_session=live.session.id,
            effect=found,
        )
        # What could not be judged takes the place of nothing that was.
        path = write_certificate(args.store, certificate) if found.judged else None
        failed = failed_runs(store, live.session.id)
        own = 0 if found.judged else _NOT_JUDGED
        live.status = exit_status(map(harm_of, failed), "damage") or own
    _show(args, certificate, path)
    show_damage(args, failed)
    return live.status


def _show(args: argparse.Namespace, certificate: Certificate, path: Path | None) -> None:
    effect = certificate.effect
    assert effect is not None
    if args.json:
        costs = [
            asdict(cost) | {"percent": cost.percent, "verdict": cost.verdict}
            for cost in effect.costs
        ]
        file = str(path) if path else None
        print(json.dumps({"costs": costs, "lost": effect.lost, "file": file}))
        return
    look = look_for(sys.stdout, os.environ)
    write(effect_page(certificate, path, look), sys.stdout, look)
