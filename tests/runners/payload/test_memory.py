"""The host's view of guest RAM, on a memfd without a guest."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import GuestLost
from results.records.observations import Gap
from results.records.scenario import GIB, MIB
from runners.payload import layout as at
from runners.payload.memory import GuestMemory, GuestPlan, plan_guest

RAM = 64 * MIB
TICKS_PER_SECOND = 1e7


def plan(
    vcpus: int = 2, ram: int = RAM, touched: float = 0.25, seed: int = 0xDEADBEEF
) -> GuestPlan:
    return plan_guest(vcpus, ram, touched, ram, seed, TICKS_PER_SECOND)


@pytest.fixture
def open_memory() -> Iterator[Callable[[GuestPlan], GuestMemory]]:
    opened: list[tuple[int, GuestMemory]] = []

    def open_one(chosen: GuestPlan) -> GuestMemory:
        fd = os.memfd_create("guest-ram")
        os.truncate(fd, chosen.ram_bytes)
        memory = GuestMemory(Path(f"/proc/self/fd/{fd}"), chosen)
        opened.append((fd, memory))
        return memory

    yield open_one
    for fd, memory in opened:
        memory.close()
        os.close(fd)


@pytest.fixture
def memory(open_memory: Callable[[GuestPlan], GuestMemory]) -> GuestMemory:
    found = open_memory(plan())
    found.prepare()
    return found


def put(memory: GuestMemory, vcpu: int, offset: int, value: int) -> None:
    """Write one word of a slot, as the guest would."""
    memory.words[(at.SLOTS + (vcpu << at.SLOT_SHIFT) + offset) // 4] = value & 0xFFFFFFFF


# -- the plan -------------------------------------------------------------------------------------


def test_plan_touches_its_share_of_ram_from_16_mib_on() -> None:
    made = plan()
    assert made.first_page == 4096
    assert made.pages * 4096 == RAM // 4
    assert made.threshold_ticks == 2_000  # 200 µs
    assert 1 << made.ring_shift <= 5_000 < 2 << made.ring_shift  # half a millisecond


def test_plan_touches_at_most_all_ram_and_at_least_one_page_per_vcpu() -> None:
    assert plan(touched=1.0).end_page * 4096 == RAM
    assert plan(touched=0.0, vcpus=3).pages == 3


@given(
    vcpus=st.integers(1, at.MAX_VCPUS),
    mib=st.integers(at.MINIMUM_RAM_BYTES // MIB // 2, 8192).map(lambda n: 2 * n),
    touched=st.floats(0, 1),
    seed=st.integers(-(1 << 40), 1 << 40),
    rate=st.floats(1e5, 1e8),
)
def test_any_plan_fits_its_ram(
    vcpus: int, mib: int, touched: float, seed: int, rate: float
) -> None:
    made = plan_guest(vcpus, mib * MIB, touched, 2 * GIB, seed, rate)
    assert at.FIRST_PAGE == made.first_page < made.end_page <= mib * MIB // 4096
    assert 0 <= made.seed < 1 << 32
    assert made.pages >= vcpus
    assert made.ring_shift < 32


# -- control block and pattern --------------------------------------------------------------------


def test_control_block_holds_the_plan(memory: GuestMemory) -> None:
    def control(offset: int) -> int:
        return int(memory.words[(at.CONTROL + offset) // 4])

    assert control(at.C_VCPUS) == 2
    assert control(at.C_FIRST_PAGE) == 4096
    assert control(at.C_END_PAGE) == 8192
    assert control(at.C_SEED) == 0xDEADBEEF
    assert control(at.C_LOW_PAGES) == RAM // 4096
    assert control(at.C_PAGING) == 0


def test_ram_above_the_hole_enables_paging(
    open_memory: Callable[[GuestPlan], GuestMemory],
) -> None:
    memory = open_memory(replace(plan(), low_bytes=RAM // 2))
    memory.prepare()
    assert memory.words[(at.CONTROL + at.C_PAGING) // 4] == 1
    assert memory.words[(at.CONTROL + at.C_LOW_PAGES) // 4] == RAM // 2 // 4096


def test_pattern_is_that_of_the_layout(memory: GuestMemory) -> None:
    for word in (4096 * 1024 + 4, 5000 * 1024 + 777, 8191 * 1024 + 1023):
        assert int(memory.words[word]) == (word * at.PATTERN + 0xDEADBEEF) % (1 << 32)
    first = [int(w) for w in memory.words[5000 * 1024 : 5000 * 1024 + 4]]
    assert first == [0, 0xFFFFFFFF ^ 5000, 0, 0]  # what the guest expects on its first visit


def test_unchanged_ram_passes(memory: GuestMemory) -> None:
    found = memory.check()
    assert (found.pages, found.bad_pages, found.first_bad) == (4096, 0, "")
    assert found.bytes == 4096 * (4096 - 16)


@pytest.mark.parametrize("page", [4096, 5000, 5119, 5120, 8191])
@pytest.mark.parametrize("byte", [16, 2000, 4095])
def test_a_flipped_bit_is_found_with_its_page(memory: GuestMemory, page: int, byte: int) -> None:
    memory.words.view("uint8")[page * 4096 + byte] ^= 0x80
    found = memory.check()
    assert (found.bad_pages, found.first_bad) == (1, f"page {page:#x}")


def test_changed_pages_are_counted_and_the_first_is_reported(memory: GuestMemory) -> None:
    for page in (7000, 4500, 6000):
        memory.words[page * 1024 + 100 : page * 1024 + 200] = 0
    found = memory.check()
    assert (found.bad_pages, found.first_bad) == (3, f"page {4500:#x}")


def test_pages_of_zeros_are_found(memory: GuestMemory) -> None:
    """As after an update that lost guest RAM."""
    memory.words[4096 * 1024 :] = 0
    assert memory.check().bad_pages == 4096


def test_words_of_the_guest_are_not_compared(memory: GuestMemory) -> None:
    memory.words[5000 * 1024 : 5000 * 1024 + at.GUEST_WORDS] = 0xFFFFFFFF
    assert memory.check().bad_pages == 0


def test_large_working_set_is_sampled(memory: GuestMemory) -> None:
    found = memory.check(limit_bytes=8 * MIB)
    assert found.pages == 2048  # every second chunk of 1024 pages
    memory.words[(4096 + 2048) * 1024 + 9] ^= 1  # in the second chunk that is checked
    assert memory.check(limit_bytes=8 * MIB).first_bad == f"page {4096 + 2048:#x}"


def test_another_seed_is_another_pattern(memory: GuestMemory) -> None:
    memory.plan = replace(memory.plan, seed=1)
    assert memory.check().bad_pages == 4096


def test_working_set_that_is_not_a_multiple_of_the_chunk(
    open_memory: Callable[[GuestPlan], GuestMemory],
) -> None:
    memory = open_memory(replace(plan(), end_page=4096 + 1024 + 7))
    memory.prepare()
    assert memory.check().pages == 1031
    memory.words[(4096 + 1030) * 1024 + 500] ^= 1
    assert memory.check().first_bad == f"page {4096 + 1030:#x}"


def test_a_process_that_maps_other_content_is_found(memory: GuestMemory) -> None:
    """The shared file is correct; the process's own mapping is not."""
    mine = mmap.mmap(-1, RAM)
    mine[:] = memory.words.tobytes()
    head = ctypes.c_char.from_buffer(mine)
    mapped = (os.getpid(), ctypes.addressof(head))
    assert memory.check(mapped).bad_pages == 0
    mine[(4096 + 160) * 4096 + 4095] ^= 1
    found = memory.check(mapped)
    assert (found.pages, found.bad_pages, found.first_bad) == (4096, 1, f"page {4096 + 160:#x}")
    memory.words[(4096 + 160) * 1024 + 1023] ^= 1 << 24  # now wrong in both: counted once
    memory.words[(4096 + 161) * 1024 + 1023] ^= 1
    assert memory.check(mapped).bad_pages == 2
    del head
    mine.close()


# -- slots ----------------------------------------------------------------------------------------


def log_gap(memory: GuestMemory, vcpu: int, number: int, start: int, end: int) -> None:
    entry = at.S_GAP_LOG + (number % at.GAP_ENTRIES) * 16
    put(memory, vcpu, entry, start)
    put(memory, vcpu, entry + 4, end)
    put(memory, vcpu, at.S_GAPS, number + 1)


def test_gaps_since_a_count_are_oldest_first(memory: GuestMemory) -> None:
    for number in range(5):
        log_gap(memory, 1, number, 100 * number, 100 * number + 50)
    assert memory.gaps_logged(1) == 5
    assert memory.gaps_since(1, 3) == ((Gap(300, 350), Gap(400, 450)), False)
    assert memory.gaps_since(1, 5) == ((), False)
    assert memory.gaps_since(0, 0) == ((), False)  # another vCPU's log


def test_gaps_across_the_end_of_the_log(memory: GuestMemory) -> None:
    for number in range(at.GAP_ENTRIES + 3):
        log_gap(memory, 0, number, number, number + 1)
    gaps, lost = memory.gaps_since(0, at.GAP_ENTRIES - 2)
    assert [gap.start_tick for gap in gaps] == [at.GAP_ENTRIES + n for n in (-2, -1, 0, 1, 2)]
    assert not lost


def test_overwritten_gaps_are_reported(memory: GuestMemory) -> None:
    for number in range(at.GAP_ENTRIES + 1):
        log_gap(memory, 0, number, number, number + 1)
    gaps, lost = memory.gaps_since(0, 0)
    assert lost
    assert len(gaps) == at.GAP_ENTRIES
    assert gaps[0].start_tick == 1


def test_gaps_across_a_wrap_of_their_count(memory: GuestMemory) -> None:
    """Entries and count stay consistent after 2**32 gaps."""
    for number in range((1 << 32) - 2, (1 << 32) + 2):
        log_gap(memory, 0, number, number & 0xFFFF, number & 0xFFFF)
    gaps, lost = memory.gaps_since(0, (1 << 32) - 2)
    assert ([gap.start_tick for gap in gaps], lost) == ([0xFFFE, 0xFFFF, 0, 1], False)


def count_in_ring(memory: GuestMemory, vcpu: int, interval: int, beats: int) -> None:
    place = (at.SLOTS + (vcpu << at.SLOT_SHIFT) + at.S_RING) // 4
    entry = place + 2 * (interval % at.RING_ENTRIES)
    memory.words[entry], memory.words[entry + 1] = interval, beats
    memory.words[(at.SLOTS + (vcpu << at.SLOT_SHIFT) + at.S_RING_ID) // 4] = interval


@pytest.mark.parametrize("start", [5_000, 3, -300])
def test_ring_of_complete_intervals(memory: GuestMemory, start: int) -> None:
    """Also across a wrap of the ring and of the numbers; an interval without beats counts 0."""
    shift = memory.plan.ring_shift
    turns = 1 << (32 - shift)
    for offset in range(-2_000, 500):
        if offset not in (10, 11):
            count_in_ring(memory, 1, (start + offset) % turns, 7 + offset % 5)
    ring = memory.ring(1, ((start % turns) << shift) + 5)
    assert ring.first == (start - 256) % turns
    assert len(ring.counts) == 256 + 499  # the last one is still being counted in
    assert ring.counts[256 + 9 : 256 + 13] == (7 + 9 % 5, 0, 0, 7 + 12 % 5)
    assert ring.counts[0] == 7 + -256 % 5


def test_errors_of_a_vcpu_describe_the_first(memory: GuestMemory) -> None:
    assert memory.errors(1) == (0, "")
    for offset, value in (
        (at.S_ERRORS, 7),
        (at.S_ERROR_PAGE, 0x1234),
        (at.S_ERROR_WORD, 56),
        (at.S_ERROR_SEEN, 0xAB),
        (at.S_ERROR_EXPECTED, 0xCD),
    ):
        put(memory, 1, offset, value)
    assert memory.errors(1) == (7, "page 0x1234 word 56: 0x000000ab instead of 0x000000cd")
    assert memory.errors(0) == (0, "")


def test_guest_is_running_when_every_vcpu_is(memory: GuestMemory) -> None:
    put(memory, 0, at.S_MAGIC, at.MAGIC)
    put(memory, 0, at.S_BEATS, 1)
    put(memory, 0, at.S_TOUCHED, 1)
    assert not memory.first_beat_seen()
    assert not memory.running()
    put(memory, 1, at.S_MAGIC, at.MAGIC)
    put(memory, 1, at.S_BEATS, 1)
    assert memory.first_beat_seen()
    assert not memory.running()
    put(memory, 1, at.S_TOUCHED, 1)
    assert memory.running()


def test_vcpu_that_does_not_beat_is_reported(memory: GuestMemory) -> None:
    put(memory, 0, at.S_BEATS, 5)
    with pytest.raises(GuestLost, match=r"vCPU 1 did not beat within 0\.01 s"):
        memory.wait_for_beats((3, 0), 0.01)
    put(memory, 1, at.S_BEATS, 1)  # the count wraps
    memory.wait_for_beats((3, 0xFFFFFFFF), 0.01)


def test_a_beat_begun_before_the_pause_does_not_show_that_a_vcpu_runs(
    memory: GuestMemory,
) -> None:
    """A vCPU stopped between reading its clock and counting counts once more when it resumes."""
    put(memory, 0, at.S_BEATS, 8)
    put(memory, 1, at.S_BEATS, 8)
    with pytest.raises(GuestLost, match=r"vCPU 0 did not beat"):
        memory.wait_for_beats((7, 6), 0.01)


def test_a_stopped_guest_gives_no_samples(memory: GuestMemory) -> None:
    """A tick that does not change is seen once, at the start, and that sample is not fresh."""
    assert memory.sample_ticks(timeout_s=0.005) == [[], []]


def test_closed_memory_is_unmapped(open_memory: Callable[[GuestPlan], GuestMemory]) -> None:
    memory = open_memory(plan())
    memory.prepare()
    maps = Path("/proc/self/maps")
    assert "memfd:guest-ram" in maps.read_text()
    memory.close()
    assert "memfd:guest-ram" not in maps.read_text()


def test_a_second_mapping_shows_the_same_file(memory: GuestMemory) -> None:
    again = GuestMemory(_descriptor(memory), memory.plan)
    try:
        assert again.inode == memory.inode
        memory.words[5000 * 1024 + 9] ^= 1
        assert again.check().bad_pages == 1
    finally:
        again.close()


def _descriptor(memory: GuestMemory) -> Path:
    return next(entry for entry in Path("/proc/self/fd").iterdir() if _inode(entry) == memory.inode)


def _inode(entry: Path) -> int:
    try:
        return entry.stat().st_ino
    except OSError:
        return -1
