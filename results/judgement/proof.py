"""From evidence to the verdict on RAM, descriptors and pins: pure; live, replay, controls use it.

A verdict is `held` when every check that this run needs held and every control was caught;
`broken` when one check says so; `unproven` when evidence is missing or a control slipped through.
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
)
from results.records.observations import DeviceContinuity
from results.records.scenario import MIB, Scenario
from results.timeline.vfio_calls import VfioCalls

from .dma_device import check_device
from .vfio import check_vfio

VFIO_CONTROL = "VFIO pins let go"
CONTROLS = ("private copy", "replaced page", "swapped descriptor", "pins let go")

# A private copy would show as anonymous memory of new QEMU beyond what old QEMU has of its own;
# half of what the guest touched lies well clear of both, and of what small guests' QEMUs differ by.
_COPY_SHARE = 0.5
_OWN_NOISE_BYTES = 8 * MIB
# The kernel is moving some pages at any time; those are not mapped at that moment.
_ABSENT_SHARE = 0.05


def needed_controls(scenario: Scenario) -> tuple[str, ...]:
    """The controls that must be caught; a real device's pins take the stand-in's place."""
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

    `calls` are those by which assigned devices were handed over, where probes could see them;
    `device` is what became of one that the payload drives.
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
        checks.append(check_pins(evidence.accounts, evidence.pinned_bytes))
        checks.append(check_dma(evidence.dma))
    elif scenario.pinned:
        checks.append(Check("pins", "missing", evidence.pins_missing or "nothing was pinned"))
    if scenario.mem_lock:
        checks.append(check_locked(evidence.accounts, scenario.ram_bytes))
    if evidence.pin_events is not None:
        checks.append(check_pin_events(evidence.pin_events))
    if scenario.vfio:
        checks += check_vfio(evidence, scenario, calls)
    if device is not None:
        checks.append(check_device(device))
    verdict, reason = _verdict(checks, evidence.controls, needed_controls(scenario))
    return Proof(verdict, reason, tuple(checks), evidence.controls, evidence.duration_ns)


def _verdict(
    checks: list[Check], controls: tuple[Control, ...], needed: tuple[str, ...]
) -> tuple[Verdict, str]:
    broken = [c for c in checks if c.state == "broken"]
    if broken:
        return "broken", "; ".join(f"{c.name}: {c.text}" for c in broken)
    slipped = [c.name for c in controls if not c.caught and c.name in needed]
    if slipped:
        return "unproven", f"control not caught: {', '.join(slipped)}"
    absent = [name for name in needed if name not in {c.name for c in controls}]
    if absent:
        return "unproven", f"no passing control for: {', '.join(absent)}"
    # Events on pin paths add to the proof where a kernel has them; no kernel must.
    missing = [c for c in checks if c.state == "missing" and c.name != "pin events"]
    if missing:
        return "unproven", "; ".join(f"{c.name}: {c.text}" for c in missing)
    return "held", ""


def moved_pages(accounts: Iterable[Accounts]) -> int:
    """Pages that the host's kernel moved to other frames in the window, by its own count."""
    counts = [a.migrated for a in accounts if a.migrated is not None]
    return max(counts) - min(counts) if counts else 0


def check_frames(frames: Frames, moved: int = 0) -> Check:
    """Physical identity: the same page frames behind other virtual addresses.

    `moved` is how many pages the kernel has moved meanwhile that nothing pinned: compaction may
    take guest RAM to other frames in any process, and says nothing of the transfer. Pinned pages
    cannot be moved, so pass 0 for them.
    """
    name = "RAM in place"
    if frames.missing:
        return Check(name, "missing", frames.missing)
    if frames.differing:
        page, old, new = frames.first[0]
        if moved >= frames.differing * (frames.unit_bytes // 4096):
            return Check(
                name,
                "missing",
                f"{frames.differing} of {frames.compared} pages lie in another frame, while the "
                f"kernel moved {moved} pages of its own accord (compaction); repeat it on a quiet "
                "host, or with pinned RAM, which cannot be moved",
            )
        return Check(
            name,
            "broken",
            f"{frames.differing} of {frames.compared} pages lie in another frame, first page "
            f"{page:#x} ({page * frames.unit_bytes:#x} into RAM): frame {old:#x} in old, "
            f"{new:#x} in new QEMU",
        )
    if not frames.compared:
        return Check(name, "missing", "no page was mapped in both processes")
    if frames.absent > _ABSENT_SHARE * (frames.compared + frames.absent):
        return Check(
            name,
            "missing",
            f"{frames.absent} of {frames.compared + frames.absent} pages looked at were not mapped "
            "in both processes",
        )
    size = "2 MiB pages" if frames.unit_bytes > 4096 else "4 KiB pages"
    looked = frames.compared + frames.absent
    share = f"{frames.compared} of" if looked == frames.pages else f"a sample of {looked} of"
    if frames.compared == frames.pages:
        share = "all"
    where = (
        f"at {frames.old_address:#x} in old, {frames.new_address:#x} in new QEMU"
        if frames.old_address != frames.new_address
        else f"at the same address {frames.old_address:#x}"
    )
    return Check(
        name,
        "held",
        f"{share} {frames.pages} touched {size} in the same frames, {where} "
        f"({frames.duration_ns / 1e6:.0f} ms)",
    )


def check_one_copy(accounts: Iterable[Accounts], scenario: Scenario) -> Check:
    """No second copy: new QEMU has about as much anonymous memory of its own as old QEMU."""
    name = "one copy"
    points = tuple(accounts)
    resumed = _at(points, "resumed")
    own = {
        side: resumed.processes.get(side, {}).get("RssAnon") if resumed else None
        for side in ("old", "new")
    }
    old, new = own["old"], own["new"]
    if old is None or new is None:
        return Check(name, "missing", "RssAnon of both QEMUs could not be read")
    before = _at(points, "before")
    grown = _grown(before, resumed)
    limit = max(_OWN_NOISE_BYTES, int(scenario.ram_bytes * scenario.touched * _COPY_SHARE))
    if new - old < limit <= grown:
        return Check(
            name,
            "missing",
            f"shared memory of the host grew by {grown // MIB} MiB during the transfer: a copy, or "
            "another program; repeat it on a quiet host",
        )
    return Check(
        name,
        "held" if new - old < limit else "broken",
        f"beside {scenario.ram_bytes // MIB} MiB of guest RAM old QEMU holds {old // MIB} MiB of "
        f"its own, new {new // MIB} MiB (a copy would add {2 * limit // MIB} MiB)",
    )


def _grown(before: Accounts | None, after: Accounts | None) -> int:
    """How much more shared memory the host holds after than before; 0 where it is not told."""
    if before is None or after is None:
        return 0
    return after.host.get("Shmem", 0) - before.host.get("Shmem", 0)


def check_files(files: tuple[SameFile, ...]) -> Check:
    """Every carried descriptor is the same open file in old and in new (kcmp)."""
    name = "descriptors"
    if not files:
        return Check(name, "missing", "no descriptor was seen on the cpr channel")
    others = [f for f in files if f.same is False]
    if others:
        words = ", ".join(f"{f.name} id {f.id} (fd {f.old_fd} → {f.new_fd})" for f in others)
        return Check(name, "broken", f"another open file in new QEMU: {words}")
    unseen = [f for f in files if f.same is None]
    if unseen:
        return Check(
            name,
            "missing",
            f"{len(unseen)} of {len(files)} not compared, first {unseen[0].name}: "
            f"{unseen[0].missing}",
        )
    words = ", ".join(f"{f.name} {f.id}" for f in files)
    return Check(name, "held", f"{len(files)} carried, all the same open files: {words}")


def check_pins(accounts: Iterable[Accounts], pinned_bytes: int) -> Check:
    """The holder's pins are accounted for at every point, and the host's total has not dropped."""
    name = "pins"
    points = tuple(accounts)
    held = {a.point: a.processes.get("holder", {}).get("VmPin") for a in points}
    if not held or None in held.values():
        return Check(name, "missing", "VmPin of the pin holder could not be read")
    short = [(point, value or 0) for point, value in held.items() if (value or 0) < pinned_bytes]
    if short:
        point, value = short[0]
        return Check(
            name,
            "broken",
            f"VmPin of the holder is {value // 1024} KiB at `{point}`, "
            f"{pinned_bytes // 1024} KiB were pinned",
        )
    totals = [a.pins for a in points if a.pins is not None]
    moved = min(totals) - totals[0] if totals else 0
    total = (
        f", host's pinned pages {totals[0]} → {totals[-1]}"
        if totals
        else ", the host's total is not shown by this kernel"
    )
    if totals and -moved * 4096 >= pinned_bytes:
        # The holder's own account is whole: somebody else on this host let pages go.
        return Check(
            name,
            "missing",
            f"VmPin is whole, but {-moved} pages were unpinned on the host in the window; "
            "repeat it on a quiet host",
        )
    return Check(
        name, "held", f"VmPin {pinned_bytes // 1024} KiB at {', '.join(sorted(held))}{total}"
    )


def check_dma(writes: Iterable[Dma]) -> Check:
    """What the stand-in device wrote into its pinned pages is what QEMU's mapping shows."""
    name = "DMA"
    done = tuple(writes)
    if not done:
        return Check(name, "missing", "no write was made through the pinned pages")
    for write in done:
        if write.error or write.seen != write.written:
            seen = write.error or f"QEMU's mapping shows {write.seen}, not {write.written}"
            return Check(name, "broken", f"write at `{write.point}`: {seen}")
    return Check(name, "held", f"writes seen at {', '.join(w.point for w in done)}")


def check_locked(accounts: Iterable[Accounts], ram_bytes: int) -> Check:
    """With mem-lock both processes lock all of guest RAM while both live."""
    name = "mem-lock"
    points = tuple(accounts)
    values = {
        (a.point, side): a.processes.get(side, {}).get("VmLck")
        for a, side in ((a, s) for a in points for s in ("old", "new") if s in a.processes)
    }
    if not values or None in values.values():
        return Check(name, "missing", "VmLck could not be read")
    short = {k: v for k, v in values.items() if (v or 0) < ram_bytes}
    words = ", ".join(
        f"{side} {(v or 0) // MIB} MiB at {point}" for (point, side), v in values.items()
    )
    if short:
        (point, side), value = next(iter(short.items()))
        return Check(
            name, "broken", f"{side} QEMU locks only {(value or 0) // MIB} MiB at `{point}`"
        )
    return Check(name, "held", f"VmLck {words}")


def check_pin_events(events: PinEvents) -> Check:
    """No unpin, unmap or fresh pin by QEMU in the window, where the kernel lets us see them."""
    name = "pin events"
    if events.missing:
        return Check(name, "missing", events.missing)
    if events.lost:
        return Check(name, "missing", f"{events.lost} events were lost")
    fired = {k: v for k, v in events.counts.items() if v}
    if fired:
        words = ", ".join(f"{k} {v} times" for k, v in fired.items())
        return Check(name, "broken", f"between migrate and old's exit: {words}")
    unseen = "" if "kprobes" in events.tier else "; this kernel does not show pin functions"
    return Check(name, "held", f"none on {', '.join(events.counts)} ({events.tier}){unseen}")


def _at(accounts: Iterable[Accounts], point: str) -> Accounts | None:
    return next((a for a in accounts if a.point == point), None)
