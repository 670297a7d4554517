"""`pausebench why`: what one blackout waited for, beside the median run of its session."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_store_option

_EPILOG = """\
Every ns of the blackout belongs to one thread on the critical path across both QEMUs, found by
walking back from the first guest entry through who woke whom: it ran, it waited for a CPU (who ran
meanwhile is named), it was blocked (in which call, and who ended that) or stopped by a signal.
Numbers in brackets are the difference to the session's median run.

examples:
  pausebench why worst                 why was the longest run of the last session so long?
  pausebench why last --path           every piece of its critical path
  pausebench run anon --budget 10ms    says why for each run that took longer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="worst",
        help="id of a run, a unique beginning of it, 'last' or 'worst' (default: worst)",
    )
    parser.add_argument("--path", action="store_true", help="also every piece of the path")
    add_json_option(parser)
    add_store_option(parser)
