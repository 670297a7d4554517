"""What forbids a comparison of two sessions, and what only casts doubt on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from results.records.run import Run
from results.records.scenario import Session

# Keys of Session.environment. A kernel is half of what is measured (KVM, mmap, sockets), so another
# kernel is another host. In the lab VM `host` and `kernel` are the guest's.
_HOST = {
    "host": "host",
    "cpu": "CPU",
    "cpus": "number of CPUs",
    "memory_bytes": "memory in bytes",
    "hypervisor": "runs under a hypervisor",
    "kernel": "kernel",
}
_LAB = "lab"
# Settings of one host that move pauses. They are facts of a host too, but few people who compare
# two nights want to be stopped by a new microcode: they are told.
_SETTINGS = (
    "kernel_version",
    "cmdline",
    "microcode",
    "clocksource",
    "governor",
    "thp",
    "thp_shmem",
    "ksm",
    "smt",
    "isolated_cpus",
    "nohz_full_cpus",
    "mitigations",
    "kvm",
)
_UNKNOWN = "not recorded"


def differences(
    session_a: Session, session_b: Session, runs_a: Iterable[Run], runs_b: Iterable[Run]
) -> tuple[str, ...]:
    """Each thing in which A and B differ beside the build, `kernel: 6.1 in A, 6.12 in B`.

    Anything here forbids the comparison: lab or metal, the host, the probes, the dimensions of a
    scenario that both have. Empty when the two may be compared. A fact that one side did not record
    is a difference; one that neither did is none.
    """
    found = _lab(session_a, session_b)
    a, b = session_a.environment, session_b.environment
    found += _facts(a, b, _HOST)
    if session_a.probe_tier != session_b.probe_tier:
        found.append(_differ("probes", session_a.probe_tier, session_b.probe_tier))
    return (*found, *_dimensions(runs_a, runs_b))


def doubts(session_a: Session, session_b: Session) -> tuple[str, ...]:
    """Settings of the host that changed between A and B; they may be what moved."""
    settings = {key: key for key in _SETTINGS}
    return tuple(_facts(session_a.environment, session_b.environment, settings))


def _lab(session_a: Session, session_b: Session) -> list[str]:
    """A session in the lab VM has the key `lab`; one on metal has not, or has it empty."""
    a, b = (s.environment.get(_LAB, "") for s in (session_a, session_b))
    if a == b:
        return []
    if bool(a) != bool(b):
        return [_differ("lab or metal", "lab" if a else "metal", "lab" if b else "metal")]
    return [_differ("lab", a, b)]


def _facts(a: Mapping[str, str], b: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    return [
        _differ(name, a.get(key, _UNKNOWN), b.get(key, _UNKNOWN))
        for key, name in names.items()
        if a.get(key) != b.get(key)
    ]


def _dimensions(runs_a: Iterable[Run], runs_b: Iterable[Run]) -> list[str]:
    """Differing dimensions by name, for each scenario that both sides have."""
    side_a, side_b = _dimensions_of(runs_a), _dimensions_of(runs_b)
    found = []
    for scenario in (name for name in side_a if name in side_b):
        texts_a, texts_b = side_a[scenario], side_b[scenario]
        if texts_a == texts_b and len(texts_a) == 1:
            continue
        values_a, values_b = _values(texts_a), _values(texts_b)
        found += [
            _differ(f"{scenario}: {key}", values_a.get(key, _UNKNOWN), values_b.get(key, _UNKNOWN))
            for key in dict.fromkeys([*values_a, *values_b])
            # Two values on one side are as bad as one on each: that side is a mixture.
            if values_a.get(key) != values_b.get(key) or " and " in values_a.get(key, "")
        ]
    return found


def _dimensions_of(runs: Iterable[Run]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        found.setdefault(run.scenario, {})[run.dimensions] = None
    return {scenario: sorted(texts) for scenario, texts in found.items()}


def _values(texts: Sequence[str]) -> dict[str, str]:
    """Dimension → its value, or all of them joined by `and`."""
    values: dict[str, dict[str, None]] = {}
    for text in texts:
        for word in text.split():
            key, _, value = word.partition("=")
            values.setdefault(key, {})[value] = None
    return {key: " and ".join(found) for key, found in values.items()}


def _differ(name: str, a: str, b: str) -> str:
    return f"{name}: {a} in A, {b} in B"
