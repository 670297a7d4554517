"""`pausebench show`: show one update as a waterfall, with its evidence."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_redact_option, add_store_option

_EPILOG = """\
examples:
  pausebench show                 the last run
  pausebench show worst           the longest blackout of the last session
  pausebench show 20261123-221500-3f2a.anon.b01.u03 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show one stored update: when each phase began and ended in both QEMUs, its share of the "
        "blackout, what every witness saw, and the evidence that RAM, descriptors and pins were "
        "kept."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="last",
        help="id of a run or a unique prefix of it, or `last` or `worst` of the last session that "
        "measured updates (default: %(default)s)",
    )
    add_redact_option(parser)
    add_json_option(parser)
    add_store_option(parser)
