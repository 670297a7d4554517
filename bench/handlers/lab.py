"""`pausebench lab`: VFIO scenarios in a virtual machine that has an IOMMU, KVM and kprobes."""

from __future__ import annotations

import argparse
import json
from typing import Any

from bench.commands.lab import DEFAULT_SCENARIOS
from bench.inputs.chosen import command_line, require_root
from bench.measurement.session import Outcome
from bench.studies import lab
from reports.terminal.style import say
from results.records.harm import exit_status, harm_of
from results.store.store import open_store
from runners.host.lock import host_lock
from runners.lab.modules import has_iommufd
from runners.lab.root import LabRoot, clean, current_root, lab_directory, roots

from .run import show_outcome


def run(args: argparse.Namespace) -> int:
    if args.action == "status":
        return _status(as_json=args.json)
    require_root()
    match args.action:
        case "build":
            lab.ensure_root(fresh=True, iommufd=not args.legacy_only)
        case "run":
            return _run(args)
        case "shell":
            return lab.shell(args.assign or ["edu"])
        case "clean":
            return _clean()
    return 0


def _run(args: argparse.Namespace) -> int:
    names = args.scenario or list(DEFAULT_SCENARIOS[:1] if args.legacy_only else DEFAULT_SCENARIOS)
    scenarios = lab.select_scenarios(names, args.scenarios, legacy_only=args.legacy_only)
    with open_store(args.store) as store, host_lock(lab.log, share=args.share):
        session, runs = lab.measure(
            scenarios,
            lab.LabRequest(
                assigned=tuple(args.assign or ["edu"]),
                boots=args.boots,
                updates=args.updates,
                ram=args.ram,
                vcpus=args.vcpus,
                seed=args.seed,
                time_limit_s=args.time_limit,
                scenario_file=args.scenarios,
            ),
            store,
            command_line(),
        )
    show_outcome(args, Outcome(session, tuple(runs)), scenarios)
    return exit_status(map(harm_of, runs))


def _status(*, as_json: bool) -> int:
    known = roots()
    current = current_root()
    if as_json:
        rows = [_row(root, current) for root in known]
        print(json.dumps({"cache": str(lab_directory()), "roots": rows}, indent=2))
        return 0
    if not known:
        say(f"no lab in {lab_directory()}: `pausebench lab build` makes one")
    for root in known:
        row = _row(root, current)
        use = "current" if row["current"] else "other versions"
        ways = "type1, iommufd" if row["iommufd"] else "type1"
        say(
            f"{root.key}  Linux {root.kernel}, QEMU {root.qemu}: {ways}; "
            f"made {root.made}, {row['bytes'] / 1e9:.1f} GB, {use}"
        )
    return 0


def _row(root: LabRoot, current: LabRoot | None) -> dict[str, Any]:
    size = sum(p.lstat().st_blocks * 512 for p in root.path.rglob("*"))
    return {
        "key": root.key,
        "path": str(root.path),
        "kernel": root.kernel,
        "qemu": root.qemu,
        "made": root.made,
        "iommufd": has_iommufd(root),
        "bytes": size,
        "current": root == current,
    }


def _clean() -> int:
    kept = clean()
    for root in kept:
        say(f"kept {root.path}: a lab is running on it")
    return 0
