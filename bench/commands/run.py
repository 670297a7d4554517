"""`pausebench run`: measure guest blackout over repeated updates."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import (
    add_budget_option,
    add_mode_option,
    add_scenario_options,
    add_session_options,
)

_EPILOG = """\
exit status:
  0 every run is valid, 2 usage, 3 a run failed or a guest was damaged, 4 host unfit,
  130 interrupted

examples:
  pausebench run anon hugetlb-2m
  pausebench run anon --ram 1G --vcpus 4 --boots 12 --updates 10
  pausebench run anon --build next=/src/qemu/build
  pausebench run anon --mode cpr-transfer --mode precopy
  pausebench run anon --budget 10ms:99          and explain each blackout that is longer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Boot guests, update each several times in a row, and report the median blackout per "
        "scenario with its interval, phases, witnesses and proofs. Every run is stored: see "
        "`show`, `why` and `report`. To compare two builds use `compare`, which measures them in "
        "turns and gives a verdict."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "scenario", nargs="+", help="scenarios to measure, names of `pausebench list`"
    )
    parser.add_argument(
        "--boots",
        type=positive,
        default=6,
        metavar="N",
        help="guests booted per scenario; 4 give a 95 %% interval, 6 one that assumes no "
        "distribution (default: %(default)s)",
    )
    parser.add_argument(
        "--updates",
        type=positive,
        default=5,
        metavar="N",
        help="updates in a row per guest (default: %(default)s)",
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="LABEL=PATH",
        help="QEMU to measure: a binary, a build directory or an unpacked tree; repeat to measure "
        "several in turns (default: the system's)",
    )
    parser.add_argument(
        "--observer",
        action="store_true",
        help="also watch the guest's beats from the host, by a small program that shares nothing "
        "with the probes; it takes a CPU of its own, and lengthens the blackout if none is spare",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="store the runs without printing a table"
    )
    parser.add_argument(
        "--perf",
        action="store_true",
        help="also count perf events of both QEMUs (cycles, instructions and misses where there "
        "is a PMU); lengthens the blackout, see `overhead`",
    )
    add_budget_option(parser, "Explain each run that is longer.")
    parser.add_argument(
        "--why",
        action=argparse.BooleanOptionalAction,
        help="trace the scheduler, so that `why` can explain each blackout (default: with "
        "--budget)",
    )
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
