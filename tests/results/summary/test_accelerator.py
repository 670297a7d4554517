"""Results of TCG are marked as such, with the cause."""

from dataclasses import replace

import pytest

from results.records.scenario import Scenario, Session
from results.summary.accelerator import tcg_facts, tcg_note, under_tcg

KVM = Scenario("anon", "anon", accel="kvm")
TCG = replace(KVM, accel="tcg")
REFUSAL = "/dev/kvm: No such file or directory"


def session(environment):
    return Session("20261123-221500-3f2a", 1, ("pausebench",), (), environment, "none")


@pytest.mark.parametrize(
    ("scenarios", "refusal", "cause"),
    [
        ([TCG], REFUSAL, f"no usable KVM: {REFUSAL}"),
        ([KVM, TCG], "", "requested by --accel tcg"),
    ],
)
def test_the_cause_is_stored_with_the_session(scenarios, refusal, cause):
    facts = tcg_facts(scenarios, refusal)
    note = tcg_note(session(facts), ["accel=tcg id=anon", "accel=tcg id=memfd"])
    assert note == f"measured under TCG, not KVM ({cause})"


def test_kvm_has_no_note():
    assert tcg_facts([KVM], "") == {}
    assert tcg_note(session({}), ["accel=kvm id=tcg"]) == ""
    assert tcg_note(session({}), ["accel=kvm", "accel=tcg"]) == ""
    assert tcg_note(session({}), []) == ""
    assert not under_tcg("accel=kvm cpu=accel=tcg-like")
