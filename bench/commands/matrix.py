"""`pausebench matrix`: update from every build to every build."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_scenario_options, add_session_options

_EPILOG = """\
exit status:
  0 measured, refused updates included, 2 usage, 3 an update lost or damaged its guest,
  4 host unfit, 130 interrupted

examples:
  pausebench matrix system trixie-backports
  pausebench matrix system next=/src/qemu/build --scenario hugetlb-2m --boots 12"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Update a guest from every build to every build, downgrades included, and show the median "
        "blackout of each pair, or why it fails. A pair that failed once is not tried again, and "
        "an update that hangs is ended by a timeout."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "build",
        nargs="+",
        metavar="BUILD",
        help="two builds or more: system, LABEL=PATH, or a label of `build list`",
    )
    parser.add_argument(
        "--scenario", default="anon", metavar="NAME", help="scenario (default: %(default)s)"
    )
    parser.add_argument(
        "--boots", type=positive, default=6, metavar="N",
        help="guests per pair, each updated once (default: %(default)s)",
    )  # fmt: skip
    add_scenario_options(parser)
    add_session_options(parser)
