"""Options that several commands share: what to measure, on which builds, kept where."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.arguments import BUDGET, budget, positive


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the guest (default: as the scenario says)")
    group.add_argument("--ram", metavar="SIZE", help="RAM of the guest, like 1G")
    group.add_argument("--touched", type=float, metavar="SHARE", help="share of RAM touched, 0-1")
    group.add_argument("--vcpus", type=positive, help="vCPUs of the guest")
    group.add_argument("--accel", choices=("kvm", "tcg"), help="default: kvm where it works")
    group.add_argument("--machine", help="QEMU machine type (default q35)")
    group.add_argument("--cpu", help="QEMU CPU model (default qemu64, which every KVM can run)")
    group.add_argument("--mem-lock", action="store_true", default=None, help="lock guest RAM")
    group.add_argument(
        "--return-path",
        action="store_true",
        default=None,
        help="migration return path: QEMU's `downtime` then reaches new QEMU's vm_start",
    )
    group.add_argument(
        "--device",
        action="append",
        metavar="ADDRESS",
        help="PCI device to assign in the vfio scenarios, like 0000:01:00.0, or all of a "
        "class, like class:0108; repeat for several. "
        "It is taken from this host while it is measured and given back after",
    )
    add_scenario_file_option(group)


def add_scenario_file_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--scenarios", type=Path, metavar="FILE.toml", help="file that defines more scenarios"
    )


def add_mode_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        action="append",
        metavar="MODE",
        help="how the guest gets into new QEMU (default cpr-transfer); repeat to measure several "
        "in turns, as anon@precopy and so on. "
        "cpr-transfer, cpr-exec (QEMU 10.2 and later): RAM and descriptors stay; "
        "precopy, precopy-multifd, postcopy: RAM is copied to a second QEMU over a socket; "
        "cpr-reboot, snapshot: old QEMU saves to a file and ends, a new one loads it",
    )


def add_build_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--build", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )


def add_session_options(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument("--seed", type=int, help="seed of the order of boots (default: random)")
    add_json_option(parser)


def add_store_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", metavar="DIR", type=Path, default=Path("out"), help="store (default out/)"
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def add_budget_option(parser: argparse.ArgumentParser, then: str) -> None:
    """`then` says what the command makes of it."""
    parser.add_argument(
        "--budget", metavar=BUDGET, type=budget, action="append", default=[],
        help="time that blackouts are to stay under (10ms, 500us; a plain number is in ms), of one "
        f"SCENARIO or of all; PERCENT (95) is how many of them; may be repeated. {then}",
    )  # fmt: skip


def add_threshold_options(parser: argparse.ArgumentParser) -> None:
    """What a change between builds must clear, and what becomes of one that is undecided."""
    for name, unit, default, text in (
        ("--relative", "PERCENT", 3.0, "3"),
        ("--absolute", "MS", 0.05, "0.05 ms"),
    ):
        parser.add_argument(
            name, type=float, default=default, metavar=unit,
            help=f"between builds: a smaller change does not count (default {text})",
        )  # fmt: skip
