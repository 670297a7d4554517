"""The cells of a matrix: a boot counts once, however many updates it had."""

from __future__ import annotations

import pytest

from results.summary.matrix import matrix_cells


def test_many_updates_of_one_boot_count_once(make_run):
    slow = [make_run(update=u, boot=1, blackout_ns=10_000_000) for u in range(1, 21)]
    quick = [make_run(boot=b, blackout_ns=2_000_000) for b in range(2, 7)]
    (cell,) = matrix_cells([*slow, *quick], [slow[0].old_build])
    assert cell.blackout_ns == 2_000_000
    assert (cell.runs, cell.valid, cell.reason) == (25, 25, "")


@pytest.mark.parametrize("blackout_ns", [5_000_000, None])
def test_a_failed_run_has_no_blackout(make_run, blackout_ns):
    failed = make_run(outcome="failed", reason="QEMU died (pid 12)", blackout_ns=blackout_ns)
    (cell,) = matrix_cells([failed], [failed.old_build])
    assert (cell.runs, cell.valid, cell.blackout_ns) == (1, 0, None)
    assert cell.reason == "QEMU died"
