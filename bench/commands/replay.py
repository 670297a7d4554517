"""`pausebench replay`: judge stored evidence again and compare with what was stored."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_store_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="RUN|SESSION",
        nargs="?",
        help="a run as in 'show', or a session by a unique beginning of its id "
        "(default: the last session)",
    )
    add_json_option(parser)
    add_store_option(parser)
