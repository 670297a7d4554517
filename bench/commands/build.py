"""`pausebench build`: manage the QEMU builds to measure."""

from __future__ import annotations

import argparse

from .options import add_json_option

_EPILOG = """\
examples:
  pausebench build add debian:trixie-backports
  pausebench build add debian:sid --label tonight
  pausebench build add debian:trixie=10.0.13
  pausebench build add /src/qemu/build --label mine
  pausebench compare system trixie-backports"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Manage the QEMU builds that other commands take by their label. The build of a Debian "
        "suite is unpacked into a cache ($PAUSEBENCH_CACHE, else /var/cache/pausebench/builds) and "
        "run from there with its own dynamic loader and libraries; no package of the host changes. "
        "Mirror, proxy and keyring are those of the host's apt."
    )
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="unpack a suite's QEMU, or give a path a label")
    add.add_argument(
        "spec",
        metavar="SPEC",
        help="debian:SUITE, debian:SUITE=VERSION, or the path of a QEMU binary, build directory "
        "or unpacked tree (which stays where it is)",
    )
    add.add_argument(
        "--label", metavar="LABEL", help="name of the build (default: the suite, or qemu-VERSION)"
    )
    listing = actions.add_parser("list", help="list the builds that have a label")
    show = actions.add_parser(
        "show", help="show one build: location, version and which marks can be probed"
    )
    show.add_argument("label", metavar="LABEL", help="`system`, or a label of `build list`")
    for action in (listing, show):
        add_json_option(action)
    remove = actions.add_parser("remove", help="forget a build and delete it if it was unpacked")
    remove.add_argument("label", metavar="LABEL", help="a label of `build list`")
