"""`pausebench nightly`: the job of a night, from a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
exit status: as in compare, of the worst cell: 0 same or improved, 1 regressed, more failures or
over budget, 3 nothing valid or a broken proof, 4 host unfit or noisy, 5 undecided (judge.strict)

A job that was killed goes on where it stopped when it is started again: a finished block is not
measured twice. An example with a systemd timer and a CI job is in bench/examples/."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("config", metavar="CONFIG.toml", type=Path, help="what to do")
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what is planned, stop"
    )
