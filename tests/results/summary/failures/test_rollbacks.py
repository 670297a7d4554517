"""What failed updates cost, over many runs."""

from __future__ import annotations

from results.records.rollback import Rollback
from results.summary.failures.rollbacks import rollbacks, slower_to_fail


def failed(make_run, *backs):
    return [make_run(boot=n, outcome="failed", rollback=b) for n, b in enumerate(backs, 1)]


def test_nothing_failed(make_run):
    assert rollbacks([make_run()]) is None
    assert rollbacks([make_run(outcome="failed")]) is None


def test_guests_are_counted_by_where_they_are(make_run):
    backs = [Rollback("old", ns) for ns in (0, 8_000_000, 30_000_000, 9_000_000, None)]
    found = rollbacks(failed(make_run, *backs, Rollback("nowhere"), Rollback("new")))
    assert (found.updates, found.returned, found.never_stopped) == (7, 3, 1)
    assert (found.lost, found.in_new) == (1, 1)
    assert (found.median_ns, found.longest_ns) == (9_000_000, 30_000_000)


def test_b_fails_slower_than_a(make_run):
    a = failed(make_run, *(Rollback("old", 8_000_000 + n) for n in range(8)))
    b = failed(make_run, *(Rollback("old", 12_000_000 + n) for n in range(8)))
    shift = slower_to_fail(a, b)
    assert shift.clear
    assert shift.shift_ns == 4_000_000
    assert not slower_to_fail(a, a).clear
    assert slower_to_fail(a, [make_run()]).shift_ns is None
