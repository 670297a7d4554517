"""`pausebench overhead`: how much longer guests stand still because they are watched."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from bench.measurement.progress import SessionProgress
from bench.measurement.session import open_session
from bench.studies.overhead import Watcher
from reports.terminal.overhead import effect_page
from reports.terminal.style import look_for, write
from results.instrument.certificates import Certificate, known_so_far, write_certificate
from results.instrument.overhead import TIERS
from results.store.store import open_store

from .chosen import chosen_build, chosen_scenarios, command_line, need_root, seed_of


def run(args: argparse.Namespace) -> int:
    scenarios = chosen_scenarios(args, args.scenario)
    need_root()
    build = chosen_build(args)
    seed = seed_of(args)
    extra = {"seed": str(seed), "purpose": "overhead"}
    command = command_line()
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


def _show(args: argparse.Namespace, certificate: Certificate, path: Path) -> None:
    effect = certificate.effect
    assert effect is not None
    if args.json:
        costs = [
            asdict(cost) | {"percent": cost.percent, "verdict": cost.verdict}
            for cost in effect.costs
        ]
        print(json.dumps({"costs": costs, "lost": effect.lost, "file": str(path)}))
        return
    look = look_for(sys.stdout, os.environ)
    write(effect_page(certificate, str(path), look), sys.stdout, look)
