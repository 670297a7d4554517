"""The table of faults."""

from __future__ import annotations

from dataclasses import replace

from reports.terminal.faults import faults_table
from reports.terminal.style import Look
from results.summary.failures.faults import FaultRow

ROW = FaultRow(
    phase="load", fault="new killed", old_build="system", new_build="system", outcome="failed",
    reason="new QEMU was killed by signal 9 (SIGKILL) 6.4 ms after `migrate-incoming`",
    where="old", pause_ns=21_558_833, giving_up="failed → RESUME", giving_up_ns=49_000,
    harm="update-failed", exit_status=3, took_s=0.7, run="s.fault-01.b01.u01", expected=("old",),
)  # fmt: skip


def text(*rows: FaultRow) -> str:
    return faults_table(rows, Look(width=120, unicode=True)).plain


def test_a_row_shows_outcome_place_pause_and_status():
    (line,) = (line for line in text(ROW).splitlines() if line.startswith("new killed"))
    assert line.split("  ")[0] == "new killed"
    for word in ("failed", "old QEMU", "21.6 ms", "failed → RESUME 0.049 ms", "3"):
        assert word in line
    assert "killed by signal 9 (SIGKILL) 6.4 ms after" in text(ROW)
    assert "1 of 1 guests are where they may be" in text(ROW)


def test_a_guest_that_was_not_stopped_and_one_that_is_lost():
    shown = text(
        replace(ROW, phase="hold", pause_ns=0),
        replace(ROW, where="nowhere", pause_ns=None, giving_up_ns=None),
    )
    assert "never stopped" in shown
    assert "1 of 2 guests are where they may be" in shown
    assert shown.index("hold: ") < shown.index("load: "), "by phase"


def test_a_backward_update_names_its_builds():
    assert "new killed (b → a)" in text(replace(ROW, old_build="b", new_build="a"))
