"""`pausebench replay`: judge stored evidence again and compare with the stored result."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_store_option

_EPILOG = """\
exit status: 0 every result is the same, 2 usage, 3 a result differs

examples:
  pausebench replay                     every run of the last session
  pausebench replay worst               the run with the longest blackout
  pausebench replay 20261123-221500     a session, by a unique prefix of its id"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Judge the stored evidence of one run or of a whole session again, and list every field "
        "that differs from the stored result. It shows that a result follows from its evidence, "
        "and needs no QEMU, root or BPF: use it on another machine, or with a newer pausebench."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "what",
        metavar="RUN|SESSION",
        nargs="?",
        help="a run as in `show`, or a session by a unique prefix of its id (default: the last "
        "session that measured updates)",
    )
    add_json_option(parser)
    add_store_option(parser)
