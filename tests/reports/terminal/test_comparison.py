"""The comparison as text and as JSON.

The golden files are rewritten by `GOLDEN=write`; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from reports.formats.comparison_json import comparison_document
from reports.terminal.comparison import comparison_table
from reports.terminal.style import Look
from results.comparison.compare import Thresholds, blocks_by_boot, compare
from results.comparison.noise_floor import NoiseFloor
from results.records.run import Span

GOLDEN = Path(__file__).parents[1] / "golden"
MS = 1_000_000


@pytest.fixture
def side(good_run):
    """Six boots of two updates: `change` lies in quiesce, `failing` boots lose their second."""

    def make(build, scenario="anon", boots=6, change=0, spread=10_000, failing=0, start=0):
        runs = []
        for boot in range(1, boots + 1):
            for update in (1, 2):
                blackout = 4_420_000 + change + spread * boot + 1_000 * update
                lost = update == 2 and boot <= failing
                spans = (
                    Span("quiesce", "old", 0, 9, 1_200_000 + change + spread * boot),
                    Span("state_load", "new", 0, 9, 1_190_000 + 1_000 * update),
                )
                runs.append(
                    replace(
                        good_run,
                        id=f"{good_run.session}.{scenario}.b{boot:02d}.u{update:02d}",
                        scenario=scenario,
                        boot=boot,
                        update=update,
                        started_unix_ns=start + boot,
                        old_build=build,
                        new_build=build,
                        outcome="failed" if lost else "completed",
                        reason="vCPU 1 stands still" if lost else "",
                        blackout_ns=None if lost else blackout,
                        spans=spans,
                        residual_ns=blackout - sum(span.blackout_ns for span in spans),
                    )
                )
        return runs

    return make


@pytest.fixture
def full(side):
    """Every verdict, failures, budgets, a scenario of one side and one that has no valid run."""
    a = [
        *side("10.0.2"),
        *side("10.0.2", "memfd"),
        *side("10.0.2", "hugetlb-2m", spread=400_000),
        *side("10.0.2", "shm", change=2 * MS),
        *side("10.0.2", "pinned", boots=2),
        *side("10.0.2", "tcg"),
    ]
    broken = [
        replace(run, outcome="failed", blackout_ns=None)
        for run in side("11.1.3", "pinned", boots=2)
    ]
    b = [
        *side("11.1.3", change=MS),
        *side("11.1.3", "memfd", failing=5),
        *side("11.1.3", "hugetlb-2m", change=300_000, spread=500_000),
        *side("11.1.3", "shm"),
        *broken,
    ]
    return compare(
        a,
        b,
        block_of=blocks_by_boot(2),
        noise={"hugetlb-2m": NoiseFloor(900_000, 6, 20)},
        budgets_ns=(5 * MS,),
        forced=("kernel: 6.12.1 in A, 6.1.0 in B",),
    )


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "unicode"), [(64, False), (80, False), (120, True)])
def test_golden(full, width, unicode):
    check(f"comparison-{width}.txt", comparison_table(full, Look(width, unicode=unicode)).plain)


def test_few_boots_measured_apart(side):
    found = compare(side("10.0.2", boots=3), side("11.1.3", boots=3, change=MS, start=10**9))
    check("comparison-few-80.txt", comparison_table(found, Look(80)).plain)


def test_a_verdict_withdrawn_for_noise_names_the_noise(side):
    found = compare(
        [*side("10.0.2"), *side("10.0.2", "memfd")],
        [*side("11.1.3", change=MS), *side("11.1.3", "memfd")],
        noise={name: NoiseFloor(1_500_000, 6, 20) for name in ("anon", "memfd")},
    )
    text = comparison_table(found, Look(120)).plain
    floor = "the noise floor of 1.5 ms (A/A comparisons on this host)"
    assert f"smaller than {floor}; a change of 1." in text
    assert f"what counts is smaller than {floor}" in text
    assert "A verdict within the host's noise floor is undecided." in text
    assert {cell["noise_floor_ns"] for cell in comparison_document(found)["cells"]} == {1_500_000}


def test_a_phase_of_some_boots_says_in_how_many_it_occurred(side):
    late = [
        replace(r, spans=(*r.spans, Span("flush", "old", 0, 9, MS))) if r.boot > 1 else r
        for r in side("11.1.3", change=MS, boots=8)
    ]
    before = [replace(r, spans=(*r.spans, Span("flush", "old", 0, 9, 0)))
              for r in side("10.0.2", boots=8)]  # fmt: skip
    text = comparison_table(compare(before, late), Look(200)).plain
    assert "flush +1.00 [+1.00, +1.00] ms (in boots: A 0 of 8, B 7 of 8)" in text


@pytest.mark.parametrize("width", [64, 80, 100, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_terminal(full, width, unicode):
    look = Look(width, colour=True, unicode=unicode)
    text = comparison_table(full, look).plain
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert unicode or text.isascii()


def test_colour_is_only_used_on_a_terminal(full):
    assert not comparison_table(full, Look(80)).spans
    assert any("red" in str(s.style) for s in comparison_table(full, Look(80, colour=True)).spans)


def test_an_escape_sequence_in_a_name_is_not_printed(full):
    (cell, *_) = full.cells
    hostile = replace(full, cells=(replace(cell, scenario="\x1b[31m"),), label_b="\x1b]0;x\x07")
    assert "\x1b" not in comparison_table(hostile, Look(80)).plain


def test_nothing_in_common():
    text = comparison_table(compare([], []), Look(80)).plain
    assert "nothing to compare" in text


def test_a_bound_is_never_rounded_up(full):
    kept = replace(full.cells[0].budgets_a[0], within=11, total=12, low_share=0.5799)
    cell = replace(full.cells[0], budgets_a=(kept,), budgets_b=(kept,))
    text = comparison_table(replace(full, cells=(cell,)), Look(120)).plain
    assert "under 5.00 ms: A 11 of 12 (at least 57 %)" in text


# The document


def test_the_documented_names(full):
    made = comparison_document(full)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert (made["schema"], made["a"], made["b"], made["exit_code"]) == (1, "10.0.2", "11.1.3", 1)
    assert made["only_a"] == ["tcg"]
    assert made["forced"] == ["kernel: 6.12.1 in A, 6.1.0 in B"]
    cells = {cell["scenario"]: cell for cell in made["cells"]}
    anon = cells["anon"]
    assert {
        name: anon[name]
        for name in ("metric", "verdict", "shift_ns", "n_a", "n_b", "method", "moved", "reason")
    } == {
        "metric": "blackout",
        "verdict": "regressed",
        "shift_ns": 1_000_000,
        "n_a": 6,
        "n_b": 6,
        "method": "blocks",
        "moved": ["quiesce"],
        "reason": "",
    }
    for name in ("low_ns", "high_ns", "shift_percent", "p", "smallest_detectable_ns"):
        assert anon[name] is not None, name
        assert cells["pinned"][name] is None, name
    quiesce = anon["phases"][0]
    assert (quiesce["name"], quiesce["shift_ns"]) == ("quiesce", 1_000_000)
    counts = {"runs": 0, "total_runs": 12, "boots": 0, "total_boots": 6}
    assert anon["failures_b"].items() >= counts.items()
    assert anon["budgets_a"][0]["within"] == 12
    assert cells["memfd"]["more_failures"] is True


def test_the_document_of_defaults():
    made = comparison_document(compare([], [], Thresholds(noise_ns=5)))
    assert made["cells"] == []
    assert (made["exit_code"], made["thresholds"]["noise_ns"]) == (3, 5)
