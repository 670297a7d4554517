"""The benchmarks in bench/benchmarks: all can be collected, and one is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_benchmark_can_be_collected():
    files = sorted(path.name for path in (ROOT / "bench/benchmarks").glob("test_*.py"))
    assert files
    done = run("--collect-only", *(f"bench/benchmarks/{name}" for name in files))
    assert done.returncode == 0, done.stdout
    for name in files:
        assert f"bench/benchmarks/{name}::" in done.stdout


@pytest.mark.bpf
@pytest.mark.qemu
@pytest.mark.slow
def test_a_benchmark_whose_time_is_the_blackout(tmp_path):
    found = tmp_path / "blackout.json"
    done = run(
        "bench/benchmarks/test_blackout.py",
        *("-k", "anon and not locked", f"--benchmark-json={found}"),
        PAUSEBENCH_UPDATES="3",
        PAUSEBENCH_STORE=str(tmp_path / "store"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    (entry,) = json.loads(found.read_text())["benchmarks"]
    seen = entry["extra_info"]["blackouts_ns"]
    assert len(seen) == 3
    assert entry["stats"]["max"] == pytest.approx(max(seen) / 1e9, rel=1e-6)
    assert entry["stats"]["min"] == pytest.approx(min(seen) / 1e9, rel=1e-6)
