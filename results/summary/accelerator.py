"""Whether results were measured under TCG, QEMU's emulation, and why: they are not those of KVM."""

from __future__ import annotations

from collections.abc import Iterable

from results.records.scenario import Scenario, Session

_KEY = "tcg"  # of Session.environment
REQUESTED = "requested by --accel tcg"


def tcg_facts(scenarios: Iterable[Scenario], kvm_refusal: str) -> dict[str, str]:
    """What a session stores where it measures under TCG; `kvm_refusal` is empty if KVM works."""
    if all(scenario.accel != "tcg" for scenario in scenarios):
        return {}
    return {_KEY: f"no usable KVM: {kvm_refusal}" if kvm_refusal else REQUESTED}


def under_tcg(dimensions: str) -> bool:
    """Whether a run with these dimensions was measured under TCG."""
    return "accel=tcg" in dimensions.split()


def tcg_note(session: Session, dimensions: Iterable[str]) -> str:
    """`measured under TCG, not KVM (cause)` where all results were; empty otherwise."""
    found = list(dimensions)
    if not found or not all(map(under_tcg, found)):
        return ""
    cause = session.environment.get(_KEY, "cause unknown")
    return f"measured under TCG, not KVM ({cause})"
