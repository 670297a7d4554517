"""Findings on plugged devices: from a good attempt, and from broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from results.claims.hotplug import (
    ANSWER,
    answer,
    error_message,
    finding_of,
    lookups,
    never_looked_up,
    violations,
)
from results.records.evidence import Check, Proof
from results.records.hotplug import PluggedMemory, Plugging
from results.records.observations import RamCheck
from results.records.run import CarriedFd, Run

MEMORY = PluggedMemory("two", 0x100800000, 2048, 2048, 2048)
GOOD = Plugging(
    plugged=("one", "two"),
    unplugged=("one",),
    started=("two",),
    kept_before=("one 0", "two 0"),
    kept=("two 0",),
    asked=("two 0",),
    memory=(MEMORY,),
    beats=True,
)
REFUSED = replace(GOOD, old_state="running", memory=())


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    fds = (CarriedFd("two", 0, 1, 2, 3, 4),)
    return make_run(ram=RamCheck(16, 65536, 0), fds=fds)


def test_a_good_attempt_is_shown(run: Run) -> None:
    assert violations(GOOD, run, "kept") == ""
    found = finding_of("t", "a", "kept", GOOD, run)
    assert (found.found, found.claim, found.evidence) == ("shown", 0, (run.id,))
    assert "old dropped one 0" in found.detail
    assert "2048 of 2048 pages kept (2048 in the same frames)" in found.detail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beats": False}, "the guest does not run"),
        ({"memory": (replace(MEMORY, kept=2047, found="zeros instead"),)}, "1 of 2048 pages lost"),
        ({"memory": (replace(MEMORY, same_frames=2040),)}, "8 of 2048 pages in other frames"),
        ({"afresh": ("two 0",)}, "created anew: two 0"),
        ({"stale": ("one 0",)}, "kept after it was closed: one 0"),
        ({"old_state": "running"}, "not transferred"),
    ],
)
def test_broken_attempts_refute(run: Run, change: dict[str, object], words: str) -> None:
    seen = replace(GOOD, **change)  # type: ignore[arg-type]
    found = finding_of("t", "a", "kept", seen, run, "mend it")
    assert found.found == "refuted"
    assert words in found.detail
    assert found.fix == "mend it"


def test_a_guest_that_was_harmed_refutes(run: Run) -> None:
    harmed = replace(run, ram=RamCheck(16, 65536, 3, "page 0x1"))
    assert "guest RAM changed" in violations(GOOD, harmed, "kept")
    other = Check("descriptors", "broken", "another open file in new QEMU: two")
    swapped = replace(run, proof=Proof("broken", "", (other,)))
    assert "another open file" in violations(GOOD, swapped, "kept")


def test_an_invalid_run_decides_nothing(run: Run) -> None:
    found = finding_of("t", "a", "kept", GOOD, replace(run, outcome="failed", reason="noise"))
    assert (found.found, "the run is not valid: noise" in found.detail) == ("not testable", True)


def test_what_must_be_refused(run: Run) -> None:
    assert violations(REFUSED, run, "refused") == ""
    assert violations(GOOD, run, "refused") == "was not refused"
    assert "the guest is lost" in violations(replace(REFUSED, beats=False), run, "refused")


def test_memory_lost_without_an_error_is_a_hazard(run: Run) -> None:
    lost = replace(GOOD, memory=(replace(MEMORY, kept=0, found="zeros instead"),))
    found = finding_of("t", "a", "reported", lost, run, "same ids")
    assert (found.topic, found.claim, found.fix) == ("hazard", 0, "same ids")
    assert "memory lost without an error" in found.detail


def test_descriptors_that_were_never_looked_up(run: Run) -> None:
    assert never_looked_up(GOOD, run.fds) == ()
    assert never_looked_up(replace(GOOD, asked=("other 0",)), run.fds) == ("two 0",)


def test_descriptors_are_looked_up_by_name_and_id(run: Run) -> None:
    found = lookups("a", [(GOOD, run)])
    assert found is not None
    assert (found.claim, found.found) == (11, "shown")
    failed = lookups("a", [(replace(GOOD, afresh=("two 0",)), run)])
    assert failed is not None
    assert (failed.found, failed.evidence) == ("refuted", (run.id,))
    assert lookups("a", [(REFUSED, run)]) is None


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_failed_look_up_refutes_although_the_transfer_failed(run: Run, count: int) -> None:
    """New QEMU may exit for want of the descriptor; that attempt is evidence all the same."""
    bad = replace(run, id=f"{run.id}-bad", outcome="failed", reason="cannot find saved value")
    lost = replace(REFUSED, afresh=("two 0",))
    found = lookups("a", [(lost, bad)] * count + [(GOOD, run)] * (5 - count))
    assert found is not None
    assert found.found == ("refuted" if count else "shown"), found.detail
    assert found.evidence == ((bad.id,) if count else (run.id,) * 5)
    assert f"{count} were not found" in found.detail


def test_a_failed_attempt_without_a_failed_look_up_says_nothing(run: Run) -> None:
    failed = replace(run, id=f"{run.id}-failed", outcome="failed", reason="refused")
    found = lookups("a", [(REFUSED, failed), (GOOD, run)])
    assert found is not None
    assert (found.found, found.evidence) == ("shown", (run.id,))
    assert lookups("a", [(REFUSED, failed)] * 5) is None


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_ram_that_was_not_checked_is_no_evidence(run: Run, count: int) -> None:
    unchecked = replace(run, ram=None, outcome="failed", reason="guest RAM was not checked")
    runs = [unchecked] * count + [run] * (5 - count)
    kept = [finding_of(f"case {n}", "a", "kept", GOOD, one) for n, one in enumerate(runs)]
    assert [f.found for f in kept[:count]] == ["not testable"] * count
    assert answer("a", kept, None).found == ("not testable" if count == 5 else "shown")


def test_the_answer_names_the_broken_cases(run: Run) -> None:
    good = finding_of("good case", "a", "kept", GOOD, run)
    bad = finding_of("bad case", "a", "kept", replace(GOOD, stale=("one 0",)), run)
    ids = lookups("a", [(GOOD, run)])
    held, broken = answer("a", [good], ids), answer("a", [good, bad], ids)
    assert (held.found, held.test, held.claim) == ("shown", ANSWER, 12)
    assert (broken.found, broken.evidence) == ("refuted", bad.evidence)
    assert "broken in 1 of 2: bad case" in broken.detail
    assert "Ids are not the cause" in broken.detail
    failed = lookups("a", [(replace(GOOD, afresh=("two 0",)), run)])
    assert "Ids are not the cause" not in answer("a", [bad], failed).detail


def test_without_a_case_there_is_no_answer(run: Run) -> None:
    failed = replace(run, outcome="failed", reason="noise")
    undecided = finding_of("t", "a", "kept", GOOD, failed)
    found = answer("a", [undecided], None)
    assert (found.found, found.claim) == ("not testable", 12)
    assert "noise" in found.detail
    assert answer("a", [], None).detail == "nothing could be plugged"


def test_error_messages_of_new_qemu_come_first(run: Run) -> None:
    log = "old: qemu-system-x86_64: late\nnew: qemu-system-x86_64: warning: x\nqemu-system: why"
    failed = replace(run, outcome="failed", reason="r [advice]", log_tail=log)
    assert error_message(failed) == "why"
    assert error_message(replace(failed, log_tail="")) == "r"
    assert error_message(run) == ""
