"""Options that several commands share: what to measure, on which builds, kept where."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.arguments import parse_budget, positive
from results.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.records.scenario import Build, Scenario
    from results.summary.report_data import Asked


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
    group.add_argument(
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


def add_session_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path("out"), help="store (default out/)")
    parser.add_argument("--seed", type=int, help="seed of the order of boots (default: random)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def chosen_scenarios(args: argparse.Namespace, names: Sequence[str]) -> list[Scenario]:
    """The named scenarios with the changes asked for, fit for this host.

    Raises UsageError or HostUnfit before anything is started.
    """
    from bench.arguments import parse_size
    from bench.measurement.scenarios import BUILTIN, changed, find_scenario, load_scenarios, resolve

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
    # Named twice is meant once.
    chosen = [changed(find_scenario(n, known), changes) for n in dict.fromkeys(names)]
    chosen = in_modes(chosen, args.mode or ()) if hasattr(args, "mode") else only_transfers(chosen)
    return [resolve(scenario) for scenario in _with_devices(chosen, args.device or ())]


def only_transfers(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """For commands that are about cpr-transfer alone. Raises UsageError for another mode."""
    from results.errors import UsageError

    for scenario in scenarios:
        if scenario.mode != "cpr-transfer":
            raise UsageError(
                f"scenario {scenario.id}: this command measures cpr-transfer, not {scenario.mode}; "
                "`run` and `compare` take any mode"
            )
    return list(scenarios)


def in_modes(scenarios: Sequence[Scenario], names: Sequence[str]) -> list[Scenario]:
    """Every scenario in every named mode; with none named as it is. Raises UsageError.

    A mode other than cpr-transfer is in the scenario's name: anon@precopy.
    """
    import difflib
    from dataclasses import replace

    from results.errors import UsageError
    from results.qemu.modes import MODES, named

    found = []
    for name in dict.fromkeys(names):
        mode = next((mode for mode in MODES if mode == name), None)
        if mode is None:
            near = difflib.get_close_matches(name, MODES, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(MODES)}"
            raise UsageError(f"unknown mode `{name}` (--mode); {hint}")
        found += [named(replace(scenario, mode=mode)) for scenario in scenarios]
    return found or list(scenarios)


def _with_devices(scenarios: Sequence[Scenario], addresses: Sequence[str]) -> list[Scenario]:
    """Give the devices to the scenarios that assign any. Raises UsageError when none does."""
    from dataclasses import replace

    from results.errors import UsageError
    from runners.host.vfio_pci import chosen_addresses

    if not addresses:
        return list(scenarios)
    devices = ",".join(dict.fromkeys(a for text in addresses for a in chosen_addresses(text)))
    if not any(scenario.vfio for scenario in scenarios):
        raise UsageError(
            "--device is for scenarios that assign devices (vfio-type1, vfio-iommufd, …): "
            f"{', '.join(s.id for s in scenarios)} does not"
        )
    return [replace(s, devices=devices) if s.vfio else s for s in scenarios]


def need_root() -> None:
    """Raises HostUnfit for a user who could not measure anything."""
    import os

    from results.errors import HostUnfit

    if os.geteuid() != 0:
        raise HostUnfit("BPF probes and guest RAM need root: run it with sudo")


def seed_of(args: argparse.Namespace) -> int:
    import secrets

    return secrets.randbits(32) if args.seed is None else int(args.seed)


def labelled(builds: Sequence[Build]) -> list[Build]:
    """Refuse two builds under one label: their runs could not be told apart."""
    from results.errors import UsageError

    labels = [build.label for build in builds]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two builds are called `{label}`: give them labels, LABEL=PATH")
    return list(builds)


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget", metavar="[SCENARIO=]MS[:PERCENT]", action="append", default=[],
        help="at least PERCENT (default 95) of the blackouts are to stay under MS; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--relative", type=float, default=3.0, metavar="PERCENT",
        help="between builds: a smaller change does not count (default 3)",
    )  # fmt: skip
    parser.add_argument(
        "--absolute", type=float, default=0.05, metavar="MS",
        help="between builds: a smaller change does not count (default 0.05 ms)",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="undecided counts as a failure")


def asked_of(args: argparse.Namespace) -> Asked:
    """Budgets and thresholds of the command line. Raises UsageError for what is none."""
    from results.comparison.verdict import Thresholds
    from results.summary.report_data import Asked

    for name in ("relative", "absolute"):
        if not 0 <= getattr(args, name) < 1e6:
            raise UsageError(f"--{name} {getattr(args, name):g}: must be a number from 0")
    thresholds = Thresholds(args.relative / 100.0, round(args.absolute * 1e6))
    return Asked(dict(map(parse_budget, args.budget)), thresholds, args.strict)
