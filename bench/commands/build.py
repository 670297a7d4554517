"""`pausebench build`: QEMU builds to measure, from a Debian suite, a tree or a path."""

from __future__ import annotations

import argparse

from .options import add_json_option

_EPILOG = """\
Builds of suites are unpacked into $PAUSEBENCH_CACHE, else /var/cache/pausebench/builds, and run
from there by their own dynamic loader; the host's packages stay as they are. Mirror, proxy and
keyring are those of the host's apt.

examples:
  pausebench build add debian:trixie-backports
  pausebench build add debian:sid --label tonight
  pausebench build add debian:trixie=10.0.13
  pausebench build add /src/qemu/build --label mine
  pausebench compare system trixie-backports"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="unpack a suite's QEMU, or give a path a label")
    add.add_argument(
        "spec",
        metavar="SPEC",
        help="debian:SUITE, debian:SUITE=VERSION, or the path of a QEMU binary, build directory "
        "or unpacked tree (a path stays where it is)",
    )
    add.add_argument(
        "--label",
        metavar="L",
        help="what to call it (default: the suite's name, or qemu-VERSION)",
    )
    listing = actions.add_parser("list", help="the builds that can be named by label")
    show = actions.add_parser("show", help="one build: where, what, and what can be probed in it")
    show.add_argument("label", metavar="LABEL", help="one of `build list`")
    for action in (listing, show):
        add_json_option(action)
    remove = actions.add_parser("remove", help="forget a build; an unpacked one is deleted")
    remove.add_argument("label", metavar="LABEL", help="one of `build list`")
