"""`pausebench lab`: VFIO scenarios in a virtual machine that has an IOMMU, KVM and kprobes."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_json_option, add_scenario_file_option, add_session_options

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
    add_json_option(status)
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
    add_scenario_file_option(run)
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
    add_session_options(run)
