"""`pausebench calibrate`: inject pauses of known length and report how much is recovered."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options

_MOST_MS = 2000.0  # far below the timeout of any step of an update
_EPILOG = """\
exit status:
  0 passed, 1 failed, 2 usage, 3 too little was measured to judge (nothing is stored) or a guest
  was damaged, 4 host unfit, 130 interrupted

examples:
  pausebench calibrate                          2 to 6 minutes
  pausebench calibrate anon --accel kvm         KVM alone
  pausebench calibrate anon --level 1 --level 5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Inject pauses of known length into the blackouts of real updates, in turns with updates "
        "that have none, and report how much of each is recovered. Run it once per host, kernel "
        "and build: the certificate is stored, and every report quotes it.\n\n"
        "It fails if the median error at any length exceeds 50 us + 1 %, if the blackout or the "
        "guest's own gap grows by less or by clearly more than the pause, if more than 5 % of the "
        "updates are lost, or if one of these checks cannot be made. A constant offset of all "
        "blackouts cancels out and cannot be seen: the result reports by how much other witnesses "
        "bound it."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "scenario",
        nargs="*",
        default=["anon", "hugetlb-2m"],
        help="scenarios to calibrate on, each on KVM and on TCG (default: anon hugetlb-2m)",
    )
    parser.add_argument(
        "--boots",
        type=positive,
        default=2,
        metavar="N",
        help="guests per scenario and accelerator (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=5,
        metavar="N",
        help="times each length is injected per guest (default: %(default)s)",
    )
    parser.add_argument(
        "--level",
        type=_level,
        action="append",
        metavar="MS",
        help="length of a pause in ms; repeat for several (default: 0.5, 1, 5, 20 and 100)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=("new", "old", "main"),
        help="how to make the pause: stop new or old QEMU by a signal, or hold the main channel "
        "back; repeat for several (default: all)",
    )
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)


def _level(text: str) -> int:
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0.1 <= length <= _MOST_MS:
        raise argparse.ArgumentTypeError(
            f"invalid pause `{text}`: expected 0.1 to {_MOST_MS:g} (ms)"
        )
    return round(length * 1e6)
