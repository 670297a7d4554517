"""What shared options select: scenarios, builds, a seed, thresholds."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from typing import Any

from bench.arguments import parse_size
from bench.measurement.budgets import limit_of
from bench.measurement.scenarios import (
    changed,
    find_scenario,
    in_modes,
    known_scenarios,
    require_cpr_transfer,
    resolve,
    with_devices,
)
from results.comparison.verdict import Thresholds
from results.errors import HostUnfit, UsageError
from results.files import encoded
from results.ownership import HOST_PID_NAMESPACE, pid_namespace
from results.records.scenario import Build, Scenario
from results.summary.report_data import ReportOptions
from runners.builds.catalogue import resolve_build
from runners.builds.discover import default_build


def command_line() -> list[str]:
    """The command line as a session stores it."""
    return ["pausebench", *(encoded(word).decode() for word in sys.argv[1:])]


def chosen_scenarios(
    args: argparse.Namespace, names: Sequence[str], *, falls_back: bool = True
) -> list[Scenario]:
    """The named scenarios with the options of `args` applied, checked for this host.

    `falls_back`: without KVM they are measured under TCG, also where that was not requested.
    Raises UsageError or HostUnfit before anything is started.
    """
    known = known_scenarios(args.scenarios)
    changes: dict[str, Any] = {
        "ram_bytes": None if args.ram is None else parse_size(args.ram),
        "touched": args.touched,
        "vcpus": args.vcpus,
        "accel": args.accel,
        "machine": args.machine,
        "cpu": args.cpu,
        "mem_lock": args.mem_lock,
        "return_path": args.return_path,
    }
    # A scenario that is named twice is measured once.
    chosen = [changed(find_scenario(n, known), changes) for n in dict.fromkeys(names)]
    chosen = (
        in_modes(chosen, args.mode or ()) if hasattr(args, "mode") else require_cpr_transfer(chosen)
    )
    assigned = with_devices(chosen, args.device or ())
    return [resolve(scenario, falls_back=falls_back) for scenario in assigned]


def chosen_build(args: argparse.Namespace) -> Build:
    """The build of `--build`, or the system's. Raises UsageError, BuildUnfit, HostUnfit."""
    return resolve_build(args.build) if args.build else default_build()


def check_labels(builds: Sequence[Build]) -> list[Build]:
    """`builds`, whose labels must differ to tell their runs apart. Raises UsageError."""
    labels = [build.label for build in builds]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two builds have the label `{label}`: write LABEL=PATH")
    return list(builds)


def require_root() -> None:
    """Raises HostUnfit for a user who cannot load probes."""
    if os.geteuid() != 0:
        raise HostUnfit("BPF probes and guest RAM need root: run it with sudo")


def require_host() -> None:
    """Raises HostUnfit where nothing can be measured: without root, and in a PID namespace."""
    require_root()
    if pid_namespace() != HOST_PID_NAMESPACE:
        raise HostUnfit(
            "this is not the host's PID namespace: probes report the host's pids, which name no "
            "process here: run it outside, or in a container with `--pid=host`"
        )


def seed_of(args: argparse.Namespace) -> int:
    return secrets.randbits(32) if args.seed is None else int(args.seed)


def thresholds_of(args: argparse.Namespace) -> Thresholds:
    """The smallest change between builds that counts. Raises UsageError for an invalid one."""
    for name in ("relative", "absolute"):
        if not 0 <= getattr(args, name) < 1e6:
            raise UsageError(f"--{name} {getattr(args, name):g}: expected a number from 0")
    return Thresholds(args.relative / 100.0, round(args.absolute * 1e6))


def report_options(args: argparse.Namespace) -> ReportOptions:
    """Budgets and thresholds of a report. Raises UsageError."""
    limits = {budget.scenario: limit_of(budget) for budget in args.budget}
    return ReportOptions(limits, thresholds_of(args), args.strict, args.redact)
