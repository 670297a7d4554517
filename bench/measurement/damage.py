"""Damage to guests, reported by commands whose own result says nothing of single runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from reports.terminal.session import failures
from reports.terminal.style import look_for, write
from results.records.harm import harm_of
from results.records.run import Run


def show_damage(args: argparse.Namespace, failed: Iterable[Run]) -> None:
    """Print the runs that damaged their guests, by reason; with `--json` the exit status tells."""
    damaged = [run for run in failed if harm_of(run) == "damage"]
    if damaged and not args.json:
        look = look_for(sys.stdout, os.environ)
        write(failures(damaged, look, args.store), sys.stdout, look)
