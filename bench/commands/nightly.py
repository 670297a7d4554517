"""`pausebench nightly`: the job of a night, from a configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.nightly.config import NightlyConfig
    from results.records.scenario import Scenario

_EPILOG = """\
exit status: as in compare, of the worst cell: 0 same or improved, 1 regressed, more failures or
over budget, 3 nothing valid or a broken proof, 4 host unfit or noisy, 5 undecided (judge.strict)

A job that was killed goes on where it stopped when it is started again: a finished block is not
measured twice. An example with a systemd timer and a CI job is in bench/examples/."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="what to do")
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what is planned, stop"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, report, and print where the reports are. Returns the exit code of the verdict."""
    from bench.nightly.config import load_config
    from bench.nightly.job import Place, run_night
    from results.store.store import open_store
    from runners.host.idle import host_lock

    from .options import need_root

    config = load_config(args.config)
    place = Place.of(config, args.config)
    scenarios = _scenarios(config, args.config.resolve().parent)
    if args.check:
        print(f"{args.config}: {config.name} measures {', '.join(s.id for s in scenarios)}")
        print(f"  baseline {config.builds.baseline}, candidate {config.builds.candidate}")
        print(f"  {config.boots} boots of each, {config.measure.updates} updates a boot")
        print(f"  store {place.store}, reports {place.reports}")
        return 0
    need_root()
    _need_fit_host()
    with host_lock(), open_store(place.store) as store:
        done = run_night(config, place, store, scenarios, _tell)
    print(f"{done.top.word}: {done.top.sentence}")
    print(f"reports: {done.directory}")
    return done.top.exit_code


def _scenarios(config: NightlyConfig, base: Path) -> list[Scenario]:
    """Those to be measured and those of the self-check. Raises UsageError, HostUnfit."""
    from bench.measurement.scenarios import BUILTIN, find_scenario, load_scenarios, resolve

    further = config.measure.scenario_file
    known = BUILTIN + (load_scenarios(base / further) if further else ())
    names = dict.fromkeys([*config.measure.scenarios, *config.self_check.scenarios])
    return [resolve(find_scenario(name, known)) for name in names]


def _tell(text: str) -> None:
    print(f"nightly: {text}", file=sys.stderr)


def _need_fit_host() -> None:
    """Raises HostUnfit with the first thing that is missing."""
    from probes.support import probe_support
    from results.errors import HostUnfit
    from runners.doctor.requirements import check_host, measurable

    needs = check_host(probe_support())
    if not measurable(needs):
        missing = next(need for need in needs if need.state == "missing")
        fix = f": {missing.fix}" if missing.fix else ""
        raise HostUnfit(f"{missing.name}: {missing.found}{fix} (`pausebench doctor` says more)")
