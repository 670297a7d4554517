"""`pausebench claims`: test the twelve claims made for cpr-transfer on this host."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_session_options

_EPILOG = """\
verdicts: shown, refuted, not testable here (with the reason). Each names the runs that it rests on:
`pausebench show RUN`. Attempts that are meant to be refused or to fail are stored as failed runs
and enter no statistic.

exit status:
  0 nothing refuted, 2 usage, 3 a claim is refuted or a guest was damaged by what should not damage
  it, 4 host unfit, 130 interrupted

examples:
  pausebench claims                           everything, in at most 15 minutes
  pausebench claims --claim 6 --claim 7 --build system
  pausebench claims --json > claims.json
  pausebench claims --device 0000:01:00.0 --device 0000:02:00.0
  pausebench claims --stored last             print the table again without measuring
  pausebench report                           the same as part of the HTML report"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.description = (
        "Test the claims that are made for cpr-transfer on real guests, and list for every claim "
        "and QEMU build how it was tested, the verdict and the runs it rests on.\n\n"
        "By default it takes the system's QEMU, every build of `pausebench build list` and every "
        "upgrade from an older to a newer one. Claims about assigned devices need --device, which "
        "binds PCI devices of this host to vfio-pci meanwhile, or a lab (`make lab`)."
    )
    parser.add_argument(
        "--list", action="store_true", help="list the claims and how each is tested, and exit"
    )
    parser.add_argument(
        "--claim",
        type=positive,
        action="append",
        default=[],
        metavar="N",
        help="test claim N only; repeat for several",
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="BUILD",
        help="system, LABEL=PATH, or a label of `build list`; repeat for several (default: all)",
    )
    parser.add_argument(
        "--no-upgrades",
        dest="upgrades",
        action="store_false",
        help="update each build to itself only, not older ones to newer ones",
    )
    parser.add_argument(
        "--no-lab", dest="lab", action="store_false", help="do not test assigned devices in the lab"
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="PCI device to assign, as for `run`, instead of using the lab; hot plug and unplug "
        "take two",
    )
    parser.add_argument(
        "--assigned-only",
        action="store_true",
        help="test only what takes the devices of --device",
    )
    parser.add_argument(
        "--boots", type=positive, default=3, metavar="N",
        help="guests per scenario and pair of builds (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--updates", type=positive, default=2, metavar="N",
        help="updates per guest (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=positive, default=860, metavar="SECONDS",
        help="start nothing new after this time (default: %(default)s s)",
    )  # fmt: skip
    parser.add_argument(
        "--stored",
        metavar="SESSION",
        help="print what a stored session found, `last` for the latest, without measuring",
    )
    add_session_options(parser)
