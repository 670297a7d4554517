"""`pausebench list`: list the scenarios."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from bench.measurement.scenarios import known_scenarios
from reports.terminal.style import say
from results.records.scenario import MIB


def run(args: argparse.Namespace) -> int:
    known = known_scenarios(args.scenarios)
    if args.json:
        print(json.dumps({"scenarios": [asdict(scenario) for scenario in known]}, indent=2))
        return 0
    width = max(len(scenario.id) for scenario in known)
    for scenario in known:
        vcpus = f"{scenario.vcpus} vCPU{'s' if scenario.vcpus > 1 else ''}"
        size = f"{scenario.ram_bytes // MIB} MiB, {vcpus}"
        say(f"{scenario.id:<{width}}  {size:<18}  {scenario.about}")
    say(
        "\nRAM and vCPUs are defaults (change them with --ram and --vcpus). To define more "
        "scenarios in a TOML file see `pausebench list --help`."
    )
    return 0
