"""Every check of the proof in every state, and the verdict from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from results.judgement.judge import judge
from results.judgement.proof import (
    CONTROLS,
    check_dma,
    check_files,
    check_frames,
    check_locked,
    check_one_copy,
    check_pin_events,
    check_pins,
    judge_proof,
    moved_pages,
)
from results.records.evidence import (
    Accounts,
    Check,
    Control,
    Dma,
    Evidence,
    Frames,
    PinEvents,
    Point,
    SameFile,
)
from results.records.recording import Recording
from results.records.scenario import MIB, Scenario
from results.store.recordings import decode, encode

DATA = Path(__file__).parents[1] / "data"
RAM = 256 * MIB
POINTS = get_args(Point)

ANON = Scenario("anon", "anon", ram_bytes=RAM, touched=0.25)
PINNED = replace(ANON, id="pinned", pinned=True)
LOCKED = replace(ANON, id="anon-locked", mem_lock=True)

FRAMES = Frames(
    pages=16_384, compared=16_384, old_address=0x7F00_0000, new_address=0x7E00_0000,
    duration_ns=12_400_000,
)  # fmt: skip
FILES = (SameFile("ram0", 0, 13, 14, True), SameFile("pc.bios", 0, 15, 16, True))
DMA = tuple(Dma(point, n, n) for n, point in enumerate(("hold", "resumed", "end"), 7))
CAUGHT = tuple(Control(name, True, "RAM in place: another frame") for name in CONTROLS)


def account(point: Point, pins: int | None = 70_000, **fields: int) -> Accounts:
    """Accounting at a point, nothing wrong in any process; `new_VmLck=0` changes one figure."""
    both = {"RssAnon": 11 * MIB, "VmLck": RAM + MIB, "VmPin": 0}
    processes = {"holder": {"VmPin": RAM}}
    if point != "end":
        processes["old"] = dict(both)
    if point != "before":
        processes["new"] = dict(both)
    for name, value in fields.items():
        side, _, key = name.partition("_")
        processes[side][key] = value
    return Accounts(point, processes, {}, pins)


ACCOUNTS = tuple(account(point) for point in POINTS)


def at(point: Point, **fields: int | None) -> tuple[Accounts, ...]:
    """ACCOUNTS with a change at one point."""
    return tuple(account(point, **fields) if a.point == point else a for a in ACCOUNTS)


def without(side: str, key: str) -> tuple[Accounts, ...]:
    """ACCOUNTS without one figure of one process."""
    return tuple(
        replace(
            a,
            processes={
                s: {k: v for k, v in values.items() if (s, k) != (side, key)}
                for s, values in a.processes.items()
            },
        )
        for a in ACCOUNTS
    )


@pytest.fixture
def evidence() -> Evidence:
    """Complete evidence of a transfer in which nothing is wrong."""
    return Evidence(
        frames=FRAMES,
        files=FILES,
        accounts=ACCOUNTS,
        dma=DMA,
        pin_events=PinEvents("kprobes", {"unpin_user_pages": 0, "iommu_unmap": 0}),
        pinned_bytes=RAM,
        controls=CAUGHT,
        duration_ns=31_000_000,
    )


# RAM in place


def test_same_frames_hold_and_name_their_addresses() -> None:
    check = check_frames(FRAMES)
    assert (check.name, check.state) == ("RAM in place", "held")
    assert check.text == (
        "all 16384 touched 4 KiB pages in the same frames, "
        "at 0x7f000000 in old, 0x7e000000 in new QEMU (12 ms)"
    )


def test_a_sample_states_its_size_and_huge_pages_their_kind() -> None:
    text = check_frames(replace(FRAMES, pages=2_000_000, compared=262_144)).text
    assert "262144 of 2000000 touched 4 KiB pages" in text
    huge = replace(FRAMES, unit_bytes=2 * MIB, pages=32, compared=32)
    assert "all 32 touched 2 MiB pages" in check_frames(huge).text


def test_the_same_virtual_address_is_reported() -> None:
    check = check_frames(replace(FRAMES, new_address=FRAMES.old_address))
    assert check.state == "held"
    assert "at the same address 0x7f000000" in check.text


def test_another_frame_breaks_with_its_page_and_address() -> None:
    moved = replace(FRAMES, differing=2, first=((0x1234, 0xABC, 0xDEF), (0x1235, 1, 2)))
    check = check_frames(moved)
    assert check.state == "broken"
    assert "2 of 16384 pages" in check.text
    assert "first page 0x1234" in check.text
    assert "0x1234000" in check.text, "the address"
    assert "frame 0xabc in old, 0xdef in new QEMU" in check.text


@pytest.mark.parametrize(("moved", "state"), [(0, "broken"), (1, "broken"), (2, "missing")])
def test_pages_that_the_kernel_may_have_migrated_do_not_break_the_proof(
    moved: int, state: str
) -> None:
    differing = replace(FRAMES, differing=2, first=((0x1234, 0xABC, 0xDEF), (0x1235, 1, 2)))
    check = check_frames(differing, moved)
    assert check.state == state
    if state == "missing":
        assert "the kernel itself migrated 2 pages" in check.text
        assert "repeat it on a quiet host, or with pinned RAM" in check.text


def test_pages_migrated_elsewhere_change_nothing() -> None:
    assert check_frames(FRAMES, 100_000) == check_frames(FRAMES)


def test_migrated_pages_are_counted_in_the_window() -> None:
    counts = (700, 700, None, 742)
    points = tuple(replace(a, migrated=count) for a, count in zip(ACCOUNTS, counts, strict=True))
    assert moved_pages(points) == 42
    assert moved_pages(ACCOUNTS) == 0, "a kernel that does not count them"


def test_the_address_of_a_huge_page_is_that_of_its_head() -> None:
    moved = replace(FRAMES, unit_bytes=2 * MIB, differing=1, first=((9, 0xA00, 0xC00),))
    assert f"{9 * 2 * MIB:#x}" in check_frames(moved).text


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (
            Frames(missing="page frames are hidden: run as root with CAP_SYS_ADMIN"),
            "run as root with CAP_SYS_ADMIN",
        ),
        (replace(FRAMES, compared=0, absent=16_384), "no page was mapped in both processes"),
        (
            replace(FRAMES, compared=14_384, absent=2_000),
            "2000 of 16384 examined pages were not mapped in both processes",
        ),
    ],
    ids=["hidden", "nothing mapped", "many not mapped"],
)
def test_frames_that_could_not_be_compared_are_missing(frames: Frames, words: str) -> None:
    check = check_frames(frames)
    assert check.state == "missing"
    assert words in check.text


# one copy


def test_two_qemus_of_the_same_size_hold_one_copy() -> None:
    check = check_one_copy(ACCOUNTS, ANON)
    assert (check.name, check.state) == ("one copy", "held")
    assert "256 MiB of guest RAM" in check.text
    assert "old QEMU has 11 MiB of anonymous memory, new 11 MiB" in check.text


@pytest.mark.parametrize(
    ("extra_mib", "state"), [(0, "held"), (31, "held"), (32, "broken"), (64, "broken")]
)
def test_a_copy_of_what_the_guest_touched_breaks(extra_mib: int, state: str) -> None:
    check = check_one_copy(at("resumed", new_RssAnon=(11 + extra_mib) * MIB), ANON)
    assert check.state == state
    assert f"new {11 + extra_mib} MiB" in check.text
    assert "a copy would add 64 MiB" in check.text


def test_a_small_difference_is_not_a_copy_of_a_small_guest() -> None:
    tiny = replace(ANON, ram_bytes=32 * MIB)
    assert check_one_copy(at("resumed", new_RssAnon=18 * MIB), tiny).state == "held"


@pytest.mark.parametrize("side", ["old", "new"])
def test_unreadable_memory_is_missing(side: str) -> None:
    check = check_one_copy(without(side, "RssAnon"), ANON)
    assert check.state == "missing"
    assert "RssAnon" in check.text
    assert check_one_copy((), ANON).state == "missing"


# descriptors


def test_same_descriptors_hold_and_are_named_with_their_ids() -> None:
    check = check_files(FILES)
    assert (check.name, check.state) == ("descriptors", "held")
    assert check.text == "2 carried, all the same open files: ram0 0, pc.bios 0"


def test_another_open_file_breaks_with_its_name_and_numbers() -> None:
    check = check_files((*FILES, SameFile("vfio-group", 26, 31, 32, False)))
    assert check.state == "broken"
    assert check.text == "another open file in new QEMU: vfio-group id 26 (fd 31 → 32)"


def test_another_open_file_breaks_even_if_one_was_not_compared() -> None:
    files = (SameFile("a", 0, 1, 2, None, "EPERM"), SameFile("b", 0, 3, 4, False))
    assert check_files(files).state == "broken"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "no descriptor was seen on the cpr channel"),
        (
            (*FILES, SameFile("ram1", 0, 3, 4, None, "kcmp: not built in; needs CONFIG_KCMP")),
            "1 of 3 not compared, first ram1: kcmp: not built in; needs CONFIG_KCMP",
        ),
    ],
    ids=["none", "no kcmp"],
)
def test_descriptors_that_were_not_compared_are_missing(
    files: tuple[SameFile, ...], words: str
) -> None:
    check = check_files(files)
    assert check.state == "missing"
    assert words in check.text


# pins


def test_pins_that_persist_hold() -> None:
    check = check_pins(ACCOUNTS, RAM)
    assert (check.name, check.state) == ("pins", "held")
    assert f"VmPin {RAM // 1024} KiB at" in check.text
    assert all(point in check.text for point in POINTS)
    assert "70000 → 70000" in check.text


def test_pins_hold_where_the_kernel_reports_no_total() -> None:
    check = check_pins(tuple(replace(a, pins=None) for a in ACCOUNTS), RAM)
    assert check.state == "held"
    assert "does not report the host" in check.text


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("left", [0, RAM - 4096], ids=["none left", "one page short"])
def test_a_holder_that_unpins_breaks_and_the_point_is_named(point: Point, left: int) -> None:
    check = check_pins(at(point, holder_VmPin=left), RAM)
    assert check.state == "broken"
    assert f"VmPin of the holder is {left // 1024} KiB at `{point}`" in check.text
    assert f"{RAM // 1024} KiB were pinned" in check.text


def test_a_host_total_that_drops_by_what_was_pinned_is_missing_evidence() -> None:
    """The holder's own account is complete, so another process may have unpinned."""
    fallen = 70_000 - RAM // 4096
    check = check_pins(at("resumed", pins=fallen), RAM)
    assert check.state == "missing"
    assert f"{RAM // 4096} pages were unpinned" in check.text
    assert check_pins(at("resumed", pins=fallen + 1), RAM).state == "held", "others pin too"


@pytest.mark.parametrize(
    "accounts",
    [(), without("holder", "VmPin"), (ACCOUNTS[0], Accounts("hold"))],
    ids=["nothing", "no VmPin", "the holder is gone"],
)
def test_pins_that_cannot_be_read_are_missing(accounts: tuple[Accounts, ...]) -> None:
    check = check_pins(accounts, RAM)
    assert check.state == "missing"
    assert "VmPin of the pin holder" in check.text


# DMA


def test_visible_dma_holds() -> None:
    check = check_dma(DMA)
    assert (check.name, check.state) == ("DMA", "held")
    assert check.text == "writes seen at hold, resumed, end"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (Dma("resumed", 8, 7), "write at `resumed`: QEMU's mapping shows 7, not 8"),
        (Dma("resumed", 8, None), "QEMU's mapping shows None, not 8"),
        (Dma("end", 8, None, "Bad address"), "write at `end`: Bad address"),
    ],
    ids=["stale", "unseen", "refused"],
)
def test_dma_that_does_not_arrive_breaks(write: Dma, words: str) -> None:
    check = check_dma((DMA[0], write))
    assert check.state == "broken"
    assert words in check.text


def test_a_pin_holder_that_died_is_no_evidence_against_the_pages(evidence: Evidence) -> None:
    """The kernel unpins what it held, and no write arrives: all of it follows from the death."""
    died = replace(
        evidence,
        accounts=at("resumed", holder_VmPin=0),
        dma=(DMA[0], Dma("resumed", 8, None, "the pin holder has exited", answered=False)),
        pin_events=PinEvents("kprobes", {"unpin_user_pages": 512}),
        holder_lost="pin holder ended by SIGKILL",
    )
    proof = judge_proof(died, PINNED)
    assert proof.verdict == "unproven"
    assert "pin holder ended by SIGKILL" in proof.reason
    assert not [check for check in proof.checks if check.state == "broken"]
    # A write that QEMU's mapping does not show was made while the holder lived.
    other = replace(died, dma=(replace(DMA[0], seen=0), *died.dma[1:]))
    assert judge_proof(other, PINNED).verdict == "broken"


def test_descriptors_are_listed_up_to_five() -> None:
    many = tuple(replace(FILES[0], name=f"m{n}") for n in range(900))
    text = check_files(many).text
    assert text == "900 carried, all the same open files: m0 0, m1 0, m2 0, m3 0, m4 0, 895 more"
    others = tuple(replace(file, same=False) for file in many)
    assert len(check_files(others).text) < 200


def test_dma_without_writes_is_missing() -> None:
    assert check_dma(()).state == "missing"


# mem-lock


def test_locked_ram_holds_in_every_process_at_every_point() -> None:
    check = check_locked(ACCOUNTS, RAM)
    assert (check.name, check.state) == ("mem-lock", "held")
    for words in ("old 257 MiB at before", "old 257 MiB at resumed", "new 257 MiB at end"):
        assert words in check.text


def test_a_qemu_that_locks_less_than_ram_breaks() -> None:
    check = check_locked(at("hold", new_VmLck=RAM - 4096), RAM)
    assert check.state == "broken"
    assert check.text == "new QEMU locks only 255 MiB at `hold`"


@pytest.mark.parametrize("accounts", [(), without("new", "VmLck")], ids=["nothing", "no VmLck"])
def test_unreadable_locks_are_missing(accounts: tuple[Accounts, ...]) -> None:
    check = check_locked(accounts, RAM)
    assert check.state == "missing"
    assert "VmLck" in check.text


# pin events


def test_no_event_on_a_pin_path_holds_and_names_the_tier() -> None:
    check = check_pin_events(PinEvents("kprobes", {"unpin_user_pages": 0, "iommu_unmap": 0}))
    assert (check.name, check.state) == ("pin events", "held")
    assert "kprobes" in check.text


def test_an_unpin_in_the_window_breaks_with_function_and_count() -> None:
    check = check_pin_events(PinEvents("kprobes", {"unpin_user_pages": 3, "iommu_unmap": 0}))
    assert check.state == "broken"
    assert check.text == "between migrate and old's exit: unpin_user_pages 3 times"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (PinEvents("none", missing="needs CONFIG_KPROBES"), "needs CONFIG_KPROBES"),
        (PinEvents("kprobes", {"unpin_user_pages": 0}, lost=4), "4 events were lost"),
        (PinEvents("kprobes"), "no pin function was traced"),
    ],
    ids=["no probe", "lost", "nothing traced"],
)
def test_pin_events_that_were_not_traced_are_missing(events: PinEvents, words: str) -> None:
    check = check_pin_events(events)
    assert check.state == "missing"
    assert words in check.text


# The verdict

HIDDEN = Frames(missing="page frames are hidden: run as root")
MOVED = replace(FRAMES, differing=1, first=((0x1234, 0xABC, 0xDEF),))
SLIPPED = (replace(CAUGHT[0], caught=False, by="it saw no difference"), *CAUGHT[1:])


@pytest.mark.parametrize(
    ("scenario", "pinned_bytes", "expected"),
    [
        (ANON, 0, ["RAM in place", "one copy", "descriptors", "pin events"]),
        (PINNED, RAM, ["RAM in place", "one copy", "descriptors", "pins", "DMA", "pin events"]),
        (LOCKED, 0, ["RAM in place", "one copy", "descriptors", "mem-lock", "pin events"]),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_checks_that_apply_to_a_scenario(
    evidence: Evidence, scenario: Scenario, pinned_bytes: int, expected: list[str]
) -> None:
    proof = judge_proof(replace(evidence, pinned_bytes=pinned_bytes), scenario)
    assert (proof.verdict, proof.reason) == ("held", "")
    assert [check.name for check in proof.checks] == expected
    assert proof.controls == CAUGHT
    assert proof.duration_ns == 31_000_000


def test_pin_events_are_omitted_if_not_collected(evidence: Evidence) -> None:
    proof = judge_proof(replace(evidence, pin_events=None), ANON)
    assert proof.verdict == "held"
    assert "pin events" not in [check.name for check in proof.checks]


def test_missing_pin_events_never_block(evidence: Evidence) -> None:
    unseen = PinEvents("none", missing="needs CONFIG_KPROBES")
    proof = judge_proof(replace(evidence, pin_events=unseen), PINNED)
    assert (proof.verdict, proof.reason) == ("held", "")
    assert proof.checks[-1] == Check("pin events", "missing", "needs CONFIG_KPROBES")


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        # Each line still has all the faults of the lines below it.
        (
            {"frames": MOVED, "controls": SLIPPED[:3], "files": ()},
            "broken",
            "RAM in place: 1 of 16384 pages",
        ),
        (
            {"frames": HIDDEN, "controls": SLIPPED[:3], "files": ()},
            "unproven",
            "control not caught: private copy",
        ),
        (
            {"frames": HIDDEN, "controls": CAUGHT[:3], "files": ()},
            "unproven",
            "no passing control for: pins let go",
        ),
        (
            {"frames": HIDDEN, "files": ()},
            "unproven",
            "RAM in place: page frames are hidden: run as root; descriptors: no descriptor",
        ),
        ({}, "held", ""),
    ],
    ids=["broken", "slipped control", "absent control", "missing", "held"],
)
def test_verdict_is_that_of_the_worst_check(
    evidence: Evidence, changes: dict[str, object], verdict: str, reason: str
) -> None:
    proof = judge_proof(replace(evidence, **changes), PINNED)  # type: ignore[arg-type]
    assert proof.verdict == verdict
    assert proof.reason.startswith(reason)
    assert bool(proof.reason) == (verdict != "held")


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": MOVED},
        {"accounts": at("resumed", new_RssAnon=100 * MIB)},
        {"files": (replace(FILES[0], same=False),)},
        {"accounts": at("resumed", holder_VmPin=0)},
        {"dma": (replace(DMA[0], seen=0),)},
        {"accounts": at("end", new_VmLck=0)},
        {"pin_events": PinEvents("kprobes", {"unpin_user_pages": 1})},
    ],
    ids=["RAM in place", "one copy", "descriptors", "pins", "DMA", "mem-lock", "pin events"],
)
def test_any_one_broken_check_breaks_the_proof(
    evidence: Evidence, changes: dict[str, object], request: pytest.FixtureRequest
) -> None:
    everything = replace(PINNED, mem_lock=True)
    proof = judge_proof(replace(evidence, **changes), everything)  # type: ignore[arg-type]
    name = request.node.callspec.id
    assert proof.verdict == "broken"
    assert [check.name for check in proof.checks if check.state == "broken"] == [name]
    assert proof.reason.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("scenario", "pinned_bytes", "verdict"), [(ANON, 0, "unproven"), (PINNED, RAM, "broken")]
)
def test_only_pinned_pages_may_not_be_migrated_by_the_kernel(
    evidence: Evidence, scenario: Scenario, pinned_bytes: int, verdict: str
) -> None:
    counted = tuple(replace(a, migrated=900 + n) for n, a in enumerate(ACCOUNTS))
    moved = replace(evidence, frames=MOVED, accounts=counted, pinned_bytes=pinned_bytes)
    proof = judge_proof(moved, scenario)
    assert proof.verdict == verdict
    assert proof.reason.startswith("RAM in place: 1 of 16384 pages")


def test_all_broken_checks_are_named(evidence: Evidence) -> None:
    proof = judge_proof(replace(evidence, frames=MOVED, dma=(replace(DMA[0], seen=0),)), PINNED)
    assert "RAM in place: 1 of 16384" in proof.reason
    assert "DMA: write at `hold`" in proof.reason


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_is_needed(evidence: Evidence, name: str) -> None:
    some = tuple(control for control in CAUGHT if control.name != name)
    proof = judge_proof(replace(evidence, controls=some), ANON)
    assert (proof.verdict, proof.reason) == ("unproven", f"no passing control for: {name}")


# What the verdict does to the run


@pytest.fixture
def recording() -> Recording:
    """A real transfer without faults (QEMU 10.0.2, KVM)."""
    return msgspec.json.decode((DATA / "handover-kvm.json").read_bytes(), type=Recording)


def test_a_run_without_evidence_has_no_proof(recording: Recording) -> None:
    run = judge(recording)
    assert (run.outcome, run.proof) == ("completed", None)


def test_a_proof_that_holds_is_kept_with_the_run(recording: Recording, evidence: Evidence) -> None:
    run = judge(replace(recording, evidence=replace(evidence, pinned_bytes=0)))
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.proof is not None
    assert run.proof.verdict == "held"


def test_a_broken_proof_fails_its_run_with_the_reason(
    recording: Recording, evidence: Evidence
) -> None:
    run = judge(replace(recording, evidence=replace(evidence, frames=MOVED)))
    assert run.outcome == "failed"
    assert run.reason.startswith("proof broken: RAM in place: 1 of 16384 pages")
    assert "0x1234" in run.reason
    assert run.blackout_ns == judge(recording).blackout_ns, "what was measured is kept"


def test_an_unproven_run_does_not_fail(recording: Recording, evidence: Evidence) -> None:
    run = judge(replace(recording, evidence=replace(evidence, frames=HIDDEN)))
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.proof is not None
    assert run.proof.verdict == "unproven"
    assert "run as root" in run.proof.reason


def test_reason_of_a_failed_transfer_precedes_that_of_the_proof(
    recording: Recording, evidence: Evidence
) -> None:
    lost = replace(recording, failure="QEMU died", evidence=replace(evidence, frames=MOVED))
    assert judge(lost).reason.startswith("QEMU died; proof broken: ")


# Evidence in the store


@pytest.mark.parametrize("change", [{}, {"frames": MOVED}, {"pin_events": None, "controls": ()}])
def test_evidence_survives_the_store(
    recording: Recording, evidence: Evidence, change: dict[str, object]
) -> None:
    kept = replace(recording, evidence=replace(evidence, **change))  # type: ignore[arg-type]
    again = decode(encode(kept, "here"), Recording, "here")
    assert again == kept
    assert judge(again).proof == judge(kept).proof


def test_a_recording_from_before_the_proof_can_be_read(recording: Recording) -> None:
    assert "evidence" not in msgspec.json.decode((DATA / "handover-kvm.json").read_bytes())
    assert recording.evidence is None


def test_a_judged_proof_survives_the_store(
    recording: Recording, evidence: Evidence, make_run: Callable[..., object]
) -> None:
    proof = judge_proof(replace(evidence, frames=MOVED), PINNED)
    run = replace(make_run(), proof=proof)  # type: ignore[type-var]
    assert decode(encode(run, "here"), type(run), "here").proof == proof  # type: ignore[type-var]
