"""`pausebench why`: explain one blackout, compared with the median run of its session."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_store_option

_EPILOG = """\
examples:
  pausebench why                       the longest blackout of the last session
  pausebench why last --path           every segment of its critical path
  pausebench run anon --budget 10ms    explain each run that is longer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Explain why one blackout took as long as it did. Every ns of it belongs to one thread on "
        "the critical path across both QEMUs, found by walking back from the first guest entry "
        "through who woke whom: the thread ran, waited for a CPU (and who ran meanwhile), was "
        "blocked (in which call, and who ended that) or was stopped by a signal. Figures in "
        "parentheses compare with the median run of the session. The run must have been measured "
        "with `run --why` or `run --budget`."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="worst",
        help="id of a run or a unique prefix of it, or `last` or `worst` of the last session that "
        "measured updates (default: %(default)s)",
    )
    parser.add_argument(
        "--path", action="store_true", help="also print every segment of the critical path"
    )
    add_json_option(parser)
    add_store_option(parser)
