"""Blocks of A B B A: their plan, and a real build that is slower by a known amount."""

import asyncio
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from bench.benchmarks.conftest import Silent
from bench.measurement.instruments import Instrument
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, on_common_machine, resolve
from bench.measurement.session import open_session
from bench.studies.ab_blocks import Pair, measure_blocks, narrow, plan_block, sides
from probes.pause_injector import PauseInjector
from results.comparison.compare import blocks_by_boot, compare
from results.records.run import SCHEMA, Run
from results.records.scenario import Build
from results.store.store import open_store
from runners.builds.discover import default_build

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


def test_runs_of_a_block_have_unique_names():
    a, b = builds()
    trials = plan_block(BUILTIN[:2], Pair(a, b, ((a, b), (b, a))), 0, 1, random.Random(2))
    names = [(trial.cell, trial.boot) for trial in trials]
    assert len(set(names)) == len(names) == 12


def test_upgrades_are_one_update_per_boot():
    a, b = builds()
    trials = plan_block(BUILTIN[:1], Pair(a, b, ((a, b),)), 3, 9, random.Random(3))
    (upgrade,) = [t for t in trials if t.old_build is not t.new_build]
    assert (upgrade.updates, upgrade.boot) == (1, 4)


def test_a_forced_machine_type_is_used():
    a, b = builds()
    scenario = changed(BUILTIN[0], {"machine": "pc"})
    assert on_common_machine([scenario], (a, b), "pc") == ([scenario], "pc")


def test_it_measures_until_narrow_or_the_limit():
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


# -- when it is precise enough, by a width that does not know which boots are A's -------------


def boots_of(build, values, scenario="anon"):
    return [
        Run(
            SCHEMA, f"s.{scenario}+{build}.b{boot:02d}.u01", "s", scenario, f"id={scenario}",
            boot, 1, boot, "completed", "", build, build, 10, 11, blackout_ns=value,
        )
        for boot, value in enumerate(values, 1)
    ]  # fmt: skip


def test_every_cell_has_to_be_narrow():
    near = [2_400_000 + 1_000 * i for i in range(8)]
    far = [2_400_000 + 300_000 * i for i in range(8)]
    assert narrow(boots_of("a", near), boots_of("b", near), 2)
    assert not narrow(boots_of("a", far), boots_of("b", far), 2)
    # Each cell has to be, and a change does not count as scatter of one side alone.
    both = [*boots_of("a", near), *boots_of("a", far, "memfd")]
    assert not narrow(both, [*boots_of("b", near), *boots_of("b", far, "memfd")], 2)
    moved = [value + 900_000 for value in near]
    assert not narrow(boots_of("a", near), boots_of("b", moved), 2)
    assert not narrow(boots_of("a", near[:3]), boots_of("b", near[:3]), 50)


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

            class Slowing(Instrument):
                def hold(self, old, new, old_tids, new_tids):
                    if MARK in new.argv:
                        injector.arm(new.pid, SLOWER_NS)

                def resumed(self, old, new):
                    if MARK in new.argv:
                        given.append(injector.injected(new.pid).length_ns)

            instruments = live.experiment.instruments.plus(Slowing())
            experiment = replace(live.experiment, instruments=instruments)
            order = random.Random(7)
            runs = asyncio.run(
                measure_blocks(
                    experiment,
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
