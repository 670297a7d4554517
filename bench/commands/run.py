"""`pausebench run`: measure scenarios and show one table."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.session import Outcome
    from results.records import Build, Scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", nargs="+", help="what to measure (`pausebench list`)")
    parser.add_argument(
        "--boots", type=_positive, default=3, help="guests booted per scenario (default 3; 6 give "
        "a distribution-free 95 %% interval)"
    )  # fmt: skip
    parser.add_argument(
        "--updates", type=_positive, default=5, help="transfers in a row per guest (default 5)"
    )
    parser.add_argument("--ram", metavar="SIZE", help="RAM of the guest, like 1G")
    parser.add_argument("--touched", type=float, metavar="SHARE", help="share of RAM touched, 0-1")
    parser.add_argument("--vcpus", type=_positive, help="vCPUs of the guest")
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="default: kvm where it works")
    parser.add_argument("--machine", help="QEMU machine type (default q35)")
    parser.add_argument("--cpu", help="QEMU CPU model (default qemu64, which every KVM can run)")
    parser.add_argument("--mem-lock", action="store_true", default=None, help="lock guest RAM")
    parser.add_argument(
        "--return-path", action="store_true", default=None,
        help="migration return path: QEMU's `downtime` then reaches new QEMU's vm_start",
    )  # fmt: skip
    parser.add_argument(
        "--build", action="append", metavar="LABEL=PATH", help="QEMU to measure: a binary, a build "
        "directory or an unpacked tree; repeat for several (default: the system's)"
    )  # fmt: skip
    parser.add_argument("--scenarios", type=Path, metavar="FILE.toml", help="file with more")
    parser.add_argument("--store", type=Path, default=Path("out"), help="store (default out/)")
    parser.add_argument("--seed", type=int, help="seed of the order of boots (default: random)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 1")
    return number


def run(args: argparse.Namespace) -> int:
    from bench.schedule import plan_trials
    from bench.session import resolve, run_session
    from results.errors import HostUnfit
    from results.store import open_store

    scenarios = [resolve(scenario) for scenario in _scenarios(args)]
    builds = _builds(args)
    store = open_store(args.store)
    _refuse_non_root(HostUnfit)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    trials = plan_trials(scenarios, builds, args.boots, args.updates, seed)
    from bench.progress import SessionProgress

    with SessionProgress(sum(trial.updates for trial in trials)) as progress:
        outcome = run_session(
            trials, builds, store, progress, ["pausebench", *sys.argv[1:]], {"seed": str(seed)}
        )
    _show(args, outcome, scenarios)
    return 0 if all(run.outcome == "completed" for run in outcome.runs) else 3


def _refuse_non_root(error: type[Exception]) -> None:
    import os

    if os.geteuid() != 0:
        raise error("BPF probes and guest RAM need root: run it with sudo")


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    from bench.scenarios import BUILTIN, changed, find_scenario, load_scenarios, parse_size

    known = BUILTIN + (load_scenarios(args.scenarios) if args.scenarios else ())
    changes: dict[str, Any] = {
        "ram_bytes": parse_size(args.ram) if args.ram else None,
        "touched": args.touched,
        "vcpus": args.vcpus,
        "accel": args.accel,
        "machine": args.machine,
        "cpu": args.cpu,
        "mem_lock": args.mem_lock,
        "return_path": args.return_path,
    }
    names = dict.fromkeys(args.scenario)  # named twice is meant once
    return [changed(find_scenario(name, known), changes) for name in names]


def _builds(args: argparse.Namespace) -> list[Build]:
    from runners.builds import default_build, discover, parse_build_option

    if not args.build:
        return [default_build()]
    found = []
    for option in args.build:
        label, path = parse_build_option(option)
        found.append(discover(path, label))
    return found


def _show(args: argparse.Namespace, outcome: Outcome, scenarios: Sequence[Scenario]) -> None:
    from results.statistics import summarise

    order = {scenario.id: number for number, scenario in enumerate(scenarios)}
    runs = sorted(outcome.runs, key=lambda run: order[run.scenario])
    summaries = summarise(runs)
    if args.json:
        import json

        from reports.document import document

        print(json.dumps(document(outcome.session, outcome.runs, summaries)))
        return
    import os

    from reports.terminal import look_for, session_page, write

    look = look_for(sys.stdout, os.environ)
    page = session_page(summaries, runs, args.store, outcome.session.id, look)
    write(page, sys.stdout, look)
