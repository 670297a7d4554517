"""Whether a guest came through: harm refutes, a pause that could not be measured does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from results.claims.guest_outcome import guest_outcome
from results.claims.transfer_checks import CHECKS, PINS
from results.judgement.judge import judge
from results.records.observations import RamCheck
from results.records.recording import Recording
from results.records.run import Run


def test_a_valid_run_shows_it(recording: Recording) -> None:
    assert guest_outcome(judge(recording)) == "shown"


@pytest.mark.parametrize(
    "change",
    [
        {"failure": "old QEMU refused migrate"},
        {"ram": RamCheck(16, 65536, 3, "page 0x1")},
        {"evidence": PINS},
    ],
    ids=lambda change: next(iter(change)),
)
def test_harm_refutes(change: dict[str, object], recording: Recording) -> None:
    broken = PINS.breaking(recording) if "evidence" in change else replace(recording, **change)  # type: ignore[arg-type]
    run = judge(broken)
    assert run.outcome == "failed"
    assert guest_outcome(run) == "refuted"
    stored = replace(run, reasons=())
    assert guest_outcome(stored) == "refuted", "read back from its text"


@pytest.mark.parametrize(
    "change",
    [{"lost": 3}, {"brackets": ()}, {"ram": None}, {"beats": ()}, {"lost": 1, "events": ()}],
    ids=str,
)
def test_incomplete_evidence_says_nothing(change: dict[str, object], recording: Recording) -> None:
    run = judge(replace(recording, **change))  # type: ignore[arg-type]
    assert run.outcome == "failed"
    assert guest_outcome(run) == "not testable", run.reason


def test_harm_outweighs_what_is_missing(recording: Recording) -> None:
    ram = RamCheck(16, 65536, 3, "page 0x1")
    assert guest_outcome(judge(replace(recording, lost=3, ram=ram))) == "refuted"


def test_a_text_without_a_reason_of_ours_is_from_qemu(make_run: Callable[..., Run]) -> None:
    failed = make_run(outcome="failed", reason="Permission denied")
    assert guest_outcome(failed) == "refuted"


def test_descriptors_that_differ_do_not_harm_the_guest(recording: Recording) -> None:
    """A descriptor under another id is evidence against claims 4 and 11, not of harm."""
    found = {
        check.claim: guest_outcome(judge(check.breaking(recording)))
        for check in CHECKS
        if judge(check.breaking(recording)).outcome == "failed"
    }
    assert found == {2: "refuted", 4: "not testable", 10: "refuted", 11: "not testable"}
