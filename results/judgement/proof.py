"""The verdict on RAM, descriptors and pins: pure; used live, in replay and by the controls.

A verdict is `held` if every check that applies to the run held and every control was caught,
`broken` if any check is broken, and `unproven` if evidence is missing or a control was missed.
"""

from __future__ import annotations

from collections.abc import Iterable

from results.records.evidence import (
    Accounts,
    Check,
    Control,
    Dma,
    Evidence,
    Frames,
    PinEvents,
    Proof,
    SameFile,
    Verdict,
    check_line,
)
from results.records.observations import DeviceContinuity
from results.records.reasons import Figure, because, shown_of
from results.records.scenario import MIB, Scenario
from results.timeline.vfio_calls import VfioCalls

from .dma_device import check_device
from .vfio import check_vfio

VFIO_CONTROL = "VFIO pins let go"
CONTROLS = ("private copy", "replaced page", "swapped descriptor", "pins let go")

# A private copy would show up as more anonymous memory in new QEMU than in old. The limit is half
# of what the guest touched, but no less than the difference seen between QEMUs of small guests.
_COPY_SHARE = 0.5
_OWN_NOISE_BYTES = 8 * MIB
# The kernel may be migrating some pages at any time; they are not mapped while it does.
_ABSENT_SHARE = 0.05


def needed_controls(scenario: Scenario) -> tuple[str, ...]:
    """The controls that must be caught; with a real device, its pins replace the pin holder's."""
    if not scenario.vfio:
        return CONTROLS
    return (*(name for name in CONTROLS if name != "pins let go"), VFIO_CONTROL)


def judge_proof(
    evidence: Evidence,
    scenario: Scenario,
    calls: VfioCalls | None = None,
    device: DeviceContinuity | None = None,
) -> Proof:
    """The verdict over all checks that apply to `scenario`.

    `calls` are those on the DMA mappings of assigned devices, if probes could see them; `device` is
    how a device driven by the payload survived.
    """
    checks = [
        check_frames(
            evidence.frames,
            0 if scenario.pinned or scenario.vfio else moved_pages(evidence.accounts),
        ),
        check_one_copy(evidence.accounts, scenario),
        check_files(evidence.files),
    ]
    if evidence.pinned_bytes:
        checks.append(check_pins(evidence.accounts, evidence.pinned_bytes, evidence.holder_lost))
        checks.append(check_dma(evidence.dma, evidence.holder_lost))
    elif scenario.pinned:
        checks.append(_unpinned(evidence.pins_missing))
    if scenario.mem_lock:
        checks.append(check_locked(evidence.accounts, scenario.ram_bytes))
    if evidence.pin_events is not None:
        checks.append(check_pin_events(evidence.pin_events, evidence.holder_lost))
    if scenario.vfio:
        checks += check_vfio(evidence, scenario, calls)
    if device is not None:
        checks.append(check_device(device))
    verdict, reason = _verdict(checks, evidence.controls, needed_controls(scenario))
    return Proof(verdict, reason, tuple(checks), evidence.controls, evidence.duration_ns)


def _unpinned(why: str) -> Check:
    if not why:
        return check_line("missing", "pins-none")
    return check_line("missing", "pins-refused", why=why)


def _verdict(
    checks: list[Check], controls: tuple[Control, ...], needed: tuple[str, ...]
) -> tuple[Verdict, str]:
    broken = [c for c in checks if c.state == "broken"]
    if broken:
        return "broken", _named(broken)
    slipped = [c.name for c in controls if not c.caught and c.name in needed]
    if slipped:
        return "unproven", because("control-missed", controls=", ".join(slipped)).text
    absent = [name for name in needed if name not in {c.name for c in controls}]
    if absent:
        return "unproven", because("control-lacking", controls=", ".join(absent)).text
    # Not every kernel can trace pin functions; where they can be traced they add to the proof.
    missing = [c for c in checks if c.state == "missing" and c.name != "pin events"]
    if missing:
        return "unproven", _named(missing)
    return "held", ""


def _named(checks: Iterable[Check]) -> str:
    """Checks as one text of sentences, each prefixed with the name of its check."""
    return "; ".join(f"{check.name}: {check.text}" for check in checks)


def moved_pages(accounts: Iterable[Accounts]) -> int:
    """Pages that the host's kernel migrated to other frames in the window, by its own counter."""
    counts = [a.migrated for a in accounts if a.migrated is not None]
    return max(counts) - min(counts) if counts else 0


def check_frames(frames: Frames, moved: int = 0) -> Check:
    """Physical identity: the same page frames at other virtual addresses.

    `moved` is how many unpinned pages the kernel migrated in the window: compaction may move the
    RAM of any process, independently of the transfer. Pinned pages cannot be migrated, so pass 0
    for them.
    """
    if frames.missing:
        return check_line("missing", "frames-hidden", why=frames.missing)
    if frames.differing:
        return _other_frames(frames, moved)
    if not frames.compared:
        return check_line("missing", "frames-unmapped")
    looked = frames.compared + frames.absent
    if frames.absent > _ABSENT_SHARE * looked:
        return check_line("missing", "frames-absent", absent=frames.absent, looked=looked)
    return _same_frames(frames)


def _other_frames(frames: Frames, moved: int) -> Check:
    seen = {"differing": frames.differing, "compared": frames.compared}
    if moved >= frames.differing * (frames.unit_bytes // 4096):
        return check_line("missing", "frames-unquiet", **seen, moved=moved)
    page, old, new = frames.first[0]
    offset = page * frames.unit_bytes
    return check_line("broken", "frames-differ", **seen, page=page, offset=offset, old=old, new=new)


def _same_frames(frames: Frames) -> Check:
    said: dict[str, Figure] = {
        "pages": frames.pages,
        "size": "2 MiB" if frames.unit_bytes > 4096 else "4 KiB",
        "old": frames.old_address,
        "ms": round(frames.duration_ns / 1e6),
    }
    looked = frames.compared + frames.absent
    if frames.compared == frames.pages:
        code = "frames-all"
    elif looked == frames.pages:
        code, said["compared"] = "frames-some", frames.compared
    else:
        code, said["looked"] = "frames-sample", looked
    if frames.old_address == frames.new_address:
        return check_line("held", f"{code}-together", **said)
    return check_line("held", code, **said, new=frames.new_address)


def check_one_copy(accounts: Iterable[Accounts], scenario: Scenario) -> Check:
    """No second copy: new QEMU has about as much anonymous memory as old QEMU."""
    points = tuple(accounts)
    resumed = _at(points, "resumed")
    own = {
        side: resumed.processes.get(side, {}).get("RssAnon") if resumed else None
        for side in ("old", "new")
    }
    old, new = own["old"], own["new"]
    if old is None or new is None:
        return check_line("missing", "memory-unread")
    before = _at(points, "before")
    grown = _grown(before, resumed)
    limit = max(_OWN_NOISE_BYTES, int(scenario.ram_bytes * scenario.touched * _COPY_SHARE))
    if new - old < limit <= grown:
        return check_line("missing", "memory-unquiet", grown_mib=grown // MIB)
    return check_line(
        "held" if new - old < limit else "broken",
        "memory-owned",
        ram_mib=scenario.ram_bytes // MIB,
        old_mib=old // MIB,
        new_mib=new // MIB,
        copy_mib=2 * limit // MIB,
    )


def _grown(before: Accounts | None, after: Accounts | None) -> int:
    """Growth of the host's shared memory; 0 if it is unknown."""
    if before is None or after is None:
        return 0
    return after.host.get("Shmem", 0) - before.host.get("Shmem", 0)


def check_files(files: tuple[SameFile, ...]) -> Check:
    """Every passed descriptor is the same open file in old and in new (kcmp)."""
    if not files:
        return check_line("missing", "no-descriptor")
    others = [f for f in files if f.same is False]
    if others:
        words = _listed(f"{f.name} id {f.id} (fd {f.old_fd} → {f.new_fd})" for f in others)
        return check_line("broken", "files-differ", files=words)
    unseen = [f for f in files if f.same is None]
    if unseen:
        first = unseen[0]
        return check_line(
            "missing",
            "files-uncompared",
            unseen=len(unseen),
            files=len(files),
            name=first.name,
            why=first.missing,
        )
    names = _listed(f"{f.name} {f.id}" for f in files)
    return check_line("held", "files-same", files=len(files), names=names)


def _listed(items: Iterable[str]) -> str:
    """The first few items, and how many more there are."""
    words = list(items)
    shown = shown_of(len(words))
    more = len(words) - shown
    return ", ".join([*words[:shown], *([f"{more} more"] if more else [])])


def check_pins(accounts: Iterable[Accounts], pinned_bytes: int, holder_lost: str = "") -> Check:
    """The holder's pins are accounted for at every point, and the host's total did not drop.

    The kernel releases the pins of a process that dies: its account proves nothing then.
    """
    if holder_lost:
        return check_line("missing", "pins-holder-lost", lost=holder_lost)
    points = tuple(accounts)
    held = {a.point: a.processes.get("holder", {}).get("VmPin") for a in points}
    if not held or None in held.values():
        return check_line("missing", "pins-unread")
    pinned_kib = pinned_bytes // 1024
    short = [(point, value or 0) for point, value in held.items() if (value or 0) < pinned_bytes]
    if short:
        point, value = short[0]
        return check_line(
            "broken", "pins-short", kib=value // 1024, point=point, pinned_kib=pinned_kib
        )
    said: dict[str, Figure] = {"kib": pinned_kib, "points": ", ".join(sorted(held))}
    totals = [a.pins for a in points if a.pins is not None]
    if not totals:
        return check_line("held", "pins-held-total-hidden", **said)
    moved = min(totals) - totals[0]
    if -moved * 4096 >= pinned_bytes:
        # The holder's own account is complete: another process on this host unpinned pages.
        return check_line("missing", "pins-unquiet", pages=-moved)
    return check_line("held", "pins-held", **said, before=totals[0], after=totals[-1])


def check_dma(writes: Iterable[Dma], holder_lost: str = "") -> Check:
    """QEMU's mapping contains what the emulated device wrote into its pinned pages."""
    done = tuple(write for write in writes if write.answered)
    for write in done:
        at: dict[str, Figure] = {"point": write.point}
        if write.error:
            return check_line("broken", "dma-failed", **at, error=write.error)
        if write.seen is None:
            return check_line("broken", "dma-unseen", **at, written=write.written)
        if write.seen != write.written:
            return check_line("broken", "dma-other", **at, seen=write.seen, written=write.written)
    if holder_lost:
        return check_line("missing", "dma-holder-lost", lost=holder_lost)
    if not done:
        return check_line("missing", "dma-none")
    return check_line("held", "dma-seen", points=", ".join(w.point for w in done))


def check_locked(accounts: Iterable[Accounts], ram_bytes: int) -> Check:
    """With mem-lock each process locks all of guest RAM while it exists."""
    points = tuple(accounts)
    values = {
        (a.point, side): a.processes.get(side, {}).get("VmLck")
        for a, side in ((a, s) for a in points for s in ("old", "new") if s in a.processes)
    }
    if not values or None in values.values():
        return check_line("missing", "locks-unread")
    short = {k: v for k, v in values.items() if (v or 0) < ram_bytes}
    if short:
        (point, side), value = next(iter(short.items()))
        return check_line("broken", "locks-short", side=side, mib=(value or 0) // MIB, point=point)
    sizes = ", ".join(
        f"{side} {(v or 0) // MIB} MiB at {point}" for (point, side), v in values.items()
    )
    return check_line("held", "locks-held", sizes=sizes)


def check_pin_events(events: PinEvents, holder_lost: str = "") -> Check:
    """No unpin, unmap or new pin by QEMU in the window, as far as the kernel can trace them."""
    if holder_lost:
        return check_line("missing", "pin-events-holder-lost", lost=holder_lost)
    if events.missing:
        return check_line("missing", "pin-events-hidden", why=events.missing)
    if events.lost:
        return check_line("missing", "pin-events-lost", events=events.lost)
    if not events.counts:
        return check_line("missing", "pin-events-untraced")
    fired = {k: v for k, v in events.counts.items() if v}
    if fired:
        counts = ", ".join(f"{k} {v} times" for k, v in fired.items())
        return check_line("broken", "pin-events-fired", counts=counts)
    shown = "kprobes" in events.tier
    return check_line(
        "held",
        "pin-events-none" if shown else "pin-events-none-shown",
        paths=", ".join(events.counts),
        tier=events.tier,
    )


def _at(accounts: Iterable[Accounts], point: str) -> Accounts | None:
    return next((a for a in accounts if a.point == point), None)
