"""`pausebench faults`: break QEMU in every phase of an update and see what becomes of the guest."""

from __future__ import annotations

import argparse

from .options import add_session_options

_EPILOG = """\
exit status:
  0 every guest is where it may be, 2 usage, 3 a guest is lost or elsewhere, 4 host unfit,
  130 interrupted

examples:
  pausebench faults                                     all faults, some 4 minutes
  pausebench faults --quick                             one fault per phase
  pausebench faults --build trixie-backports            another QEMU
  pausebench faults --build system --build trixie-backports   backward too"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Update a guest of its own for every fault: old or new QEMU is killed or stopped for ever "
        "in each phase, a monitor answers nonsense or never, a socket's path is too long, new "
        "QEMU lacks a device or is an older build. Report what came of each: the outcome and its "
        "reason, in which QEMU the guest is alive, how long it stood still, and the exit status "
        "of `run`.\n\n"
        "The phases that begin inside QEMU are found by the kernel: it stops the QEMU that "
        "reaches a function, and the fault is made there."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "--quick", action="store_true", help="one fault per phase: new QEMU is killed"
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="BUILD",
        help="QEMU to break: system, LABEL=PATH, or a label of `build list`; with a second one, "
        "the update from the newer to the older is among the faults (default: system)",
    )
    parser.add_argument(
        "--accel", choices=("kvm", "tcg"), help="accelerator (default: kvm if usable, else tcg)"
    )
    add_session_options(parser)
