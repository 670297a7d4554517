"""`pausebench doctor`: what this host can measure, and the fix for what it cannot."""

from __future__ import annotations

import argparse

from .options import add_json_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--build", action="append", metavar="LABEL=PATH", help="QEMU to look into instead of the "
        "system's: a binary, a build directory or an unpacked tree; repeat for several"
    )  # fmt: skip
    add_json_option(parser)
