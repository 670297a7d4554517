"""Comparing real builds: one with itself, and sessions that differ."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from results.records.scenario import Build
from results.store.store import open_store

ROOT = Path(__file__).resolve().parents[3]
SLOWER_NS = 60_000_000  # well above what a busy host adds of its own
MARK = "PAUSEBENCH_TEST_SLOW=1"

REAL = [pytest.mark.kvm, pytest.mark.qemu, pytest.mark.bpf]


def builds():
    one = Build("one", "/x", "10.0.2", "id", "sha", ("/x",))
    return one, replace(one, label="two")


# -- the command line -------------------------------------------------------------------------


def pausebench(*words):
    argv = [sys.executable, "-m", "bench", *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "system"), "compare needs two builds"),
        (("compare", "system", "system", "--repeat", "2"), "--repeat needs --aa"),
        (("compare", "system", "system", "--boots", "9", "--limit", "3"), "--limit 3 is below"),
        (("compare", "a", "b", "--relative", "-1"), "--relative -1"),
        (("compare", "--stored", "x", "y", "--store", "/nonexistent/store"), "no store in"),
        (("matrix", "system"), "two builds or more"),
    ],
)
def test_bad_requests_are_one_line(words, said):
    done = pausebench(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("anon", "memfd", "--boots", "4"), "4 boots of each side cannot call any change"),
        (("anon", "memfd", "--boots", "4"), "6 boots would do"),
        (("--boots", "2"), "6 boots would do"),
    ],
)
def test_a_plan_that_cannot_decide_is_refused_before_it_is_measured(words, said, tmp_path):
    pair = ("compare", "one=/usr/bin/qemu-system-x86_64", "two=/usr/bin/qemu-system-x86_64")
    done = pausebench(*pair, *words, "--store", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not list((tmp_path / "out").glob("raw/*"))


# -- for real ---------------------------------------------------------------------------------


@pytest.mark.slow
class TestReal:
    pytestmark = REAL

    def test_the_command_compares_and_stores_an_aa(self, tmp_path):
        done = pausebench(
            "compare", "--aa", "system", "anon", "--boots", "4", "--updates", "2", "--json",
            "--store", str(tmp_path),
        )  # fmt: skip
        document = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode
        (cell,) = document["cells"]
        assert {"scenario", "metric", "verdict", "shift_ns", "low_ns", "high_ns",
                "shift_percent", "p", "smallest_detectable_ns"} <= set(cell)  # fmt: skip
        assert cell["scenario"] == "anon"
        with open_store(tmp_path, create=False) as store:
            session = store.latest_session_id()
            host = store.session(session).environment["host"]
            (entry,) = store.aa(host)
            assert (entry.shift_ns, entry.verdict) == (cell["shift_ns"], cell["verdict"])
        again = pausebench(
            "compare", "--stored", f"{session}:system", f"{session}:system-again", "--json",
            "--store", str(tmp_path),
        )  # fmt: skip
        stored = json.loads(again.stdout)["cells"][0]
        assert (stored["shift_ns"], stored["p"]) == (cell["shift_ns"], cell["p"])

    def test_sessions_of_different_guests_are_not_compared(self, tmp_path):
        for ram in ("128M", "256M"):
            words = ("run", "anon", "--boots", "1", "--updates", "1", "--ram", ram)
            assert pausebench(*words, "--store", str(tmp_path)).returncode == 0
        with open_store(tmp_path, create=False) as store:
            first, second = (session.id for session in store.sessions())
        words = ("compare", "--stored", first, second, "--store", str(tmp_path))
        refused = pausebench(*words)
        assert refused.returncode == 2
        assert "ram_bytes" in refused.stderr
        forced = pausebench(*words, "--force")
        assert forced.returncode == 0
        assert "ram_bytes" in forced.stdout
