"""Recorded values that cannot be true: impossible ones, and those that exclude each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, pairwise

from results.records.reasons import Reason, because
from results.records.recording import Recording, VcpuBracket
from results.records.scenario import Mode
from results.timeline.marks import CPR_CHANNEL, SUCCEEDS


def inconsistencies(recording: Recording, handover_ns: int | None) -> list[Reason]:
    """Everything in a recording that contradicts itself; `handover_ns` as it was judged."""
    found = [*_brackets(recording), *_threads(recording), *_samples(recording)]
    found += [*_steps(recording), *_impossible(recording)]
    if handover_ns is not None and handover_ns <= 0:
        found.append(because("entered-before-migrate", early_ns=-handover_ns))
    return found


def _brackets(recording: Recording) -> Iterator[Reason]:
    """Each vCPU is recorded once, with times of its own."""
    vcpus = recording.scenario.vcpus
    for index, times in Counter(b.index for b in recording.brackets).items():
        if not 0 <= index < vcpus:
            yield because("bracket-unknown", vcpu=index, vcpus=vcpus)
        elif times > 1:
            yield because("bracket-repeated", vcpu=index)
    for one, other in combinations(recording.brackets, 2):
        if one.index != other.index and None not in _times(one) and _times(one) == _times(other):
            yield because("bracket-copied", vcpu=other.index, other=one.index)


def _times(bracket: VcpuBracket) -> tuple[int | None, int | None]:
    return bracket.run_last_exit_ns, bracket.run_first_entry_ns


def _threads(recording: Recording) -> Iterator[Reason]:
    """Each vCPU is recorded by its own thread of each QEMU."""
    old, new = recording.old.vcpu_tids, recording.new.vcpu_tids
    for bracket in recording.brackets:
        for side, tid, tids in (("old", bracket.old_tid, old), ("new", bracket.new_tid, new)):
            if 0 <= bracket.index < len(tids) and tid != tids[bracket.index]:
                yield because("thread-unknown", vcpu=bracket.index, tid=tid, side=side)
    if shared := sorted(set(old) & set(new)):
        yield because("threads-shared", tids=", ".join(map(str, shared)))


def _samples(recording: Recording) -> Iterator[Reason]:
    for beats in recording.beats:
        before = max((ns for ns, _ in beats.before), default=None)
        after = min((ns for ns, _ in beats.after), default=None)
        if before is not None and after is not None and after <= before:
            yield because("samples-disordered", vcpu=beats.index)


def _step_chains(mode: Mode) -> tuple[tuple[str, ...], ...]:
    """Steps that the controller takes in this order, whichever of them it takes in `mode`."""
    end = ("migrate_incoming", "completed", "done")
    if mode in CPR_CHANNEL or mode in SUCCEEDS:
        return (("migrate", "old_gone", "monitor", *end),)
    return (("migrate", *end), ("monitor", *end))


def _steps(recording: Recording) -> Iterator[Reason]:
    for chain in _step_chains(recording.scenario.mode):
        taken = [name for name in chain if name in recording.steps]
        for earlier, later in pairwise(taken):
            if recording.steps[later] < recording.steps[earlier]:
                yield because("steps-disordered", later=later, earlier=earlier)


def _impossible(recording: Recording) -> Iterator[Reason]:
    """Counts and lengths below zero."""
    ram, observed = recording.ram, recording.observed or ()
    values = [
        ("lost records", recording.lost),
        ("skipped probe calls", recording.skipped),
        ("downtime", recording.migrate_info.get("downtime", 0)),
        ("changed pages", ram.bad_pages if ram else 0),
        *(("changed words", beats.pattern_errors) for beats in recording.beats),
        *(("host faults", bracket.host_faults or 0) for bracket in recording.brackets),
        *(("guest faults", bracket.guest_faults or 0) for bracket in recording.brackets),
        *(("gap of the observer", gap.length_ns) for gap in observed),
        *(("reach of the observer", min(g.last_reach_ns, g.first_reach_ns)) for g in observed),
    ]
    for field, value in values:
        if value < 0:
            yield because("value-impossible", field=field, value=value)
