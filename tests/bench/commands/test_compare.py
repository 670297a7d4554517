"""Comparing builds for real: a build against itself, and one that is slower by a known amount."""

import asyncio
import json
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.benchmarks.conftest import Silent
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, on_common_machine, resolve
from bench.measurement.session import open_session
from bench.studies.ab_blocks import Pair, measure_blocks, narrow, plan_block, sides
from probes.pause_injector import PauseInjector
from results.comparison.compare import blocks_by_boot, compare
from results.errors import UsageError
from results.records.scenario import Build
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.transfer.handover import Hooks

ROOT = Path(__file__).resolve().parents[3]
SLOWER_NS = 60_000_000  # well above what a busy host adds of its own
MARK = "PAUSEBENCH_TEST_SLOW=1"

REAL = [pytest.mark.kvm, pytest.mark.qemu, pytest.mark.bpf]


def builds():
    one = Build("one", "/x", "10.0.2", "id", "sha", ("/x",))
    return one, replace(one, label="two")


# -- the plan ---------------------------------------------------------------------------------


def test_a_block_is_abba_or_baab_and_boots_number_it():
    a, b = builds()
    scenarios = [find_scenario(name, BUILTIN) for name in ("anon", "memfd")]
    order = random.Random(1)
    seen = set()
    for block in range(20):
        trials = plan_block(scenarios, Pair(a, b), block, 3, order)
        assert len(trials) == 8
        for scenario in scenarios:
            own = [t for t in trials if t.scenario == scenario]
            labels = "".join("A" if t.new_build is a else "B" for t in own)
            seen.add(labels)
            for build in (a, b):
                boots = [t.boot for t in own if t.new_build is build]
                assert boots == [2 * block + 1, 2 * block + 2]
    assert seen == {"ABBA", "BAAB"}


def test_runs_of_a_block_have_names_of_their_own():
    a, b = builds()
    trials = plan_block(BUILTIN[:2], Pair(a, b, ((a, b), (b, a))), 0, 1, random.Random(2))
    names = [(trial.cell, trial.boot) for trial in trials]
    assert len(set(names)) == len(names) == 12


def test_upgrades_are_one_update_a_boot():
    a, b = builds()
    trials = plan_block(BUILTIN[:1], Pair(a, b, ((a, b),)), 3, 9, random.Random(3))
    (upgrade,) = [t for t in trials if t.old_build is not t.new_build]
    assert (upgrade.updates, upgrade.boot) == (1, 4)


def test_a_forced_machine_is_left_alone():
    a, b = builds()
    scenario = changed(BUILTIN[0], {"machine": "pc"})
    assert on_common_machine([scenario], (a, b), "pc") == ([scenario], "pc")


def test_it_goes_on_until_narrow_or_the_limit():
    class Counting:
        def __init__(self):
            self.blocks = 0

        async def run(self, trials):
            self.blocks += 1
            return list(trials)

    def blocks_until(enough, least=2, most=5):
        experiment = Counting()
        plan = lambda block: (block,)  # noqa: E731
        asyncio.run(measure_blocks(experiment, plan, least, most, enough))
        return experiment.blocks

    assert blocks_until(lambda runs: True) == 2
    assert blocks_until(lambda runs: False) == 5
    assert blocks_until(lambda runs: len(runs) >= 3) == 3


# -- the command line -------------------------------------------------------------------------


def pausebench(*words):
    argv = [sys.executable, "-m", "bench", *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("compare", "system"), "compare takes two builds"),
        (("compare", "system", "system", "--repeat", "2"), "--repeat goes with --aa"),
        (("compare", "system", "system", "--boots", "9", "--limit", "3"), "--limit 3 is below"),
        (("compare", "a", "b", "--relative", "-1"), "--relative -1"),
        (("compare", "--stored", "x", "y", "--store", "/nonexistent/store"), "no store in"),
        (("matrix", "system"), "two builds or more"),
    ],
)
def test_bad_requests_are_one_line(words, told):
    done = pausebench(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


# -- for real ---------------------------------------------------------------------------------


@pytest.mark.slow
class TestReal:
    pytestmark = REAL

    def test_a_build_slower_by_a_known_amount_regresses_by_it(self, tmp_path):
        fast = default_build()
        slow = replace(fast, label="slow", launcher=("/usr/bin/env", MARK, *fast.launcher))
        pair = Pair(fast, slow)
        scenario = resolve(changed(find_scenario("anon", BUILTIN), {"vcpus": 1}))
        given = []

        with (
            open_store(tmp_path) as store,
            PauseInjector([fast]) as injector,
            open_session([scenario], [fast, slow], store, Silent(), ["test"], {}) as live,
        ):

            def hold(old, new, old_tids, new_tids):
                if MARK in new.argv:
                    injector.arm(new.pid, SLOWER_NS)

            def resumed(old, new):
                if MARK in new.argv:
                    given.append(injector.injected(new.pid).length_ns)

            live.experiment.hooks = Hooks(hold=hold, resumed=resumed)
            order = random.Random(7)
            runs = asyncio.run(
                measure_blocks(
                    live.experiment,
                    lambda block: plan_block([scenario], pair, block, 3, order),
                    3,
                    3,
                    lambda runs: True,
                )
            )
        runs_a, runs_b, rest = sides(runs, pair)
        assert rest == []
        assert len(given) == len(runs_b) == 18
        comparison = compare(runs_a, runs_b, block_of=blocks_by_boot(2))
        (cell,) = comparison.cells
        assert cell.verdict == "regressed", cell
        assert comparison.exit_code == 1
        assert not narrow(runs_a, runs_b, 0.0)
        injected = statistics.median(given)
        # A stopped QEMU also has to be woken: the pause that it is given is longer, never shorter.
        assert cell.high_ns >= injected
        assert cell.low_ns <= injected + 20_000_000
        assert cell.moved[0].name == "vm_start"

    def test_the_command_compares_and_remembers_an_aa(self, tmp_path):
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


def test_a_label_is_given_once():
    from bench.commands.options import labelled

    one, _ = builds()
    with pytest.raises(UsageError, match="two builds are called `one`"):
        labelled([one, one])
