"""`pausebench overhead`: how much longer guests stand still because they are watched."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Hands guests over with nothing loaded, with guest entry and exit alone, with all that "
        "`run` loads, and with perf events too, in turns, probes loaded and unloaded each time. "
        "The guest's own beats are the judge: they need no probe. Kept beside the calibration of "
        "this host, kernel and build; every report quotes it."
    )
    parser.add_argument(
        "scenario", nargs="*", default=["anon"], help="what to hand over (default anon)"
    )
    parser.add_argument(
        "--boots", type=positive, default=12, help="guests per scenario and tier (default 12)"
    )
    parser.add_argument("--updates", type=positive, default=10, help="per guest (default 10)")
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
