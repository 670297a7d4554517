"""`pausebench compare`: is build B worse than build A, by how much, how sure, which phase moved."""

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measures both builds in turns (blocks of A B B A, one boot the unit) and says per "
        "scenario whether B regressed, improved, stayed the same, or that this cannot be told yet."
    )
    parser.epilog = (
        "exit status: 0 same or improved, 1 regressed or more failures, 2 usage, 3 nothing valid, "
        "4 host unfit, 5 undecided with --strict; with --bisect 0 good, 1 bad, 125 skip.\n\n"
        "examples:\n"
        "  pausebench compare system next=/src/qemu/build\n"
        "  pausebench compare system debian:trixie-backports anon --boots 12 --upgrade\n"
        "  pausebench compare system next=/src/qemu/build anon --mode cpr-transfer --mode precopy\n"
        "  pausebench compare --aa system            how far is a build from itself here?\n"
        "  pausebench compare --stored 20261123-221500-3f2a last"
    )
    parser.add_argument(
        "a", metavar="A", help="a build: system, LABEL=PATH, or one of `build list`"
    )
    parser.add_argument("b", metavar="B", nargs="?", help="the other build (not with --aa)")
    parser.add_argument("scenario", nargs="*", help="default: anon hugetlb-2m")
    parser.add_argument("--aa", action="store_true", help="compare A with itself: the noise floor")
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="N",
        help="with --aa: N comparisons in one session, to see how often the verdict is wrong",
    )  # fmt: skip
    parser.add_argument(
        "--stored", action="store_true", help="A and B are sessions of the store (SESSION[:LABEL])"
    )
    parser.add_argument("--force", action="store_true", help="compare although the sessions differ")
    parser.add_argument(
        "--boots", type=positive, help="boots of each side at the least (default 24; 8 with --aa)"
    )
    parser.add_argument("--updates", type=positive, default=4, help="transfers a boot (default 4)")
    parser.add_argument(
        "--precision", type=float, metavar="PERCENT",
        help="go on until every interval is about ± PERCENT of the median wide",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=positive, default=80, help="boots of each side at the most (default 80)"
    )
    parser.add_argument("--upgrade", action="store_true", help="measure A → B as well")
    parser.add_argument("--backward", action="store_true", help="measure B → A as well")
    add_threshold_options(parser)
    add_budget_option(parser, "Says how many do.")
    parser.add_argument("--strict", action="store_true", help="exit 5 when undecided")
    parser.add_argument("--bisect", action="store_true", help="exit status for `git bisect run`")
    add_mode_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
