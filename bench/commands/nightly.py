"""`pausebench nightly`: run a nightly job that a TOML file describes."""

from __future__ import annotations

import argparse

from bench.arguments import path

_EPILOG = """\
exit status (of the worst cell, as in `compare`):
  0 same or improved; 3 a guest was damaged or a proof is broken, which outweighs all else;
  1 regressed, more lost guests or failures, or the candidate over its budget; 2 usage;
  3 nothing valid; 4 host unfit or noisy; 5 undecided (with judge.strict)

examples:
  pausebench nightly bench/examples/nightly.toml --check
  pausebench nightly bench/examples/nightly.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the job that a TOML file describes: fetch the builds, wait for a quiet host, compare "
        "the candidate with the baseline and with earlier nights, and write reports and a mail. "
        "Start it from cron, a systemd timer or CI: bench/examples/ has a configuration and one of "
        "each. A job that was killed resumes where it stopped: a finished block is not measured "
        "again."
    )
    parser.epilog = _EPILOG
    parser.add_argument("config", metavar="CONFIG.toml", type=path, help="configuration of the job")
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the configuration and print what would be measured, without measuring",
    )
