"""What is said of devices that were plugged: of an attempt that went well, and of broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from results.claims.hotplug import (
    ANSWER,
    answer,
    finding_of,
    found_again,
    left_over,
    qemus_words,
    trouble,
)
from results.records.evidence import Check, Proof
from results.records.hotplug import PluggedMemory, Plugging
from results.records.observations import RamCheck
from results.records.run import CarriedFd, Run

MEMORY = PluggedMemory("two", 0x100800000, 2048, 2048, 2048)
WELL = Plugging(
    plugged=("one", "two"),
    unplugged=("one",),
    started=("two",),
    kept_before=("one 0", "two 0"),
    kept=("two 0",),
    asked=("two 0",),
    memory=(MEMORY,),
    beats=True,
)
REFUSED = replace(WELL, old_state="running", memory=())


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    fds = (CarriedFd("two", 0, 1, 2, 3, 4),)
    return make_run(ram=RamCheck(16, 65536, 0), fds=fds)


def test_an_attempt_that_went_well(run: Run) -> None:
    assert trouble(WELL, run, "kept") == ""
    found = finding_of("t", "a", "kept", WELL, run)
    assert (found.found, found.claim, found.evidence) == ("shown", 0, (run.id,))
    assert "old let go of one 0" in found.detail
    assert "2048 of 2048 pages kept (2048 in the same frames)" in found.detail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beats": False}, "the guest stands still"),
        ({"memory": (replace(MEMORY, kept=2047, found="zeros instead"),)}, "1 of 2048 pages lost"),
        ({"memory": (replace(MEMORY, same_frames=2040),)}, "8 of 2048 pages in other frames"),
        ({"afresh": ("two 0",)}, "opened afresh: two 0"),
        ({"stale": ("one 0",)}, "kept after it was closed: one 0"),
        ({"old_state": "running"}, "not transferred"),
    ],
)
def test_broken_attempts_refute(run: Run, change: dict[str, object], words: str) -> None:
    seen = replace(WELL, **change)  # type: ignore[arg-type]
    found = finding_of("t", "a", "kept", seen, run, "mend it")
    assert found.found == "refuted"
    assert words in found.detail
    assert found.fix == "mend it"


def test_a_guest_that_was_harmed_refutes(run: Run) -> None:
    harmed = replace(run, ram=RamCheck(16, 65536, 3, "page 0x1"))
    assert "guest RAM is not whole" in trouble(WELL, harmed, "kept")
    other = Check("descriptors", "broken", "another open file in new QEMU: two")
    swapped = replace(run, proof=Proof("broken", "", (other,)))
    assert "another open file" in trouble(WELL, swapped, "kept")


def test_a_run_that_is_not_valid_decides_nothing(run: Run) -> None:
    found = finding_of("t", "a", "kept", WELL, replace(run, outcome="failed", reason="noise"))
    assert (found.found, "the run is not valid: noise" in found.detail) == ("not testable", True)


def test_what_must_be_refused(run: Run) -> None:
    assert trouble(REFUSED, run, "refused") == ""
    assert trouble(WELL, run, "refused") == "was not refused"
    assert "the guest is lost" in trouble(replace(REFUSED, beats=False), run, "refused")


def test_memory_lost_without_a_word_is_a_hazard(run: Run) -> None:
    lost = replace(WELL, memory=(replace(MEMORY, kept=0, found="zeros instead"),))
    found = finding_of("t", "a", "told", lost, run, "same ids")
    assert (found.topic, found.claim, found.fix) == ("hazard", 0, "same ids")
    assert "memory lost without a word" in found.detail


def test_descriptors_that_nobody_looked_up(run: Run) -> None:
    assert left_over(WELL, run.fds) == ()
    assert left_over(replace(WELL, asked=("other 0",)), run.fds) == ("two 0",)


def test_ids_are_found_again(run: Run) -> None:
    found = found_again("a", [(WELL, run)])
    assert found is not None
    assert (found.claim, found.found) == (11, "shown")
    vain = found_again("a", [(replace(WELL, afresh=("two 0",)), run)])
    assert vain is not None
    assert vain.found == "refuted"
    assert found_again("a", [(REFUSED, run)]) is None


def test_the_answer_names_what_did_not_hold(run: Run) -> None:
    good = finding_of("good case", "a", "kept", WELL, run)
    bad = finding_of("bad case", "a", "kept", replace(WELL, stale=("one 0",)), run)
    again = found_again("a", [(WELL, run)])
    held, broken = answer("a", [good], again), answer("a", [good, bad], again)
    assert (held.found, held.test, held.claim) == ("shown", ANSWER, 12)
    assert (broken.found, broken.evidence) == ("refuted", bad.evidence)
    assert "did not hold in 1 of 2: bad case" in broken.detail
    assert "Ids are not the cause" in broken.detail
    vain = found_again("a", [(replace(WELL, afresh=("two 0",)), run)])
    assert "Ids are not the cause" not in answer("a", [bad], vain).detail


def test_without_a_case_there_is_no_answer(run: Run) -> None:
    failed = replace(run, outcome="failed", reason="noise")
    untold = finding_of("t", "a", "kept", WELL, failed)
    found = answer("a", [untold], None)
    assert (found.found, found.claim) == ("not testable", 12)
    assert "noise" in found.detail
    assert answer("a", [], None).detail == "nothing could be plugged"


def test_words_of_new_qemu_come_first(run: Run) -> None:
    log = "old: qemu-system-x86_64: late\nnew: qemu-system-x86_64: warning: x\nqemu-system: why"
    failed = replace(run, outcome="failed", reason="r [advice]", log_tail=log)
    assert qemus_words(failed) == "why"
    assert qemus_words(replace(failed, log_tail="")) == "r"
    assert qemus_words(run) == ""
