"""What failed runs did to their guests: every kind of reason says it, and the worst counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from results.records.harm import HARMS, at_least, exit_status, harm_in, harm_of, worst
from results.records.reasons import because
from results.records.run import Run
from results.records.sentences import harms
from results.records.sentences.proof_kinds import PROOF_KINDS
from results.records.sentences.reason_kinds import _HARM, _PROMISES, _WARNINGS, KINDS

MakeRun = Callable[..., Run]


def test_every_kind_says_what_it_does_to_the_guest() -> None:
    assert harms.HARMS.keys() == KINDS.keys()
    listed = (harms._DAMAGE, harms._LOSS, harms._UPDATE_FAILED, harms._MEASUREMENT, harms._NONE)
    counts = Counter(code for codes in listed for code in codes)
    assert set(counts.values()) == {1}, "a kind stands in two lists"
    assert {kind.harm for kind in KINDS.values()} == {*HARMS, None}


def test_a_broken_proof_is_damage_and_a_broken_contract_a_failed_update() -> None:
    found = {KINDS[code].harm for code in PROOF_KINDS}
    assert found == {"damage", "loss", None}, "no line of a proof is a mere measurement"
    assert {KINDS[code].harm for code in _PROMISES} == {"update-failed"}
    assert {KINDS[code].harm for code in _WARNINGS} == {None}
    assert None not in {KINDS[code].harm for code in _HARM}


@pytest.mark.parametrize(
    ("reason", "harm"),
    [
        ("3 of 16384 checked pages of guest RAM changed, first 0x1234000", "damage"),
        ("stream disk: 2 blocks came back with other contents, or failed", "damage"),
        ("proof broken: one copy: besides 256 MiB of guest RAM old QEMU has 11 MiB of anonymous "
         "memory, new 300 MiB (a copy would add 64 MiB)", "damage"),
        ("vCPU 1 stands still in new QEMU", "loss"),  # as an earlier version said it
        ("QEMU (pid 5) ended with SIGKILL while executing migrate: its log is empty; the guest was "
         "lost: old QEMU in state gone, new QEMU in state gone", "loss"),
        ("old QEMU refused migrate: missing 'cpr' migration channel [no-cpr-channel: without]",
         "update-failed"),
        ("17 probe records were lost", "measurement"),
        ("", "measurement"),
    ],
)  # fmt: skip
def test_a_stored_reason_is_read(reason: str, harm: str, make_run: MakeRun) -> None:
    assert harm_in(reason) == harm
    assert harm_of(make_run(outcome="failed", reason=reason)) == harm


def test_the_worst_of_several_reasons_counts(make_run: MakeRun) -> None:
    reasons = (
        because("records-lost", records=3),
        because("vcpu-still", vcpu=0),
        because("ram-changed", bad=1, pages=9, first="0x1"),
    )
    text = "; ".join(reason.text for reason in reasons)
    assert harm_of(make_run(outcome="failed", reason=text, reasons=reasons)) == "damage"
    assert harm_in(text) == "damage"
    assert worst(["measurement", None, "loss"]) == "loss"
    assert worst([None]) is None


def test_a_valid_run_harms_nobody(make_run: MakeRun) -> None:
    assert harm_of(make_run()) is None


def test_damage_is_never_zero() -> None:
    for fails_on in HARMS:
        assert exit_status(["measurement", "damage", None], fails_on) == 3
    assert exit_status(["update-failed"], "loss") == 0
    assert exit_status(["loss"], "loss") == 3
    assert exit_status(["measurement"]) == 3
    assert exit_status([None, None]) == exit_status([]) == 0
    assert at_least("loss") == ("damage", "loss")
