"""`pausebench history`: show a scenario over time and where its level changed."""

from __future__ import annotations

import argparse

from bench.arguments import path

from .options import add_json_option, add_store_option

_EPILOG = """\
examples:
  pausebench history anon
  pausebench history anon --since 2026-10-01 -o anon.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show the median blackout of a scenario over all stored sessions, and where its level "
        "changed, by a step or a drift; single outliers do not count. A change is provisional "
        "until three nights in a row have found it; what was announced stays in the store, and is "
        "shown as withdrawn if later nights no longer find it. For each change it lists what is "
        "recorded of the sessions around it and differs, such as the files of the build, the "
        "kernel or the microcode. Sessions with other probes are a line of their own; self-checks "
        "and calibrations are left out."
    )
    parser.epilog = _EPILOG
    parser.add_argument("scenario", metavar="SCENARIO", help="a scenario with stored runs")
    parser.add_argument(
        "--since",
        metavar="DATE",
        help="first day to show: YYYY-MM-DD (UTC), or a number of days like 30d (default: all)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE.html", type=path, help="also write an HTML page"
    )
    add_json_option(parser)
    add_store_option(parser)
