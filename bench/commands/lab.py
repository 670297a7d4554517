"""`pausebench lab`: VFIO scenarios in a virtual machine that has an IOMMU, KVM and kprobes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.arguments import positive

if TYPE_CHECKING:
    from runners.lab.root import LabRoot

DEFAULT_SCENARIOS = ("vfio-type1", "vfio-iommufd")
_EPILOG = """\
A Debian kernel boots under TCG with an emulated Intel IOMMU; in it, this very pausebench hands
guests on KVM (emulated SVM) over with real PCI devices assigned by vfio-pci. Blackouts are those
of that virtual machine, some ten times a real host's: what counts is what happens, not how fast.
Sessions are kept in the store, marked as the lab's, and never compared with a real host's.

The root is unpacked into the cache of builds (/var/cache/pausebench/builds/.lab, or
$PAUSEBENCH_CACHE/.lab), about 1 GB; nothing is installed on this host.

examples:
  pausebench lab run                          vfio-type1 and vfio-iommufd, QEMU's edu device
  pausebench lab run vfio-type1 --assign nvme --assign igb
  pausebench lab build                        the newest kernel and QEMU of the mirror
  pausebench lab shell --assign edu"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="make the root, or bring it up to date")
    run = actions.add_parser("run", help="boot the lab and measure in it")
    shell = actions.add_parser("shell", help="a shell in the lab, with pausebench in /lab/code")
    status = actions.add_parser("status", help="what is in the cache")
    actions.add_parser("clean", help="take the lab out of the cache")
    status.add_argument("--json", action="store_true", help="one JSON document on standard output")
    run.add_argument(
        "scenario", nargs="*", help=f"what to measure (default: {' '.join(DEFAULT_SCENARIOS)})"
    )
    run.add_argument("--boots", type=positive, default=1, help="guests per scenario (default 1)")
    run.add_argument(
        "--updates", type=positive, default=2, help="transfers in a row per guest (default 2)"
    )
    run.add_argument("--ram", metavar="SIZE", help="RAM of the guest (default 256M)")
    run.add_argument("--vcpus", type=positive, help="vCPUs of the guest")
    run.add_argument(
        "--time-limit", type=positive, default=300, metavar="S", help="end the lab then (300 s)"
    )
    run.add_argument(
        "--scenarios", type=Path, metavar="FILE.toml", help="file that defines more scenarios"
    )
    for action in (run, shell):
        action.add_argument(
            "--assign",
            action="append",
            metavar="DEVICE",
            help="edu (default), nvme or igb; repeat for several",
        )
    for action in (build, run):
        action.add_argument(
            "--legacy-only",
            action="store_true",
            help="without iommufd: its modules need not be built (30 s)",
        )
    from .options import add_session_options

    add_session_options(run)


def run(args: argparse.Namespace) -> int:
    from bench.studies import lab

    from .options import need_root

    if args.action == "status":
        return _status(as_json=args.json)
    need_root()
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
    import sys

    from bench.measurement.session import Outcome
    from bench.studies import lab
    from results.store.store import open_store

    from .run import show

    names = args.scenario or list(DEFAULT_SCENARIOS[:1] if args.legacy_only else DEFAULT_SCENARIOS)
    scenarios = lab.chosen(names, args.scenarios, legacy_only=args.legacy_only)
    with open_store(args.store) as store:
        session, runs = lab.measure(
            scenarios,
            lab.Wishes(
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
            ["pausebench", *sys.argv[1:]],
        )
    show(args, Outcome(session, tuple(runs)), scenarios)
    return 0 if all(run.outcome == "completed" for run in runs) else 3


def _status(*, as_json: bool) -> int:
    import json

    from runners.lab.root import current_root, lab_directory, roots

    known = roots()
    current = current_root()
    if as_json:
        rows = [_row(root, current) for root in known]
        print(json.dumps({"cache": str(lab_directory()), "roots": rows}, indent=2))
        return 0
    if not known:
        print(f"no lab in {lab_directory()} yet: pausebench lab run (or lab build) makes it")
    for root in known:
        row = _row(root, current)
        use = "current" if row["current"] else "of other versions"
        ways = "type1, iommufd" if row["iommufd"] else "type1"
        print(
            f"{root.key}  Linux {root.kernel}, QEMU {root.qemu}: {ways}; "
            f"made {root.made}, {row['bytes'] / 1e9:.1f} GB, {use}"
        )
    return 0


def _row(root: LabRoot, current: LabRoot | None) -> dict[str, Any]:
    from runners.lab.modules import has_iommufd

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
    from runners.lab.root import clean

    kept = clean()
    for root in kept:
        print(f"kept {root.path}: a lab runs on it")
    return 0
