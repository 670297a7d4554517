"""The verdict on an attempted refusal: shown, refuted in many ways, or not testable."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from reports.terminal.style import look_for, write
from reports.terminal.waterfall import waterfall
from results.claims.catalogue import SET_ASIDE, Claim, rows
from results.claims.refusal_verdicts import (
    decide,
    decide_after_completion,
    decide_allowed,
    decide_restarted,
    harm,
    untestable,
)
from results.claims.refusals import ACCEPTED, EPC, HAZARDS, REFUSALS, VFIO, find, release
from results.judgement.judge import judge
from results.records.observations import Aftermath, RamCheck
from results.records.recording import Recording
from results.records.run import Run
from results.store.recordings import new_run_id, read_recording, write_recording
from results.store.tables.columns import columns_of
from results.summary.cells import summarise

SESSION = "20261123-221500-3f2a"
WORDS = "missing 'cpr' migration channel"
FINE = Aftermath(
    said_by="old QEMU, asked to migrate",
    runstate="running",
    beats_before=(100, 4_294_967_290),
    beats_after=(170, 4),  # counts of 32 bits wrap
    ram=RamCheck(4096, 4096 * 4080, 0),
)
GONE = replace(FINE, runstate="postmigrate", migration="completed", beats_after=FINE.beats_before)

Make = Callable[..., Recording]


@pytest.fixture
def attempt(make_run: Any, make_recording: Any) -> Make:
    def make(name: str = "no-cpr-channel", failure: str = WORDS, **changes: Any) -> Recording:
        run = make_run(scenario=f"refusal.{name}")
        fields: dict[str, Any] = {"failure": failure, "aftermath": FINE, "probed": False}
        recording: Recording = replace(make_recording(run), **(fields | changes))
        return recording

    return make


def test_refused_in_known_words_with_the_guest_unharmed_is_shown(
    attempt: Make, make_run: Any
) -> None:
    run = make_run(scenario="refusal.then-allowed")
    found = decide(find("no-cpr-channel"), attempt(), "system", run)
    assert (found.found, found.claim, found.topic, found.build) == ("shown", 4, "refusal", "system")
    assert found.quote == WORDS
    assert found.evidence == (attempt().id, run.id)
    assert found.fix
    assert "beats +70, +10, 4096 pages of RAM unchanged; then transferred" in found.detail
    alone = decide(find("no-cpr-channel"), attempt(), "system")
    assert "then transferred" not in alone.detail


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"failure": "Permission denied"}, "refused in other words than"),
        ({"failure": f"{WORDS}!"}, "refused in other words than"),
        ({"failure": f"x {WORDS}"}, "refused in other words than"),
        ({"failure": f"{ACCEPTED}it went on"}, "not refused: it went on"),
        ({"failure": ""}, "did not refuse"),
        ({"aftermath": replace(FINE, runstate="paused")}, "old QEMU is paused"),
        ({"aftermath": replace(FINE, runstate="gone")}, "old QEMU is gone"),
        ({"aftermath": replace(FINE, beats_after=(170, 4_294_967_290))}, "no beat of vCPU 1"),
        ({"aftermath": replace(FINE, pattern_errors=2)}, "found 2 changed words"),
        ({"aftermath": replace(FINE, ram=RamCheck(4096, 1, 3))}, "3 of 4096 pages"),
    ],
)
def test_other_words_and_harm_refute(attempt: Make, changes: dict[str, Any], reported: str) -> None:
    found = decide(find("no-cpr-channel"), attempt(**changes), "system")
    assert found.found == "refuted"
    assert reported in found.detail
    words = attempt(**changes).failure
    assert found.quote == ("" if words.startswith(ACCEPTED) else words)


@pytest.mark.parametrize(
    ("aftermath", "reported"),
    [
        (None, "the guest was not examined"),
        (replace(FINE, beats_before=(), beats_after=()), "no vCPU was watched"),
        (replace(FINE, ram=None), "RAM was not checked"),
        (replace(FINE, ram=RamCheck(0, 0, 0)), "RAM was not checked"),
    ],
)
def test_a_guest_that_was_not_examined_decides_nothing(
    attempt: Make, aftermath: Aftermath | None, reported: str
) -> None:
    refusal = find("no-cpr-channel")
    found = decide(refusal, attempt(aftermath=aftermath), "system")
    assert (found.found, reported in found.detail) == ("not testable", True)
    wrong = decide(refusal, attempt(failure="other", aftermath=aftermath), "system")
    assert wrong.found == "refuted", "evidence against it outweighs what is missing"


def test_a_failed_transfer_afterwards_refutes(attempt: Make, make_run: Any) -> None:
    run = make_run(outcome="failed", reason="no way")
    found = decide(find("no-cpr-channel"), attempt(), "system", run)
    assert found.found == "refuted"
    assert "the transfer afterwards failed: no way" in found.detail


def test_an_unmeasured_transfer_afterwards_says_nothing(attempt: Make, make_run: Any) -> None:
    run = make_run(outcome="failed", reason="3 probe records were lost")
    found = decide(find("no-cpr-channel"), attempt(), "system", run)
    assert found.found == "shown"
    assert "could not be judged: 3 probe records were lost" in found.detail
    allowed = decide_allowed(find("private-aux-ram"), run, "system", "with it")
    assert (allowed.found, allowed.detail) == ("not testable", run.reason)


def test_a_transfer_without_the_cause_must_complete(make_run: Any) -> None:
    shown = decide_allowed(find("private-aux-ram"), make_run(), "system", "with it")
    assert (shown.found, shown.claim) == ("shown", 6)
    bad = make_run(outcome="failed", reason="no way")
    refuted = decide_allowed(find("private-aux-ram"), bad, "system", "with it")
    assert (refuted.found, refuted.detail) == ("refuted", "no way")


@pytest.mark.parametrize(
    ("changes", "verdict", "reported"),
    [
        ({}, "shown", "4096 pages of RAM unchanged"),
        ({"runstate": "running"}, "refuted", "old QEMU is running afterwards, not postmigrate"),
        ({"beats_after": (101, 4)}, "refuted", "the guest runs in old QEMU as well"),
        ({"ram": RamCheck(4096, 1, 1)}, "refuted", "1 of 4096 pages"),
        ({"ram": None}, "not testable", "old QEMU was not examined"),
        ({"pattern_errors": 1}, "refuted", "found 1 changed words"),
    ],
)
def test_after_completion_the_guest_stays_stopped_in_old(
    attempt: Make, changes: dict[str, Any], verdict: str, reported: str
) -> None:
    words = "completed, new QEMU ran the guest and is gone"
    seen = attempt(failure=words, aftermath=replace(GONE, **changes))
    found = decide_after_completion(find("new-dies-after-completion"), seen, "system")
    assert found.found == verdict, found
    assert reported in found.detail
    assert found.quote == "", "these are not QEMU's words"
    failed = replace(seen, failure="failed, new QEMU ran the guest and is gone")
    other = decide_after_completion(find("new-dies-after-completion"), failed, "system")
    assert other.found == "refuted"


@pytest.mark.parametrize(
    ("changes", "found", "reported"),
    [
        ({}, "shown", "no changed word"),
        ({"pattern_errors": 1}, "shown", "found 1 changed words"),
        ({"ram": RamCheck(4096, 1, 2)}, "shown", "2 of 4096 pages"),
        ({"runstate": "postmigrate"}, "refuted", "old QEMU is postmigrate"),
    ],
)
def test_a_guest_restarted_in_old_is_a_hazard_harmed_or_not(
    attempt: Make, changes: dict[str, Any], found: str, reported: str
) -> None:
    hazard = find("cont-in-postmigrate")
    seen = attempt(failure="cont was accepted", aftermath=replace(FINE, **changes))
    finding = decide_restarted(hazard, seen, "system")
    assert (finding.found, finding.quote) == (found, "")
    assert reported in finding.detail
    refused = decide_restarted(hazard, replace(seen, failure="Permission denied"), "system")
    assert refused.found == "refuted"
    unseen = decide_restarted(hazard, replace(seen, aftermath=None), "system")
    assert unseen.found == "not testable"


def test_an_untestable_refusal_gives_the_reason_and_decides_nothing() -> None:
    found = untestable(EPC, "system", "no SGX", "invalid object type: memory-backend-epc")
    assert (found.found, found.claim, found.detail) == ("not testable", 7, "no SGX")
    assert found.quote.startswith("invalid object type")


def test_one_refutation_outweighs_a_shown_finding(attempt: Make) -> None:
    refusal = find("no-cpr-channel")
    good = decide(refusal, attempt(), "system")
    bad = decide(refusal, attempt(failure="other"), "system")
    verdicts = {row.claim.number: row.found for row in rows([good, bad], ["system"])}
    assert verdicts[4] == "refuted"
    assert isinstance(rows([good], ["system"])[3].claim, Claim)
    assert {row.claim.number: row.found for row in rows([good], ["system"])}[4] == "shown"


@pytest.mark.parametrize(
    ("name", "words", "others"),
    [
        ("private-backend", "Memory region {} is not compatible with CPR. share=on is required for "
         "memory-backend objects, and aux-ram-share=on is required.", ("m1", "pc.bios")),
    ],
)  # fmt: skip
def test_another_ram_block_is_another_refusal(
    attempt: Make, name: str, words: str, others: tuple[str, str]
) -> None:
    own, other = (words.format(block) for block in others)
    assert decide(find(name), attempt(failure=own), "system").found == "shown"
    assert decide(find(name), attempt(failure=other), "system").found == "refuted"


def test_names_patterns_and_labels_are_usable() -> None:
    every = (*REFUSALS, *HAZARDS, EPC, VFIO)
    assert len({each.name for each in every}) == len(every)
    assert len({each.test for each in every}) == len(every), "findings are distinguished by it"
    for each in every:
        re.compile(each.words)
        scenario = f"{each.topic}.{each.name}"
        assert new_run_id(SESSION, f"{scenario}+trixie-backports", 1, 1)
        assert scenario.startswith(SET_ASIDE)
        assert each.means
        assert each.fix
    for each in REFUSALS:
        assert not re.fullmatch(each.words, ""), f"{each.name} would match an empty text"
        assert not re.fullmatch(each.words, f"{ACCEPTED}anything")


@pytest.mark.parametrize(
    ("name", "version", "belongs"),
    [
        ("nvme", "10.0.2 (Debian 1:10.0.2+ds-2)", True),
        ("nvme", "10.2.1", True),
        ("nvme", "11.1.3 (Debian)", False),
        ("cpr-exec-without-command", "10.0.13", False),
        ("cpr-exec-without-command", "11.1.3", True),
        ("invtsc", "11.1.3", True),
    ],
)
def test_a_release_refuses_what_it_cannot_do(name: str, version: str, belongs: bool) -> None:
    assert find(name).belongs(release(version)) is belongs


def test_a_malformed_version_belongs_to_no_refusal() -> None:
    assert release("unknown") == (0, 0)
    assert not find("invtsc").belongs(release("unknown"))


# -- in the store and in reports --------------------------------------------------------------


def test_an_attempt_is_a_failed_run_and_enters_no_statistic(attempt: Make) -> None:
    run = judge(attempt())
    assert run.outcome == "failed"
    assert run.reason.startswith(WORDS)
    assert "[no-cpr-channel: " in run.reason
    assert run.aftermath == FINE
    (summary,) = summarise(columns_of([run]))
    assert (summary.valid, summary.failed, summary.median_ns) == (0, 1, None)


def test_an_attempt_is_read_back_from_the_store(attempt: Make, tmp_path: Path) -> None:
    recording = attempt()
    write_recording(tmp_path, recording)
    assert read_recording(tmp_path, recording.id) == recording
    older = replace(recording, aftermath=None)
    assert judge(older).aftermath is None


def shown(run: Run) -> str:
    out = StringIO()
    look = look_for(out, {"COLUMNS": "100"})
    write(waterfall(run, look), out, look)
    return out.getvalue()


def test_show_prints_the_state_of_the_guest(attempt: Make) -> None:
    text = shown(judge(attempt()))
    assert "by old QEMU, asked to migrate" in text
    assert "old QEMU running" in re.sub(r" +", " ", text)
    assert "vCPU 0 100 -> 170" in text or "vCPU 0 100 → 170" in text
    assert "4096 pages compared, 0 changed" in text
    assert "witness" not in text, "there was no pause to measure"
    assert "pages compared" not in shown(judge(attempt(aftermath=None)))
    silent = replace(FINE, beats_before=(), beats_after=(), ram=None, migration="setup")
    assert "running, migration setup" in shown(judge(attempt(aftermath=silent)))


def test_a_guest_that_runs_on_is_not_harmed() -> None:
    assert harm(FINE) == []
