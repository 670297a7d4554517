"""`pausebench claims`: the twelve claims of cpr-transfer, each shown or refuted on this host."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_session_options

_EPILOG = """\
Builds: the system's and all of the catalogue (`pausebench build list`; `pausebench build add
debian:trixie-backports` brings a newer one), and every upgrade from an older to a newer of them.
Claims about assigned devices are tried on this host with --device, which names PCI devices that are
taken from it meanwhile, else in the lab when it has been made (`make lab`).

verdicts: shown, refuted, not testable here (and why). Each names the runs that it rests on:
`pausebench show RUN`. What was tried to be refused, or to go wrong, is stored as failed and is in
no statistic.

exit status: 0 nothing refuted, 2 usage, 3 a claim is refuted, 4 host unfit, 130 interrupted

examples:
  pausebench claims                           all of it, in at most 15 minutes
  pausebench claims --claim 6 --claim 7       some of it, on the system's build alone:
                     --build system
  pausebench claims --json > claims.json
  pausebench claims --device 0000:01:00.0 --device 0000:02:00.0
  pausebench claims --stored last             the table once more, without measuring
  pausebench report                           the same as a part of the HTML report"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.description = (
        "Puts the claims that are made for cpr-transfer to the test on real guests: every claim, "
        "how it was tested, the verdict and the runs it rests on, for every QEMU build."
    )
    parser.add_argument("--list", action="store_true", help="the claims, and how each is tested")
    parser.add_argument(
        "--claim", type=positive, action="append", default=[], metavar="N", help="only claim N"
    )
    parser.add_argument(
        "--build",
        action="append",
        metavar="BUILD",
        help="system, LABEL=PATH, or one of `build list`; repeat for several (default: all)",
    )
    parser.add_argument(
        "--no-upgrades",
        dest="upgrades",
        action="store_false",
        help="each build with itself, not from older to newer ones",
    )
    parser.add_argument(
        "--no-lab", dest="lab", action="store_false", help="leave assigned devices out"
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="PCI devices to assign (as for `run`), two of them to plug and unplug; no lab then",
    )
    parser.add_argument(
        "--assigned-only", action="store_true", help="only what is to be tried with --device"
    )
    parser.add_argument("--boots", type=positive, default=3, help="per cell (default 3)")
    parser.add_argument("--updates", type=positive, default=2, help="per boot (default 2)")
    parser.add_argument(
        "--limit", type=positive, default=860, metavar="S", help="seconds it may take (860)"
    )
    parser.add_argument(
        "--stored", metavar="SESSION", help="show what a session found; `last` for the latest"
    )
    add_session_options(parser)
