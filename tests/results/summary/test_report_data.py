"""The data of a report: order of cells, reference sessions, thinning with a note."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from results.errors import UsageError
from results.records.scenario import Build
from results.stats.proportions import Budget
from results.store.store import open_store
from results.summary import report_data as module
from results.summary.environment import environment_changes
from results.summary.report_cells import Limit
from results.summary.report_data import ReportOptions, read_report_data

DAY = 86_400 * 10**9
START = 1_795_472_100_000_000_000


@pytest.fixture
def store(tmp_path, make_run, make_recording, make_session):
    """Two nights of b against a in blocks; the second on another kernel and a newer b."""
    with open_store(tmp_path) as opened:
        for night in (0, 1):
            builds = tuple(
                Build(label, label, f"11.{night if label == 'b' else 0}", label, "", (label,))
                for label in "ab"
            )
            session = replace(
                make_session(f"2026111{night}-221500-3f2a", START + night * DAY), builds=builds,
                environment={"kernel": f"6.{night}", "seed": str(night), "order": "blocks of A B"},
            )  # fmt: skip
            opened.add_session(session)
            for boot in range(1, 9):
                for label in "ba":
                    name = f"{session.id}.anon+{label}.b{boot:02d}.u01"
                    run = make_run(
                        boot, id=name, session=session.id, old_build=label, new_build=label,
                        blackout_ns=4_000_000 + 1_000 * boot + (label == "b") * 10**6,
                    )  # fmt: skip
                    opened.add_run(run, make_recording(run))
        yield opened


def test_the_baseline_comes_first_and_is_a(store):
    found = read_report_data(store, [store.session_ids()[-1]])
    assert [cell.builds for cell in found.cells] == ["a", "b"]
    (comparison,) = found.comparisons
    assert (comparison.label_a, comparison.label_b) == ("a", "b")
    assert comparison.cells[0].verdict == "regressed"
    assert comparison.cells[0].method == "blocks"


def test_the_environment_is_not_compared_with_a_self_check(store, make_run, make_recording):
    """The A/A of a night comes after its own measurement, and is no night."""
    first, second = store.sessions()
    builds = tuple(replace(first.builds[0], label=label) for label in ("a", "a-again"))
    check = replace(
        first, id="20261110-231500-aaaa", started_unix_ns=START + DAY // 24, builds=builds,
        environment=first.environment | {"night": "job", "kernel": "9"},
    )  # fmt: skip
    store.add_session(check)
    run = make_run(session=check.id, old_build="a", new_build="a-again")
    store.add_run(run, make_recording(run))
    assert read_report_data(store, [second.id]).reference == first
    store.add_session(replace(check, id="20261101-231500-aaaa", started_unix_ns=START - DAY))
    run = make_run(session="20261101-231500-aaaa", old_build="a", new_build="a-again")
    store.add_run(run, make_recording(run))
    assert read_report_data(store, [first.id]).reference is None


def test_the_environment_is_compared_with_the_night_before(store):
    first, second = (session.id for session in store.sessions())
    assert read_report_data(store, [first]).reference is None
    found = read_report_data(store, [second])
    assert found.reference.id == first
    assert found.changed == ("kernel: 6.0 → 6.1", "QEMU b: 11.0 → 11.1")
    # Of a night in two sessions neither is the night before.
    assert read_report_data(store, [first, second]).reference is None


def test_a_fact_that_one_side_lacks_is_a_change(make_session):
    bare = replace(make_session(), environment={})
    assert environment_changes(bare, make_session()) == ("kernel: not recorded → 6.12",)


def test_worst_and_median_are_complete_records(store):
    cell = read_report_data(store, [store.session_ids()[-1]]).cells[1]
    assert cell.worst.blackout_ns == 5_008_000
    assert cell.median.blackout_ns in (5_004_000, 5_005_000)
    assert cell.worst.fds


def test_budgets_by_scenario_and_for_all_others(store):
    session = [store.session_ids()[-1]]
    found = read_report_data(store, session, ReportOptions({"*": Limit(4_500_000)}))
    assert [cell.over_budget for cell in found.cells] == [False, True]
    found = read_report_data(store, session, ReportOptions({"*": Limit(1), "anon": Limit(10**9)}))
    assert not any(cell.over_budget for cell in found.cells)


def test_a_failed_run_keeps_no_budget(store, make_run, make_recording):
    """17 of 18 failed, the one that did not took 4.001 ms."""
    session = store.session_ids()[-1]
    for update in range(2, 19):
        name = f"{session}.memfd.b01.u{update:02d}"
        run = make_run(1, id=name, session=session, scenario="memfd", outcome="failed",
                       reason="QEMU died", blackout_ns=None, update=update)  # fmt: skip
        store.add_run(run, make_recording(run))
    valid = make_run(1, id=f"{session}.memfd.b01.u01", session=session, scenario="memfd",
                     blackout_ns=4_001_000)  # fmt: skip
    store.add_run(valid, make_recording(valid))
    found = read_report_data(store, [session], ReportOptions({"memfd": Limit(5_000_000)}))
    (cell,) = [cell for cell in found.cells if cell.summary.scenario == "memfd"]
    assert (cell.budget.within, cell.budget.total, cell.budget.failed) == (1, 18, 17)
    assert cell.over_budget


@pytest.mark.parametrize(("share", "within", "total"), [(0.07, 7, 100), (0.95, 19, 20)])
def test_exactly_the_share_that_was_asked_keeps_a_budget(share, within, total):
    assert Limit(5, share).kept(Budget(5, within, total, None))
    assert not Limit(5, share).kept(Budget(5, within - 1, total, None))


def test_a_baseline_over_its_budget_is_noted(store):
    session = [store.session_ids()[-1]]
    found = read_report_data(store, session, ReportOptions({"*": Limit(4_000_000)}))
    assert [cell.over_budget for cell in found.cells] == [True, True]
    assert [found.is_baseline(cell) for cell in found.cells] == [True, False]
    assert found.notes == (
        "anon on a missed its budget, 0 of 8 under 4 ms: noted only, as other builds are compared "
        "with it",
    )


def test_thinning_keeps_complete_blocks_and_is_noted(store):
    with patch.object(module, "MOST_COMPARED", 4):
        found = read_report_data(store, [store.session_ids()[-1]])
    (cell,) = found.comparisons[0].cells
    assert (cell.n_a, cell.n_b) == (4, 4)
    assert found.notes[0].startswith("verdicts weigh every 2th block of two boots of a: 4 of its 8")
    assert found.cells[0].summary.valid == 8  # all other numbers are of all runs


def test_two_sessions_as_one(store):
    both = [session.id for session in store.sessions()]
    found = read_report_data(store, both)
    assert [session.id for session in found.sessions] == both
    assert found.comparisons[0].cells[0].n_a == 16


def test_an_empty_session_has_no_report(store, make_session):
    store.add_session(make_session("20261120-221500-3f2a", START + 9 * DAY))
    with pytest.raises(UsageError, match="holds no run yet"):
        read_report_data(store, ["20261120-221500-3f2a"])
