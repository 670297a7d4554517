"""Reasons: every kind is parsed back from its present and its former wordings."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from string import Formatter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.records.evidence import Check, Proof
from results.records.observations import DeviceContinuity, Stream
from results.records.reasons import (
    KNOWN_FAILURE,
    PROOF_BROKEN,
    Reason,
    because,
    joined,
    key_of,
    read_reason,
    read_reasons,
    says_the_same,
)
from results.records.run import reasons_of
from results.records.sentences import reason_kinds
from results.records.sentences.reason_kinds import KINDS, Kind

ROOT = Path(__file__).parents[3]


def own_words(template: str) -> str:
    return "".join(literal for literal, *_ in Formatter().parse(template))


FREE = {code for code, kind in KINDS.items() if not own_words(kind.template)}
TOLD = sorted(set(KINDS) - FREE)
SENTENCES = sorted(set(TOLD) - {KNOWN_FAILURE})


def names(template: str) -> dict[str, str]:
    """Figure → its format specification, or its conversion."""
    parts = Formatter().parse(template)
    return {name: form or conversion or "" for _, name, form, conversion in parts if name}


def figures(template: str, number: int = 7):
    """A value for each figure, all different and none a prefix of another."""
    made = {}
    for place, (name, form) in enumerate(names(template).items()):
        value = number + 11 * place
        made[name] = value if form in ("d", "#x") else f"{name}-{value}"
    return made


def reason(code: str, number: int = 7) -> Reason:
    return because(code, **figures(KINDS[code].template, number))


# -- the table ----------------------------------------------------------------------------------


def test_kinds_without_own_words():
    assert {"other", "transfer-failed"} == {c for c in FREE if not KINDS[c].check}
    assert {"frames-hidden", "pins-refused", "pin-events-hidden"} == {
        code for code in FREE if KINDS[code].check
    }


@pytest.mark.parametrize("code", sorted(KINDS))
def test_former_wordings_have_the_same_figures(code):
    kind = KINDS[code]
    assert all(names(former) == names(kind.template) for former in kind.former)
    assert set(kind.gloss) <= set(names(kind.template))


def calls():
    """Every reason that the code creates: (file, code or None, names of its figures or None)."""
    for path in sorted((ROOT / "results").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
            if called not in ("because", "check_line"):
                continue
            at = node.args[0 if called == "because" else 1]
            whole = all(keyword.arg for keyword in node.keywords)
            figures = {keyword.arg for keyword in node.keywords} if whole else None
            yield path.name, at.value if isinstance(at, ast.Constant) else None, figures


def test_every_reason_in_the_code_has_a_kind_and_its_figures():
    given = [(where, code, figures) for where, code, figures in calls() if code is not None]
    assert len(given) > 60
    for where, code, figures in given:
        assert code in KINDS, where
        if figures is not None:
            assert figures == set(names(KINDS[code].template)), (where, code)


# -- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", TOLD)
@pytest.mark.parametrize("number", [7, -123, 0])
def test_every_kind_is_parsed_back(code, number):
    made = reason(code, number)
    assert read_reason(made.text) == made
    assert read_reasons(made.text if code != KNOWN_FAILURE else f"x {made.text}")[-1] == made


@pytest.mark.parametrize("code", sorted(code for code in TOLD if KINDS[code].check))
@pytest.mark.parametrize("before", ["", PROOF_BROKEN])
def test_proof_sentence_is_parsed_after_the_name_of_its_check(code, before):
    made = reason(code)
    (found,) = read_reasons(f"{before}{KINDS[code].check}: {made.text}")
    assert found.key == made.key


@pytest.mark.parametrize("code", sorted(FREE))
def test_text_without_own_words_is_its_own_key(code):
    made = because(code, **dict.fromkeys(names(KINDS[code].template), "QEMU said no: 3; sorry"))
    assert made.text == "QEMU said no: 3; sorry"
    assert key_of(made.text) == (made.key,) == (("other", {"text": made.text}),)


@given(
    st.lists(st.tuples(st.sampled_from(SENTENCES), st.integers(0, 10**12)), max_size=6),
    st.booleans(),
)
def test_joined_reasons_are_parsed_back(made, known):
    reasons = [reason(code, number) for code, number in made]
    if known and reasons:
        reasons.append(because(KNOWN_FAILURE, name="no-cpr-channel", means="that: do this"))
    assert read_reasons(joined(reasons)) == tuple(reasons)


@pytest.mark.parametrize("code", SENTENCES)
def test_qemu_messages_are_not_parsed_as_our_sentences(code):
    failed = because("transfer-failed", said="TransferRefused: x; y, first: 3 of 7 pages")
    told = (failed, reason(code))
    assert [r.key for r in read_reasons(joined(told))] == [r.key for r in told]


def test_unknown_sentences():
    assert read_reasons("") == ()
    assert read_reason("it was fine") == Reason("other", {"text": "it was fine"}, "it was fine")
    assert key_of("it; was fine") == (("other", {"text": "it; was fine"}),)


def test_meaning_of_a_known_failure_is_not_compared():
    one = because(KNOWN_FAILURE, name="invtsc", means="invtsc forbids it")
    other = because(KNOWN_FAILURE, name="invtsc", means="another advice")
    assert one.figures == {"name": "invtsc"}
    assert one.key == other.key
    assert one.text != other.text
    assert joined([reason("ram-unchecked"), one]) == (
        "guest RAM was not checked [invtsc: invtsc forbids it]"
    )


# -- other words --------------------------------------------------------------------------------


@pytest.fixture
def reworded(monkeypatch):
    """Reword a kind; the old template becomes a former one."""

    def reword(code: str, template: str) -> None:
        kind = KINDS[code]
        changed = replace(kind, template=template, former=(kind.template, *kind.former))
        monkeypatch.setitem(reason_kinds.KINDS, code, changed)

    return reword


def test_former_wordings_compare_equal(reworded):
    old = because("ram-changed", bad=2, pages=100, first="page 0x1234")
    reworded("ram-changed", "RAM differs; first {first!s}, {bad:d} pages of {pages:d}")
    new = because("ram-changed", bad=2, pages=100, first="page 0x1234")
    assert new.text == "RAM differs; first page 0x1234, 2 pages of 100"
    assert read_reason(old.text) == old
    assert read_reason(new.text) == new
    assert key_of(f"{old.text}; guest RAM was not checked") == key_of(
        f"{new.text}; guest RAM was not checked"
    )
    assert key_of(old.text) != key_of(new.text.replace("2 pages", "3 pages"))


def test_sentences_in_records_are_compared_by_code_and_figures(reworded):
    lost, idle = reason("stream-torn").text, reason("device-idle").text
    one = (
        Stream("net", 1, 9, 0, 0, 3, None, None, (lost,)),
        DeviceContinuity("0000:01:00.0", 0, 0, 0, 0, 0, 0, None, None, (idle,)),
        Proof("broken", f"device DMA: {idle}", (Check("device DMA", "broken", idle),)),
    )
    reworded("stream-torn", "{stream} lost {bytes:d} bytes at its end")
    reworded("device-idle", "{device} did nothing")
    lost, idle = reason("stream-torn").text, reason("device-idle").text
    other = (
        replace(one[0], troubles=(lost,)),
        replace(one[1], troubles=(idle,)),
        Proof("broken", f"device DMA: {idle}", (Check("device DMA", "broken", idle),)),
    )
    assert one != other
    assert says_the_same(one, other)
    assert not says_the_same(one, (other[0], other[1], replace(other[2], verdict="unproven")))
    further = replace(other[0], troubles=(reason("stream-torn", 8).text,))
    assert not says_the_same(one, (further, *other[1:]))
    assert not says_the_same(one[0], replace(one[0], troubles=()))


# -- of a run -----------------------------------------------------------------------------------


def test_reasons_are_stored_with_a_run(make_run):
    told = (reason("ram-changed"), reason("vcpu-still"))
    run = make_run(outcome="failed", reason=joined(told), reasons=told)
    assert msgspec.json.decode(msgspec.json.encode(run), type=type(run)) == run
    assert reasons_of(run) == told


def test_reasons_of_an_older_run_are_parsed_from_its_text(make_run):
    told = (reason("ram-changed"), reason("vcpu-still"))
    assert reasons_of(make_run(outcome="failed", reason=joined(told))) == told
    assert reasons_of(make_run()) == ()


def test_present_template_comes_first():
    assert Kind("new", former=("old", "older")).templates == ("new", "old", "older")
