"""What `compare` takes: its defaults are those that the table of rates is of."""

from __future__ import annotations

import argparse

import pytest

from bench.commands.compare import add_arguments
from results.comparison.plan import COMPARE_BOOTS, COMPARE_UPDATES, SELF_CHECK_BOOTS
from results.comparison.verdict import Thresholds


def test_the_help_names_the_defaults():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args, text = parser.parse_args(["system", "next"]), " ".join(parser.format_help().split())
    assert (args.boots, args.updates) == (None, COMPARE_UPDATES)
    assert f"(default: {COMPARE_BOOTS}; {SELF_CHECK_BOOTS} with --aa)" in text
    assert args.relative / 100 == pytest.approx(Thresholds().relative)
    assert args.absolute * 1e6 == pytest.approx(Thresholds().absolute_ns)
