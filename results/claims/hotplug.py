"""Findings on devices and memory that were plugged and unplugged before a transfer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from results.qemu.log import error_messages, of_side
from results.records.hotplug import PluggedMemory, Plugging
from results.records.run import CarriedFd, Run

from .catalogue import Finding, Found

# How a case must end: with everything `kept`, or `refused` while old QEMU keeps running. The end of
# an operator's mistake is only `reported`, whatever it is.
Expected = Literal["kept", "refused", "reported"]

ANSWER = "all hot-plug cases"


def keys(fds: Iterable[CarriedFd]) -> tuple[str, ...]:
    """`NAME ID` of each descriptor."""
    return tuple(f"{fd.name} {fd.id}" for fd in fds)


def never_looked_up(seen: Plugging, fds: Iterable[CarriedFd]) -> tuple[str, ...]:
    """Descriptors that new QEMU received and never looked up."""
    return tuple(key for key in keys(fds) if seen.asked and key not in seen.asked)


def not_found(seen: Plugging, fds: Iterable[CarriedFd]) -> tuple[str, ...]:
    """Descriptors that new QEMU received and did not find when it looked them up."""
    carried = keys(fds)
    return tuple(key for key in seen.asked if key in carried and key in seen.afresh)


def transferred(seen: Plugging) -> bool:
    """Whether the guest moved to new QEMU, even if its run is invalid."""
    return not seen.old_state


def violations(seen: Plugging, run: Run, expected: Expected) -> str:
    """In what an attempt differs from the expected end; empty if in nothing.

    `kept`: the guest moved to new QEMU and runs there, its RAM is unchanged, every carried
    descriptor is the same open file, every byte of plugged memory is at its address and in its
    page frame, new QEMU created nothing anew, and old kept no descriptor that was closed.
    `refused`: the transfer was refused and the guest runs in old QEMU, after `cont` if necessary.
    """
    if expected == "reported":
        return ""
    if expected == "refused":
        if transferred(seen):
            return "was not refused"
        return "" if seen.beats else "refused, and the guest is lost"
    found = [] if transferred(seen) else [f"not transferred: {error_message(run)}"]
    found += [] if seen.beats else ["the guest does not run"]
    found += _harm(run) if transferred(seen) else []
    for memory in seen.memory:
        if memory.kept != memory.pages:
            lost = memory.pages - memory.kept
            found.append(f"{memory.name}: {lost} of {memory.pages} pages lost, {memory.found}")
        elif memory.same_frames != memory.pages:
            moved = memory.pages - memory.same_frames
            found.append(f"{memory.name}: {moved} of {memory.pages} pages in other frames")
    found += [f"not found, created anew: {', '.join(seen.afresh)}"] if seen.afresh else []
    found += [f"kept after it was closed: {', '.join(seen.stale)}"] if seen.stale else []
    return "; ".join(found)


def _harm(run: Run) -> list[str]:
    """Evidence of harm. RAM that was not checked is none; it makes the run invalid."""
    found = []
    if run.ram is not None and run.ram.bad_pages:
        found.append(f"guest RAM changed: {run.reason}")
    checks = run.proof.checks if run.proof is not None else ()
    found += [c.text for c in checks if c.name == "descriptors" and c.state == "broken"]
    return found


def outcome_line(seen: Plugging, run: Run) -> str:
    """The outcome of one attempt in one line with its figures."""
    dropped = [key for key in seen.kept_before if key not in seen.kept]
    unused = never_looked_up(seen, run.fds)
    parts = [
        "transferred" if transferred(seen) else "refused",
        f"{len(run.fds)} descriptors carried",
    ]
    parts += [f"old dropped {', '.join(dropped)}"] if dropped else []
    parts += [f"old kept after it was closed: {', '.join(seen.stale)}"] if seen.stale else []
    parts += [f"carried and never looked up: {', '.join(unused)}"] if unused else []
    parts += [f"not found, created anew: {', '.join(seen.afresh)}"] if seen.afresh else []
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
    runs = "the guest runs" if seen.beats else "the guest does not run"
    if transferred(seen):
        return runs
    if seen.revived is None:
        return f"old QEMU {seen.old_state}, {runs}"
    result = "resumed it" if seen.revived else "did not resume it"
    return f"old QEMU {seen.old_state}, the guest was stopped, `cont` {result}"


def error_message(run: Run) -> str:
    """Why a transfer failed: new QEMU's first error message, else old QEMU's, else the reason."""
    if run.outcome == "completed":
        return ""
    for side in ("new", "old"):
        found = error_messages(of_side(run.log_tail, side))
        if found:
            return found[0]
    return run.reason.partition(" [")[0]  # without our own advice


def lost_silently(seen: Plugging) -> bool:
    """Whether a transfer succeeded and lost plugged memory."""
    return transferred(seen) and any(memory.kept != memory.pages for memory in seen.memory)


def finding_of(
    test: str, build: str, expected: Expected, seen: Plugging, run: Run, fix: str = ""
) -> Finding:
    """The finding of one attempt. The outcome of an operator's mistake decides no claim."""
    wrong = violations(seen, run, expected)
    detail = outcome_line(seen, run)
    found: Found = "refuted" if wrong else "shown"
    silent = lost_silently(seen)
    if expected != "kept":
        hazard = silent or seen.revived is not None
        text = f"memory lost without an error: {detail}" if silent else detail
        return Finding(
            "hazard" if hazard else "ids",
            0,
            build,
            test,
            found,
            f"{wrong}; {text}" if wrong else text,
            (run.id,),
            "" if transferred(seen) else error_message(run),
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
        "" if transferred(seen) else error_message(run),
        fix if found == "refuted" else "",
    )


def lookups(build: str, attempts: Iterable[tuple[Plugging, Run]]) -> Finding | None:
    """Claim 11 from new QEMU's look-ups in all attempts; None if these show nothing.

    A descriptor that was carried and not found refutes, also where the transfer then failed.
    """
    known = [(seen, run) for seen, run in attempts if seen.asked]
    missing = [(run, key) for seen, run in known for key in not_found(seen, run.fds)]
    moved = [(seen, run) for seen, run in known if transferred(seen)]
    if not missing and not moved:
        return None
    carried = [fd for _, run in moved for fd in run.fds]
    ids = ", ".join(map(str, sorted({fd.id for fd in carried}))) or "none"
    looked_up = sum(key in keys(run.fds) for seen, run in moved for key in seen.asked)
    detail = (
        f"{len(carried)} descriptors carried in {len(moved)} transfers, ids: {ids}; new QEMU "
        f"looked up {looked_up} of them by name and id, {len(missing)} were not found"
    )
    if missing:
        run, key = missing[0]
        detail += f", first {key} in {run.id}"
    runs = dict.fromkeys(run.id for run, _ in missing) or [run.id for _, run in moved]
    found: Found = "refuted" if missing or not looked_up else "shown"
    return Finding("ids", 11, build, "names and ids of plugged devices", found, detail, tuple(runs))


def answer(build: str, kept: Sequence[Finding], ids: Finding | None) -> Finding:
    """Claim 12, the reviewer's concern, from all cases of one pair of builds that must be `kept`.

    `ids` is the finding on claim 11.
    """
    decided = [f for f in kept if f.found != "not testable"]
    if not decided:
        why = "; ".join(dict.fromkeys(f.detail for f in kept)) or "nothing could be plugged"
        return Finding("ids", 12, build, ANSWER, "not testable", why)
    broken = [f.test for f in decided if f.found == "refuted"]
    behind = [f for f in decided if f.found == "refuted"] or decided
    evidence = tuple(dict.fromkeys(run for f in behind for run in f.evidence))
    if broken:
        detail = f"broken in {len(broken)} of {len(decided)}: {'; '.join(broken)}"
        all_found = ids is not None and ids.found == "shown"
        if all_found and any("kept after it was closed" in f.detail for f in decided):
            detail += (
                ". Ids are not the cause, as every look-up succeeded: a name outlived its file"
            )
    else:
        detail = (
            f"{len(decided)} of {len(decided)} as expected: descriptors are named after their "
            "backend or device, unplugging it removes the name, and ids do not count devices"
        )
    return Finding("ids", 12, build, ANSWER, "refuted" if broken else "shown", detail, evidence)
