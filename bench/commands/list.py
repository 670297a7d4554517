"""`pausebench list`: the scenarios that can be run."""

from __future__ import annotations

import argparse

from .options import add_json_option, add_scenario_file_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scenario_file_option(parser)
    add_json_option(parser)
