"""Devices and memory plugged and unplugged before a transfer: what was seen, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from results.qemu.log import error_messages, of_side
from results.records.hotplug import Expected, PluggedMemory, Plugging

from .catalogue import Finding, Found

if TYPE_CHECKING:
    from results.records.run import CarriedFd, Run

# How a case is expected to end: `kept` whole, `refused` with old QEMU going on, or `told`: what
# comes of it is an operator's mistake, and is said, whatever it is.
ANSWER = "the answer of all cases"


def pairs(fds: Iterable[CarriedFd]) -> tuple[str, ...]:
    """Name and id of descriptors, as text."""
    return tuple(f"{fd.name} {fd.id}" for fd in fds)


def left_over(seen: Plugging, fds: Iterable[CarriedFd]) -> tuple[str, ...]:
    """Descriptors that new QEMU received and never looked up."""
    return tuple(pair for pair in pairs(fds) if seen.asked and pair not in seen.asked)


def transferred(seen: Plugging) -> bool:
    """Whether new QEMU took the guest over, whatever is to be said of the run."""
    return not seen.old_state


def trouble(seen: Plugging, run: Run, expected: Expected) -> str:
    """What speaks against the expected end; empty: nothing. The rules, for `kept`:

    new QEMU took the guest over, it beats, its RAM is whole, every carried descriptor is the same
    open file, every byte of plugged memory is where it was and in the same frame, new QEMU opened
    nothing afresh, and old kept no descriptor that was closed. For `refused`: it was, and the
    guest beats in old QEMU, if need be after `cont`.
    """
    if expected == "told":
        return ""
    if expected == "refused":
        if transferred(seen):
            return "was not refused"
        return "" if seen.beats else "refused, and the guest is lost"
    found = [] if transferred(seen) else [f"not transferred: {qemus_words(run)}"]
    found += [] if seen.beats else ["the guest stands still"]
    found += _harm(run) if transferred(seen) else []
    for memory in seen.memory:
        if memory.kept != memory.pages:
            lost = memory.pages - memory.kept
            found.append(f"{memory.name}: {lost} of {memory.pages} pages lost, {memory.found}")
        elif memory.same_frames != memory.pages:
            moved = memory.pages - memory.same_frames
            found.append(f"{memory.name}: {moved} of {memory.pages} pages in other frames")
    found += [f"opened afresh: {', '.join(seen.afresh)}"] if seen.afresh else []
    found += [f"kept after it was closed: {', '.join(seen.stale)}"] if seen.stale else []
    return "; ".join(found)


def _harm(run: Run) -> list[str]:
    found = []
    if run.ram is None or run.ram.bad_pages:
        found.append(f"guest RAM is not whole: {run.reason}")
    checks = run.proof.checks if run.proof is not None else ()
    found += [c.text for c in checks if c.name == "descriptors" and c.state == "broken"]
    return found


def outcome_line(seen: Plugging, run: Run) -> str:
    """What came of one attempt, in one line with its figures."""
    lost = [pair for pair in seen.kept_before if pair not in seen.kept]
    parts = [
        "transferred" if transferred(seen) else "refused",
        f"{len(run.fds)} descriptors carried",
    ]
    parts += [f"old let go of {', '.join(lost)}"] if lost else []
    parts += [f"old kept after it was closed: {', '.join(seen.stale)}"] if seen.stale else []
    nobodys = left_over(seen, run.fds)
    parts += [f"carried and never looked up: {', '.join(nobodys)}"] if nobodys else []
    parts += [f"opened afresh: {', '.join(seen.afresh)}"] if seen.afresh else []
    parts += [_memory_line(memory) for memory in seen.memory]
    if seen.connections is not None:
        parts.append(f"its socket was connected {seen.connections} times: not carried")
    parts.append(_guest_line(seen))
    return ", ".join(parts)


def _memory_line(memory: PluggedMemory) -> str:
    where = f" at {memory.address:#x}" if memory.address is not None else ""
    kept = f"{memory.name}{where}: {memory.kept} of {memory.pages} pages kept"
    frames = f" ({memory.same_frames} in the same frames)" if memory.kept else ""
    return f"{kept}{frames}{f', {memory.found}' if memory.found else ''}"


def _guest_line(seen: Plugging) -> str:
    if transferred(seen):
        return "the guest goes on" if seen.beats else "the guest stands still"
    if seen.revived is None:
        return f"old QEMU {seen.old_state}, the guest {'goes on' if seen.beats else 'stands still'}"
    back = "brought it back" if seen.revived else "did not bring it back"
    return f"old QEMU {seen.old_state}, the guest stood still, `cont` {back}"


def qemus_words(run: Run) -> str:
    """Why a transfer failed: the first complaint of new QEMU, else of old, else the reason."""
    if run.outcome == "completed":
        return ""
    for side in ("new", "old"):
        found = error_messages(of_side(run.log_tail, side))
        if found:
            return found[0]
    return run.reason.partition(" [")[0]  # without our own advice


def lost_silently(seen: Plugging) -> bool:
    """Whether a transfer went well and left plugged memory behind."""
    return transferred(seen) and any(memory.kept != memory.pages for memory in seen.memory)


def finding_of(
    test: str, build: str, expected: Expected, seen: Plugging, run: Run, fix: str = ""
) -> Finding:
    """The finding of one attempt. What an operator's mistake leads to decides no claim."""
    wrong = trouble(seen, run, expected)
    detail = outcome_line(seen, run)
    found: Found = "refuted" if wrong else "shown"
    silent = lost_silently(seen)
    if expected != "kept":
        hazard = silent or seen.revived is not None
        said = f"memory lost without a word: {detail}" if silent else detail
        return Finding(
            "hazard" if hazard else "ids",
            0,
            build,
            test,
            found,
            f"{wrong}; {said}" if wrong else said,
            (run.id,),
            "" if transferred(seen) else qemus_words(run),
            fix if silent or not transferred(seen) else "",
        )
    if not wrong and run.outcome == "failed":
        found, wrong = "not testable", f"the run is not valid: {run.reason}"
    return Finding(
        "ids",
        0,
        build,
        test,
        found,
        f"{wrong}; {detail}" if wrong else detail,
        (run.id,),
        "" if transferred(seen) else qemus_words(run),
        fix if found == "refuted" else "",
    )


def found_again(build: str, attempts: Iterable[tuple[Plugging, Run]]) -> Finding | None:
    """Claim 11 from transfers of plugged devices: what was carried, by which ids, and found."""
    known = [(seen, run) for seen, run in attempts if transferred(seen) and seen.asked]
    if not known:
        return None
    missing = [
        f"{pair} in {run.id}"
        for seen, run in known
        for pair in seen.asked
        if pair in pairs(run.fds) and pair in seen.afresh
    ]
    carried = [fd for _, run in known for fd in run.fds]
    ids = ", ".join(map(str, sorted({fd.id for fd in carried})))
    looked = sum(pair in pairs(run.fds) for seen, run in known for pair in seen.asked)
    detail = (
        f"{len(carried)} descriptors carried in {len(known)} transfers, all with id {ids}; new "
        f"QEMU looked {looked} of them up by name and id, {len(missing)} in vain"
    )
    return Finding(
        "ids",
        11,
        build,
        "names and ids of plugged devices",
        "refuted" if missing or not looked else "shown",
        detail,
        tuple(run.id for _, run in known),
    )


def answer(build: str, kept: Sequence[Finding], again: Finding | None) -> Finding:
    """Claim 12: the reviewer's worry, answered from what was to be `kept` on one pair of builds.

    `again` is what was found of claim 11.
    """
    decided = [f for f in kept if f.found != "not testable"]
    if not decided:
        why = "; ".join(dict.fromkeys(f.detail for f in kept)) or "nothing could be plugged"
        return Finding("ids", 12, build, ANSWER, "not testable", why)
    broken = [f.test for f in decided if f.found == "refuted"]
    said = [f for f in decided if f.found == "refuted"] or decided
    evidence = tuple(dict.fromkeys(run for f in said for run in f.evidence))
    if broken:
        detail = f"did not hold in {len(broken)} of {len(decided)}: {'; '.join(broken)}"
        found_all = again is not None and again.found == "shown"
        if found_all and any("kept after it was closed" in f.detail for f in decided):
            detail += (
                ". Ids are not the cause, all look-ups were answered: a name outlived its file"
            )
    else:
        detail = (
            f"{len(decided)} of {len(decided)} came out as they must; each descriptor goes by the "
            "name of its backend or device, an unplugged one takes its name away, and ids do not "
            "count devices"
        )
    return Finding("ids", 12, build, ANSWER, "refuted" if broken else "shown", detail, evidence)
