"""Marks that are missing, merged or swapped are noticed, and nothing is measured from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, permutations

import pytest

from results.judgement.blackout import find_pauses
from results.judgement.judge import judge
from results.records.recording import Event, Recording
from results.timeline.marks import MARK_NAMES
from results.timeline.order import check_marks
from results.timeline.phases import build_spans

MOST_MOVED = 0.10  # of the blackout, from phase to phase

Mutation = tuple[str, tuple[Event, ...]]
Key = tuple[int, str, str]


def key(event: Event) -> Key:
    return event.pid, event.mark, event.edge


def relabelled(event: Event, to: Key) -> Event:
    return replace(event, mark=to[1], edge=to[2])  # type: ignore[arg-type]


def mutations(marks: tuple[Event, ...]) -> Iterator[Mutation]:
    """Every mark or return dropped, every two of them merged or swapped in one way or another."""
    keys = list(dict.fromkeys(map(key, marks)))
    for one in keys:
        yield f"{one} dropped", tuple(e for e in marks if key(e) != one)
    for number, event in enumerate(marks):
        yield f"{key(event)} dropped once", marks[:number] + marks[number + 1 :]
    for one, other in permutations(keys, 2):
        merged = (relabelled(e, other) if key(e) == one else e for e in marks)
        yield f"{one} probed as {other}", tuple(merged)
    for one, other in combinations(keys, 2):
        names = {one: other, other: one}
        swapped = (relabelled(e, names[key(e)]) if key(e) in names else e for e in marks)
        yield f"{one} and {other} swapped", tuple(swapped)
    for one, other in permutations(range(len(marks)), 2):
        if marks[one].pid != marks[other].pid:
            continue
        yield (
            f"{key(marks[one])} at the time of {key(marks[other])}",
            tuple(replace(e, ns=marks[other].ns) if e is marks[one] else e for e in marks),
        )
        if one < other:
            times = {id(marks[one]): marks[other].ns, id(marks[other]): marks[one].ns}
            changed = (replace(e, ns=times[id(e)]) if id(e) in times else e for e in marks)
            yield f"times of {key(marks[one])} and {key(marks[other])} swapped", tuple(changed)


def shares(recording: Recording, window: tuple[int, int]) -> tuple[dict[str, int], bool]:
    """Phase → its share of the blackout, with the residual; and whether there is a warning."""
    checked = check_marks(recording)
    spans = build_spans(checked.trusted, recording.steps, recording.scenario.mode, window)
    found = {span.name: span.blackout_ns for span in spans}
    found["residual"] = window[1] - window[0] - sum(found.values())
    return found, bool(checked.warnings)


def moved(one: dict[str, int], other: dict[str, int]) -> int:
    return sum(abs(one.get(n, 0) - other.get(n, 0)) for n in one.keys() | other.keys()) // 2


def test_no_mutation_moves_much_of_the_blackout_without_a_warning(real_recordings):
    tried = 0
    for recording in real_recordings:
        pauses, _ = find_pauses(recording.brackets, recording.scenario.vcpus)
        longest = max(pauses, key=lambda pause: pause.length_ns)
        window = (longest.start_ns, longest.end_ns)
        right, warned = shares(recording, window)
        assert not warned
        pids = (recording.old.pid, recording.new.pid)
        marks = tuple(e for e in recording.events if e.pid in pids and e.mark in MARK_NAMES)
        others = tuple(e for e in recording.events if e.mark in ("exec", "vfio_ioctl"))
        for what, events in mutations(marks):
            found, warned = shares(replace(recording, events=events + others), window)
            tried += 1
            if moved(right, found) > MOST_MOVED * longest.length_ns:
                assert warned, (recording.id, what)
    assert tried > 10_000


# -- what is said of it, and what is still measured ----------------------------------------------


@pytest.fixture
def kvm(real_recordings) -> Recording:
    return next(r for r in real_recordings if r.scenario.mode == "cpr-transfer")


def changed(recording, mark, edge, **fields):
    """The recording without one edge of a mark, or with other values in its events."""
    of_mark = [e for e in recording.events if (e.mark, e.edge) == (mark, edge)]
    rest = tuple(e for e in recording.events if e not in of_mark)
    return replace(recording, events=(*rest, *(replace(e, **fields) for e in of_mark if fields)))


@pytest.mark.parametrize(
    ("mark", "edge", "unknown"),
    [
        ("setup", "return", {"ram_setup", "state_save"}),
        ("pause_vcpus", "return", {"vcpu_stop", "quiesce"}),
        ("complete", "return", {"state_save", "source_end"}),
        ("resume_vcpus", "return", {"vm_start", "first_entry"}),
        ("setup", "enter", {"save_start", "ram_setup"}),
    ],
)
def test_phases_without_a_return_or_an_entry_are_unknown(kvm, mark, edge, unknown):
    whole, run = judge(kvm), judge(changed(kvm, mark, edge))
    names = {span.name for span in whole.spans} - {span.name for span in run.spans}
    assert names == unknown
    what = "return" if edge == "return" else "entry"
    assert run.warnings == (f"the {what} of mark {mark} was not seen",)
    assert (run.outcome, run.blackout_ns) == (whole.outcome, whole.blackout_ns)
    assert run.residual_ns > whole.residual_ns


def test_phases_of_marks_out_of_order_are_unknown(kvm):
    load = next(e.ns for e in kvm.events if e.mark == "load_main")
    whole, run = judge(kvm), judge(changed(kvm, "vm_start", "enter", ns=load - 1))
    assert run.warnings == (
        "marks out of order, so their phases are unknown: "
        "load_main (new, enter), loaded (new, enter), vm_start (new, enter)",
    )
    assert {s.name for s in whole.spans} - {s.name for s in run.spans} == {
        "state_load",
        "activation",
        "vm_start",
    }
    assert (run.outcome, run.blackout_ns) == (whole.outcome, whole.blackout_ns)


def test_functions_out_of_order_do_not_testify(kvm):
    assert judge(kvm).witnesses.uprobe is not None
    stop = next(e.ns for e in kvm.events if e.mark == "vm_stop" and e.edge == "enter")
    run = judge(changed(kvm, "pause_vcpus", "return", ns=stop - 1))
    assert run.witnesses.uprobe is None


def test_a_mark_that_fires_on_the_other_side_is_missing(kvm):
    run = judge(changed(kvm, "setup", "enter", pid=kvm.new.pid))
    assert run.warnings == ("the entry of mark setup was not seen",)


def test_nothing_is_expected_of_a_transfer_that_was_not_traced_or_failed(kvm):
    assert check_marks(replace(kvm, events=(), probed=False)).warnings == ()
    assert check_marks(replace(kvm, events=(), failure="QEMU said no")).warnings == ()
    assert len(check_marks(replace(kvm, events=())).warnings) == 16
