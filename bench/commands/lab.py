"""`pausebench lab`: VFIO scenarios in a virtual machine that has an IOMMU, KVM and kprobes."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_json_option, add_scenario_file_option, add_session_options

DEFAULT_SCENARIOS = ("vfio-type1", "vfio-iommufd")
_EPILOG = """\
exit status of `lab run`: as of `run`

examples:
  pausebench lab run                          vfio-type1 and vfio-iommufd with QEMU's edu device
  pausebench lab run vfio-type1 --assign nvme --assign igb
  pausebench lab build                        the newest kernel and QEMU of the mirror
  pausebench lab shell --assign edu"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure assigned PCI devices (VFIO) on a host that has none to spare, or no IOMMU. A "
        "Debian kernel boots under TCG with an emulated Intel IOMMU; in it, this pausebench "
        "updates guests on KVM (emulated SVM) that have real PCI devices assigned by vfio-pci.\n\n"
        "Blackouts in the lab are some ten times those of a real host: what counts is what "
        "happens, not how fast. Its sessions are stored, marked as the lab's, and never compared "
        "with a real host's. Its root file system, about 1 GB, is unpacked into the cache of "
        "builds (/var/cache/pausebench/builds/.lab, or $PAUSEBENCH_CACHE/.lab); nothing is "
        "installed on this host."
    )
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="make the root file system, or bring it up to date")
    run = actions.add_parser("run", help="boot the lab and measure in it")
    shell = actions.add_parser(
        "shell", help="open a shell in the lab, with pausebench in /lab/code"
    )
    status = actions.add_parser("status", help="list the root file systems in the cache")
    actions.add_parser("clean", help="delete the lab from the cache")
    add_json_option(status)
    run.add_argument(
        "scenario", nargs="*", help=f"scenarios to measure (default: {' '.join(DEFAULT_SCENARIOS)})"
    )
    run.add_argument(
        "--boots", type=positive, default=1, metavar="N",
        help="guests per scenario (default: %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--updates", type=positive, default=2, metavar="N",
        help="updates in a row per guest (default: %(default)s)",
    )  # fmt: skip
    run.add_argument("--ram", metavar="SIZE", help="guest RAM (default: 256M)")
    run.add_argument("--vcpus", type=positive, metavar="N", help="number of vCPUs (default: 1)")
    run.add_argument(
        "--time-limit", type=positive, default=300, metavar="SECONDS",
        help="end the lab after this time (default: %(default)s s)",
    )  # fmt: skip
    add_scenario_file_option(run)
    for action in (run, shell):
        action.add_argument(
            "--assign",
            action="append",
            metavar="DEVICE",
            help="device to assign: edu (default), nvme or igb; repeat for several",
        )
    for action in (build, run):
        action.add_argument(
            "--legacy-only",
            action="store_true",
            help="leave iommufd out, whose modules take some 30 s to build",
        )
    add_session_options(run)
