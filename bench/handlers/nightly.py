"""`pausebench nightly`: run a nightly job that a TOML file describes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.inputs.chosen import require_host
from bench.measurement.scenarios import find_scenario, known_scenarios, resolve
from bench.nightly.config import NightlyConfig, load_config
from bench.nightly.job import JobPaths, run_night
from probes.support import probe_support
from reports.terminal.style import say
from results.errors import HostUnfit
from results.history.anchors import ANCHOR_BOOTS
from results.records.scenario import Scenario
from results.store.store import open_store
from runners.doctor.requirements import check_host, measurable
from runners.host.lock import host_lock


def run(args: argparse.Namespace) -> int:
    """Measure, report, and print where the reports are. Returns the verdict's exit status."""
    config = load_config(args.config)
    place = JobPaths.of(config, args.config)
    scenarios = _scenarios(config, args.config.resolve().parent)
    if args.check:
        say(f"{args.config}: {config.name} measures {', '.join(s.id for s in scenarios)}")
        say(f"  baseline {config.builds.baseline}, candidate {config.builds.candidate}")
        say(f"  {config.boots} boots of each, {config.measure.updates} updates a boot")
        say(f"  anchor: {config.anchor or f'the first night with {ANCHOR_BOOTS} boots'}")
        say(f"  store {place.store}, reports {place.reports}")
        return 0
    require_host()
    with host_lock(_log, timeout_s=config.wait_seconds), open_store(place.store) as store:
        _require_fit_host()
        done = run_night(config, place, store, scenarios, _log)
    say(f"{done.top.word}: {done.top.sentence}")
    say(f"reports: {done.directory}")
    return done.top.exit_code


def _scenarios(config: NightlyConfig, base: Path) -> list[Scenario]:
    """The scenarios to measure and those of the self-check. Raises UsageError, HostUnfit."""
    file = config.measure.scenario_file
    known = known_scenarios(base / file if file else None)
    names = dict.fromkeys([*config.measure.scenarios, *config.self_check.scenarios])
    return [resolve(find_scenario(name, known), falls_back=False) for name in names]


def _log(text: str) -> None:
    say(f"nightly: {text}", sys.stderr)


def _require_fit_host() -> None:
    """Raises HostUnfit with the first missing requirement."""
    needs = check_host(probe_support())
    if not measurable(needs):
        missing = next(need for need in needs if need.state == "missing")
        fix = f": {missing.fix}" if missing.fix else ""
        raise HostUnfit(f"{missing.name}: {missing.found}{fix} (see `pausebench doctor`)")
