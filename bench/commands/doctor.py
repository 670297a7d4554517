"""`pausebench doctor`: check what this host can measure, and how to fix what it cannot."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_share_option

_EPILOG = """\
exit status: 0 this host can measure, 2 usage, 4 it cannot

examples:
  pausebench doctor
  pausebench doctor --build next=/src/qemu/build"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check what this host can measure: KVM, BPF and its headers, huge pages, VFIO, the QEMU "
        "builds, CPU frequency and load. Each line has what was found, what is lost without it and "
        "the command that fixes it. Run it first on a new host."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "--build",
        action="append",
        metavar="LABEL=PATH",
        help="QEMU to check instead of the system's: a binary, a build directory or an unpacked "
        "tree; repeat for several",
    )
    parser.add_argument(
        "--tidy",
        action="store_true",
        help="remove what killed sessions left: huge pages, processes, mounts, directories; the "
        "next session on this host does so too",
    )
    add_share_option(parser, "try what the host can do")
    add_json_option(parser)
