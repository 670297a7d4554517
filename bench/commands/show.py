"""`pausebench show`: one handover as a waterfall, or as JSON."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_store_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="last",
        help="id of a run, a unique beginning of it, 'last' or 'worst' (default: last)",
    )
    add_json_option(parser)
    add_store_option(parser)
