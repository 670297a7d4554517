"""`pausebench compare`: measure two builds in turns and judge B against A."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import (
    add_budget_option,
    add_mode_option,
    add_scenario_options,
    add_session_options,
    add_threshold_options,
)

DEFAULT_SCENARIOS = ("anon", "hugetlb-2m")


_EPILOG = """\
exit status:
  0 same or improved; 3 a guest was damaged on either side, which outweighs all else;
  1 regressed, or B lost guests or failed more often; 2 usage; 3 nothing valid; 4 host unfit;
  5 undecided with --strict; 130 interrupted;
  with --bisect 0 good, 1 bad (also a guest damaged by B alone), 125 skip

examples:
  pausebench compare system next=/src/qemu/build
  pausebench compare system trixie-backports anon --boots 12 --upgrade
  pausebench compare system next=/src/qemu/build anon --mode cpr-transfer --mode precopy
  pausebench compare --aa system            how far is a build from itself here?
  pausebench compare --stored 20261123-221500-3f2a last"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure two builds in turns (blocks of A B B A, one guest boot the unit) and report for "
        "each scenario whether B regressed, improved or stayed the same, by how much, and which "
        "phase moved; or that it is undecided, and what would decide it. Use it before and after "
        "a change to QEMU, or with --bisect in `git bisect run`."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "a", metavar="A", help="a build: system, LABEL=PATH, or a label of `build list`"
    )
    parser.add_argument("b", metavar="B", nargs="?", help="the other build (not with --aa)")
    parser.add_argument(
        "scenario", nargs="*", help=f"scenarios (default: {' '.join(DEFAULT_SCENARIOS)})"
    )
    parser.add_argument(
        "--aa", action="store_true", help="compare A with itself, to measure the noise floor"
    )
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="N",
        help="with --aa: compare N times in one session, to count false verdicts "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--stored",
        action="store_true",
        help="measure nothing: A and B are stored sessions (SESSION or SESSION:LABEL)",
    )
    parser.add_argument(
        "--force", action="store_true", help="compare stored sessions that differ in what matters"
    )
    parser.add_argument(
        "--boots", type=positive, metavar="N",
        help="boots of each side, at least (default: 24; 8 with --aa)",
    )  # fmt: skip
    parser.add_argument(
        "--updates", type=positive, default=4, metavar="N",
        help="updates in a row per boot (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=float, metavar="PERCENT",
        help="go on until every interval is about ± PERCENT of the median wide",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=positive, default=80, metavar="N",
        help="with --precision: boots of each side, at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--upgrade", action="store_true", help="also measure updates from A to B")
    parser.add_argument("--backward", action="store_true", help="also measure updates from B to A")
    add_threshold_options(parser)
    add_budget_option(parser, "Report how many runs of each side do.")
    parser.add_argument("--strict", action="store_true", help="exit with 5 if undecided")
    parser.add_argument("--bisect", action="store_true", help="exit as `git bisect run` expects")
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
