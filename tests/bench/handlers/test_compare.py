"""Comparing real builds: one with itself, and sessions that differ."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import main
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Build, Scenario, Session
from results.store.store import new_run_id, open_store

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


# -- stored sessions --------------------------------------------------------------------------


SESSIONS = ("20261123-221500-3f2a", "20261124-221500-0b1c")


@pytest.fixture
def store(tmp_path):
    """Two sessions of three boots, one run of the second failed."""
    with open_store(tmp_path) as opened:
        for session in SESSIONS:
            opened.add_session(Session(session, 5, ("pausebench", "run"), (), {}))
            for boot in (1, 2, 3):
                lost = (session, boot) == (SESSIONS[1], 3)
                run = Run(
                    schema=SCHEMA, id=new_run_id(session, "anon", boot, 1), session=session,
                    scenario="anon", dimensions="id=anon vcpus=1", boot=boot, update=1,
                    started_unix_ns=boot, outcome="failed" if lost else "completed",
                    reason="QEMU died" if lost else "", old_build="system", new_build="system",
                    old_pid=10, new_pid=11, blackout_ns=None if lost else 4_000_000 + boot,
                )  # fmt: skip
                recording = Recording(
                    schema=SCHEMA, id=run.id, session=session, boot=boot, update=1,
                    started_unix_ns=5, scenario=Scenario("anon", "anon"), old_build="system",
                    new_build="system", old=Process(10, ("qemu",), ()),
                    new=Process(11, ("qemu",), ()), steps={},
                )  # fmt: skip
                opened.add_run(run, recording)
    return tmp_path


def test_doubts_are_printed(store, capsys):
    main(["compare", "--stored", *SESSIONS, "--store", str(store)])
    text = " ".join(capsys.readouterr().out.split())
    assert "A, anon on system: doubt: 3 boots" in text
    assert "B, anon on system: doubt: 1 of 3 runs failed" in text


def test_doubts_are_in_the_document(store, capsys):
    main(["compare", "--stored", *SESSIONS, "--json", "--store", str(store)])
    doubts = json.loads(capsys.readouterr().out)["doubts"]
    found = [(doubt["side"], doubt["scenario"], doubt["kind"]) for doubt in doubts]
    assert ("A", "anon", "few-boots") in found
    assert ("B", "anon", "failed") in found
    assert doubts[0]["figures"] == {"boots": 3, "boots_needed": 6}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["last", "last"], "last and last are the same runs: name two sessions"),
        ([SESSIONS[0], f"{SESSIONS[0]}:system"], "are the same runs"),
        ([*SESSIONS, "--budget", "nope=5"], "--budget nope=…: not measured, only anon"),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_says_nothing_is_refused(store, capsys, words, said, force):
    assert main(["compare", "--stored", *words, *force, "--store", str(store)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


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
            session = store.session_ids()[-1]
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
