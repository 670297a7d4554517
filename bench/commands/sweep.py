"""`pausebench sweep`: measure how the blackout grows with the guest."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options

_EPILOG = """\
dimensions:
  ram       guest RAM, all of it touched (default: 256M 512M 1G)
  vcpus     number of vCPUs (default: 1 2 4)
  devices   idle virtio devices, for more device state (default: 0 8 16)

exit status:
  0 every run is valid, 2 usage, 3 a run failed or a guest was damaged, 4 host unfit,
  130 interrupted

examples:
  pausebench sweep ram                        does RAM stay in place? slope per GiB
  pausebench sweep ram anon hugetlb-2m        small pages compared with huge ones
  pausebench sweep vcpus --values 1 2 4 8 --boots 6"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Update guests of growing size and report how much longer the blackout and each phase "
        "take per unit, with a 95 % interval. Each boot ends with a precopy migration of the same "
        "guest on the same host, which has to copy its RAM, for comparison."
    )
    parser.epilog = _EPILOG
    parser.add_argument("dimension", choices=("ram", "vcpus", "devices"), help="what grows")
    parser.add_argument(
        "scenario", nargs="*", default=["anon"], help="scenarios to measure (default: anon)"
    )
    parser.add_argument(
        "--values", nargs="+", metavar="VALUE", help="three different values or more"
    )
    parser.add_argument(
        "--boots", type=positive, default=4, metavar="N",
        help="guests per value (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--updates", type=positive, default=5, metavar="N",
        help="updates in a row per guest (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--no-precopy", dest="precopy", action="store_false", help="leave the precopy out"
    )
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
