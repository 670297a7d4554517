"""`pausebench list`: list the scenarios."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_scenario_file_option

_EPILOG = """\
examples:
  pausebench list
  pausebench list --scenarios mine.toml

mine.toml:
  [scenario.big]
  like = "anon"      # a scenario that is built in
  ram = "1G"
  touched = 0.5      # share of RAM that the guest touches first
  vcpus = 4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the scenarios that `run`, `compare` and the other commands take: how guest RAM is "
        "backed, its size, and which devices are assigned. Define your own in a TOML file."
    )
    parser.epilog = _EPILOG
    add_scenario_file_option(parser)
    add_json_option(parser)
