"""The order of boots: complete, balanced, shuffled, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.measurement.scenarios import BUILTIN
from bench.measurement.schedule import Trial, plan_trials
from results.records.scenario import Build, Scenario


def build(label: str) -> Build:
    return Build(label, f"/{label}", "10.0", label, "", (f"/{label}",))


ONE, TWO = build("one"), build("two")


def cells(trials: tuple[Trial, ...]) -> list[tuple[str, str]]:
    return [(t.scenario.id, t.new_build.label) for t in trials]


@given(
    scenarios=st.integers(1, 5),
    builds=st.integers(1, 3),
    boots=st.integers(1, 7),
    updates=st.integers(1, 9),
    seed=st.integers(0, (1 << 32) - 1),
)
def test_every_scenario_on_every_build_once_in_every_round(
    scenarios: int, builds: int, boots: int, updates: int, seed: int
) -> None:
    chosen: tuple[Scenario, ...] = BUILTIN[:scenarios]
    trials = plan_trials(chosen, [build(f"b{n}") for n in range(builds)], boots, updates, seed)
    each_round = scenarios * builds
    assert len(trials) == boots * each_round
    for number in range(boots):
        of_round = trials[number * each_round : (number + 1) * each_round]
        assert {t.boot for t in of_round} == {number + 1}
        assert set(Counter(cells(of_round)).values()) == {1}
    assert {t.updates for t in trials} == {updates}
    assert all(t.old_build == t.new_build for t in trials)


def test_the_order_depends_on_the_seed_alone() -> None:
    def order(seed: int) -> list[tuple[str, str]]:
        return cells(plan_trials(BUILTIN, [ONE, TWO], 3, 5, seed))

    assert order(7) == order(7)
    assert len({tuple(order(seed)) for seed in range(5)}) == 5


def test_each_round_has_a_new_order() -> None:
    """A host that warms up would otherwise favour what is always last."""
    trials = plan_trials(BUILTIN, [ONE], 20, 1, 1)
    firsts = Counter(t.scenario.id for t in trials[:: len(BUILTIN)])
    assert len(firsts) == len(BUILTIN)


def test_cells_name_the_build_only_if_there_are_several() -> None:
    assert {t.cell for t in plan_trials(BUILTIN[:2], [ONE], 1, 1, 0)} == {"anon", "memfd"}
    assert {t.cell for t in plan_trials(BUILTIN[:1], [ONE, TWO], 1, 1, 0)} == {
        "anon+one",
        "anon+two",
    }


def test_arguments_are_not_modified() -> None:
    scenarios, builds = list(BUILTIN), [ONE, TWO]
    plan_trials(scenarios, builds, 3, 5, 1)
    assert scenarios == list(BUILTIN)
    assert builds == [ONE, TWO]
