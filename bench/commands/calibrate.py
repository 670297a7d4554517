"""`pausebench calibrate`: pauses of known length, and what was measured of them."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options

_MOST_MS = 2000.0  # far below the bounds on each step of a handover


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Injects pauses of 0.5, 1, 5, 20 and 100 ms into the blackouts of real handovers, in turns "
        "with handovers that get none, and shows how much of each was recovered. The certificate "
        "is kept for this host, kernel and build; every report quotes it. It fails when the "
        "median error at any length is beyond 50 us + 1 %."
    )
    parser.epilog = (
        "exit status: 0 passed, 1 off by more than is allowed, 2 usage, 3 too few pauses came "
        "about, 4 host unfit"
    )
    parser.add_argument(
        "scenario",
        nargs="*",
        default=["anon", "hugetlb-2m"],
        help="what to calibrate on, each on KVM and TCG (default anon hugetlb-2m)",
    )
    parser.add_argument(
        "--boots", type=positive, default=2, help="guests per scenario and accelerator (default 2)"
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=4,
        help="times each length is tried per guest (default 4)",
    )
    parser.add_argument(
        "--level",
        type=_level,
        action="append",
        metavar="MS",
        help="length of a pause in ms; repeat for several (default: the five above)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=("new", "old", "main"),
        help="how: new or old QEMU stopped by a signal, or the main channel held back (default: "
        "all)",
    )
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)


def _level(text: str) -> int:
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0.1 <= length <= _MOST_MS:
        raise argparse.ArgumentTypeError(
            f"`{text}` is no length of a pause: 0.1 to {_MOST_MS:g} ms"
        )
    return round(length * 1e6)
