"""`pausebench sweep`: how the blackout grows with the guest, beside a precopy that copies RAM."""

from __future__ import annotations

import argparse

from bench.arguments import positive

from .options import add_build_option, add_scenario_options, add_session_options

_EPILOG = """\
dimensions:
  ram       RAM of the guest, all of it touched (default 256M 512M 1G)
  vcpus     vCPUs (default 1 2 4)
  devices   virtio devices that nobody uses, to carry more state (default 0 8 16)

examples:
  pausebench sweep ram                        does RAM stay in place? slope by GiB
  pausebench sweep ram anon hugetlb-2m        small pages against huge ones
  pausebench sweep vcpus --values 1 2 4 8 --boots 6"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.description = (
        "Hands guests of growing size over and shows how much longer each phase takes by unit, "
        "with its 95 % interval. Each boot ends with a precopy migration of the same guest on the "
        "same host, which has to copy its RAM."
    )
    parser.add_argument("dimension", choices=("ram", "vcpus", "devices"), help="what grows")
    parser.add_argument(
        "scenario", nargs="*", default=["anon"], help="what to hand over (default anon)"
    )
    parser.add_argument("--values", nargs="+", metavar="VALUE", help="three or more, ascending")
    parser.add_argument("--boots", type=positive, default=4, help="guests per value (default 4)")
    parser.add_argument("--updates", type=positive, default=5, help="per guest (default 5)")
    parser.add_argument(
        "--no-precopy", dest="precopy", action="store_false", help="cpr-transfer alone"
    )
    add_build_option(parser)
    add_scenario_options(parser)
    add_session_options(parser)
