"""`pausebench history`: a scenario over the nights, with the changes of its level."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_json_option, add_store_option

_EPILOG = """\
A change is a level that moved and stayed for three nights; a single outlier is none. Between the
nights that it parts it says which build, build id or kernel changed there.

examples:
  pausebench history anon
  pausebench history anon --since 2026-10-01 -o anon.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("scenario", metavar="SCENARIO", help="a scenario with stored runs")
    parser.add_argument(
        "--since", metavar="DATE", help="YYYY-MM-DD (UTC), or a number of days like 30d"
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path, help="also write a page, .html"
    )
    add_json_option(parser)
    add_store_option(parser)
