"""`pausebench matrix`: every old build to every new one, with the blackout or why it did not go."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_scenario_options, add_session_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Hands a guest from every build to every build, backward ones too. Each attempt is "
        "bounded: one that waits for ever is cut and named."
    )
    parser.add_argument(
        "build", nargs="+", metavar="BUILD", help="system, LABEL=PATH, or one of `build list`"
    )
    parser.add_argument("--scenario", default="anon", help="default anon")
    parser.add_argument("--boots", type=positive, default=3, help="guests per pair (default 3)")
    add_scenario_options(parser)
    add_session_options(parser)
