"""How many boots `compare` takes, and that it refuses what could not decide anything."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from bench.commands.compare import add_arguments
from results.comparison.plan import COMPARE_BOOTS, COMPARE_UPDATES, SELF_CHECK_BOOTS
from results.comparison.verdict import Thresholds

ROOT = Path(__file__).resolve().parents[3]


def test_the_help_names_the_defaults():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args, text = parser.parse_args(["system", "next"]), " ".join(parser.format_help().split())
    assert (args.boots, args.updates) == (None, COMPARE_UPDATES)
    assert f"(default {COMPARE_BOOTS}; {SELF_CHECK_BOOTS} with --aa)" in text
    assert args.relative / 100 == pytest.approx(Thresholds().relative)
    assert args.absolute * 1e6 == pytest.approx(Thresholds().absolute_ns)


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("anon", "memfd", "--boots", "4"), "4 boots of each side cannot call any change"),
        (("anon", "memfd", "--boots", "4"), "6 boots would do"),
        (("--boots", "2"), "6 boots would do"),
    ],
)
def test_a_plan_that_cannot_decide_is_refused_before_it_is_measured(words, told, tmp_path):
    pair = ("compare", "one=/usr/bin/qemu-system-x86_64", "two=/usr/bin/qemu-system-x86_64")
    argv = [sys.executable, "-m", "bench", *pair, *words, "--store", str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not list((tmp_path / "out").glob("raw/*"))
