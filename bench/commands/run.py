"""`pausebench run`: measure scenarios and show one table."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import (
    add_budget_option,
    add_mode_option,
    add_scenario_options,
    add_session_options,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", nargs="+", help="what to measure (`pausebench list`)")
    parser.add_argument(
        "--boots",
        type=positive,
        default=3,
        help="guests booted per scenario (default 3; 6 give a distribution-free 95 %% interval)",
    )
    parser.add_argument(
        "--updates", type=positive, default=5, help="transfers in a row per guest (default 5)"
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="LABEL=PATH",
        help="QEMU to measure: a binary, a build directory or an unpacked tree; repeat for "
        "several, which take turns (default: the system's)",
    )
    parser.add_argument(
        "--observer",
        action="store_true",
        help="watch the guest's beats from the host too, by a small program that shares nothing "
        "with the probes; it takes a CPU of its own, and lengthens the blackout where there is "
        "none to spare",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="only keep the runs: no table at the end"
    )
    parser.add_argument(
        "--perf",
        action="store_true",
        help="count perf events of both QEMUs too (cycles, instructions and misses where there is "
        "a PMU); lengthens the blackout, see `pausebench overhead`",
    )
    add_budget_option(parser, "Says of each longer run why it was so.")
    parser.add_argument(
        "--why",
        action=argparse.BooleanOptionalAction,
        help="watch the scheduler, so that `pausebench why` can tell what each blackout waited for "
        "(default: with --budget)",
    )
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
