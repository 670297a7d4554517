"""Old × new: pairs that complete, that fail with a reason, and that were not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.terminal.matrix import matrix_table
from reports.terminal.style import Look
from results.summary.matrix import MatrixCell, matrix_cells

VERSIONS = {"10.0": "10.0.2", "11.1": "11.1.3"}
REASON = "new QEMU refused the state: error while loading state for instance 0x0 of device 'x'"


@pytest.fixture
def runs(good_run):
    """10.0 to itself in 4.42 ms, in one of two runs to 11.1, never back; 11.1 to itself untried."""

    def run(old, new, blackout_ns, reason=""):
        outcome = "failed" if reason else "completed"
        return replace(
            good_run, old_build=old, new_build=new, blackout_ns=blackout_ns, outcome=outcome,
            reason=reason,
        )  # fmt: skip

    return [
        run("10.0", "10.0", 4_420_000),
        run("10.0", "11.1", 5_100_000),
        run("10.0", "11.1", None, "QEMU died (pid 4188)"),
        run("11.1", "10.0", None, REASON),
        run("11.1", "10.0", None, REASON),
    ]


def test_the_table(runs):
    text = matrix_table(matrix_cells(runs, list(VERSIONS)), VERSIONS, Look(80)).plain
    assert text.splitlines() == [
        "median VM blackout, old QEMU (rows) to new QEMU (columns)",
        "",
        "old \\ new  10.0       11.1",
        "10.0       4.42 ms    5.10 ms (1 of 2) [1]",
        "11.1       fails [2]  - [3]",
        "",
        "[1] QEMU died",
        "[2] new QEMU refused the state: error while loading state for instance 0x0 of",
        "    device 'x'",
        "[3] not measured",
        "10.0: QEMU 10.0.2",
        "11.1: QEMU 11.1.3",
    ]


def test_one_reason_of_many_pairs_is_written_once():
    cells = [
        MatrixCell(old, new, 2, 0, None, "no cpr-transfer") for old in VERSIONS for new in VERSIONS
    ]
    text = matrix_table(cells, VERSIONS, Look(80)).plain
    assert text.count("fails [1]") == 4
    assert text.count("no cpr-transfer") == 1


def test_a_terminal_gets_colour_and_no_escape_of_a_record(runs):
    hostile = replace(runs[3], reason="\x1b[31mred")
    look = Look(80, colour=True, unicode=True)
    text = matrix_table(matrix_cells([hostile], list(VERSIONS)), VERSIONS, look)
    assert "\x1b" not in text.plain
    assert "– [1]" in text.plain
    assert {str(span.style) for span in text.spans} >= {"bold", "red", "dim"}
