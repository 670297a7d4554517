"""Options that several commands share: what to measure, on which builds, where to store it."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.arguments import BUDGET, budget, path, positive, seed
from results.records.modes import PROMISES


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("guest (default: as the scenario defines it)")
    group.add_argument("--ram", metavar="SIZE", help="guest RAM, e.g. 1G")
    group.add_argument(
        "--touched",
        type=float,
        metavar="SHARE",
        help="share of RAM that the guest touches before the first update, 0 to 1",
    )
    group.add_argument("--vcpus", type=positive, metavar="N", help="number of vCPUs")
    group.add_argument(
        "--accel", choices=("kvm", "tcg"), help="accelerator (default: kvm if usable, else tcg)"
    )
    group.add_argument("--machine", metavar="TYPE", help="QEMU machine type (default: q35)")
    group.add_argument(
        "--cpu", metavar="MODEL", help="QEMU CPU model (default: qemu64, which every KVM can run)"
    )
    group.add_argument("--mem-lock", action="store_true", default=None, help="lock guest RAM")
    group.add_argument(
        "--return-path",
        action="store_true",
        default=None,
        help="use the migration return path: QEMU's `downtime` then reaches new QEMU's vm_start",
    )
    group.add_argument(
        "--device",
        action="append",
        metavar="ADDRESS",
        help="PCI device to assign in the vfio scenarios, e.g. 0000:01:00.0, or all of a class, "
        "e.g. class:0108; repeat for several. It is bound to vfio-pci while it is measured and "
        "given back to its driver afterwards",
    )
    add_scenario_file_option(group)


def add_scenario_file_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--scenarios",
        type=path,
        metavar="FILE.toml",
        help="file that defines more scenarios (see `pausebench list --help`)",
    )


def add_mode_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        action="append",
        metavar="MODE",
        help="how the guest gets into new QEMU (default: cpr-transfer); repeat to measure several "
        "in turns, named anon@precopy and so on. "
        + "; ".join(f"{mode}: {promise.about}" for mode, promise in PROMISES.items()),
    )


def add_build_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--build",
        metavar="BUILD",
        help="QEMU to measure: system, LABEL=PATH, or a label of `build list` (default: system)",
    )


def add_session_options(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="seed of the order of boots (default: random)"
    )
    add_share_option(parser, "measure")
    add_json_option(parser)


def add_share_option(parser: argparse.ArgumentParser, effect: str) -> None:
    """`effect` is what the command does although another session measures, an infinitive."""
    parser.add_argument(
        "--share",
        action="store_true",
        help=f"{effect} although another session measures on this host, instead of waiting for "
        "its end; each disturbs the other",
    )


def add_store_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="DIR",
        type=path,
        default=Path("out"),
        help="directory of stored sessions (default: %(default)s)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of a table"
    )


def add_budget_option(parser: argparse.ArgumentParser, effect: str) -> None:
    """`effect` is what the command does with a budget, a sentence in the imperative."""
    parser.add_argument(
        "--budget", metavar=BUDGET, type=budget, action="append", default=[],
        help="time that blackouts must stay under (10ms, 500us; a plain number is in ms), for one "
        "SCENARIO or all; PERCENT is the share of runs that must (default: 95); repeat for several "
        f"scenarios. {effect}",
    )  # fmt: skip


def add_redact_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-redact", dest="redact", action="store_false",
        help="also show what may be a secret: passwords and tokens in command lines and messages, "
        "and all parameters of the kernel (see docs/what-a-report-tells.md)",
    )  # fmt: skip


def add_threshold_options(parser: argparse.ArgumentParser) -> None:
    """The smallest change between builds that counts."""
    for name, unit, default, text in (
        ("--relative", "PERCENT", 3.0, "3 %%"),
        ("--absolute", "MS", 0.05, "0.05 ms"),
    ):
        parser.add_argument(
            name, type=float, default=default, metavar=unit,
            help=f"ignore a smaller change between builds (default: {text})",
        )  # fmt: skip
