"""`pausebench overhead`: measure how much the probes themselves lengthen the blackout."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options

_EPILOG = """\
exit status:
  0 measured, 2 usage, 3 too few boots gave a value (nothing is stored) or a guest was damaged,
  4 host unfit, 130 interrupted

examples:
  pausebench overhead
  pausebench overhead anon hugetlb-2m --boots 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure how much the probes lengthen what they measure. Guests are updated with no probe "
        "at all, with guest entry and exit alone, with everything that `run` loads, and with the "
        "scheduler and perf events as well (`run --why --perf`), in turns; probes are loaded and "
        "unloaded each time. The guest's own gap is compared, as it needs no probe. The result is "
        "stored with the calibration of this host, kernel and build, and every report quotes it."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "scenario", nargs="*", default=["anon"], help="scenarios to measure (default: anon)"
    )
    parser.add_argument(
        "--boots", type=positive, default=12, metavar="N",
        help="guests per scenario and set of probes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--updates", type=positive, default=10, metavar="N",
        help="updates in a row per guest (default: %(default)s)",
    )  # fmt: skip
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
