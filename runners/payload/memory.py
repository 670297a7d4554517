"""The host's view of the payload: guest RAM, mapped through the backend's own descriptor."""

from __future__ import annotations

import errno
import mmap
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from results.errors import GuestLost
from results.records.observations import DeviceCounts, Gap, RamCheck, Ring
from results.records.scenario import MIB

from . import layout as at

Words = npt.NDArray[np.uint32]

# Compared after every update; comparing more takes longer than the update itself.
CHECK_LIMIT_BYTES = 64 * MIB
_CHUNK_PAGES = 64  # 256 KiB: chunk, pattern and result stay in the CPU's L2 cache, 2 x faster
_AROUND_PAGES = 16  # fault_around_bytes, 64 KiB by default; if it is less, the proof maps the rest
_FRESH_SAMPLES = 16
_RING_BEFORE = 256  # intervals of some 0.4 ms before the pause: the base of the normal rate
_FRESH_NS = 100_000
_MADV_POPULATE_READ = 22  # of linux/mman.h


@dataclass(frozen=True, slots=True)
class GuestPlan:
    """The payload's parameters: its vCPUs, its working set and its pattern."""

    vcpus: int
    ram_bytes: int
    low_bytes: int  # RAM below the PCI hole
    first_page: int
    end_page: int
    seed: int
    threshold_ticks: int
    ring_shift: int
    device: int = 0  # an edu device's PCI configuration address, as for port 0xcf8; 0: none
    device_pace_ticks: int = 0
    device_late_ticks: int = 0

    @property
    def pages(self) -> int:
        return self.end_page - self.first_page


def plan_guest(
    vcpus: int, ram_bytes: int, touched: float, low_bytes: int, seed: int, ticks_per_second: float
) -> GuestPlan:
    """Plan a guest that touches `touched` of its RAM from 16 MiB on and logs gaps from 200 µs on.

    The ring's interval is the largest power of two of ticks up to half a millisecond.
    """
    room = ram_bytes // at.PAGE_BYTES - at.FIRST_PAGE
    pages = max(vcpus, min(room, int(ram_bytes * touched) // at.PAGE_BYTES))
    return GuestPlan(
        vcpus=vcpus,
        ram_bytes=ram_bytes,
        low_bytes=low_bytes,
        first_page=at.FIRST_PAGE,
        end_page=at.FIRST_PAGE + pages,
        seed=seed & 0xFFFFFFFF,
        threshold_ticks=int(ticks_per_second * 200e-6),
        ring_shift=max(0, int(ticks_per_second * 0.5e-3).bit_length() - 1),
    )


class GuestMemory:
    """Guest RAM, shared with every QEMU that runs the guest.

    It maps the file, not a process's memory: it stays valid over any number of transfers, as long
    as each new QEMU maps the same file, which every transfer checks.
    """

    def __init__(self, path: str | Path, plan: GuestPlan) -> None:
        """Map the RAM file at `path` (for example /proc/PID/fd/N).

        Raises GuestLost when the kernel has no pages for what the host reads of it.
        """
        self.plan = plan
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.inode = os.fstat(fd).st_ino
            self._map = mmap.mmap(fd, plan.ram_bytes)
        finally:
            os.close(fd)
        try:
            self._populate_slots()
        except BaseException:
            self._map.close()
            raise
        self.words: Words = np.frombuffer(self._map, dtype=np.uint32)
        words = np.arange(_CHUNK_PAGES * at.PAGE_WORDS, dtype=np.uint32) * np.uint32(at.PATTERN)
        self._increments: Words = words.reshape(_CHUNK_PAGES, at.PAGE_WORDS)
        self._rest = np.empty_like(self._increments)
        self._differs = np.empty(self._increments.shape, dtype=np.bool_)
        self._sampled = np.empty((_CHUNK_PAGES // _AROUND_PAGES, at.PAGE_WORDS), dtype=np.uint32)

    def close(self) -> None:
        """Unmap guest RAM: huge pages are freed only when nothing maps them."""
        self.words = np.zeros(0, dtype=np.uint32)
        self._map.close()

    # -- pages, which the kernel may not have ---------------------------------------------

    def _populate_slots(self) -> None:
        """Map the slots of all vCPUs. Raises GuestLost.

        Reading a page that the kernel cannot provide would kill this process by SIGBUS; here it is
        an errno. Linux before 5.14 lacks this call: there only what `prepare` writes is safe.
        """
        length = self.plan.vcpus << at.SLOT_SHIFT
        try:
            self._map.madvise(_MADV_POPULATE_READ, at.SLOTS, length)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise _no_page(at.SLOTS, error) from error

    def _clear(self, zeros: int, begin: int, end: int) -> None:
        """Fill a range of RAM from the open /dev/zero. Raises GuestLost without pages for it.

        A system call that cannot write to memory fails, where a store would raise SIGBUS: beyond a
        limit of a control group on huge pages, or in a full /dev/shm.
        """
        view = memoryview(self._map)
        try:
            while begin < end:
                begin += os.readv(zeros, [view[begin:end]])
        except OSError as error:
            raise _no_page(begin, error) from error
        finally:
            view.release()

    # -- before the guest runs ------------------------------------------------------------

    def prepare(self) -> None:
        """Write the control block, the pattern and the guest's own words while it is paused.

        Raises GuestLost when the kernel has no pages for them.
        """
        zeros = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._clear(zeros, at.CONTROL, at.CONTROL + at.PAGE_BYTES)
            for first in range(self.plan.first_page, self.plan.end_page, _CHUNK_PAGES):
                end = min(first + _CHUNK_PAGES, self.plan.end_page)
                self._clear(zeros, first * at.PAGE_BYTES, end * at.PAGE_BYTES)
        finally:
            os.close(zeros)
        self._write()

    def _write(self) -> None:
        plan = self.plan
        control = {
            at.C_VCPUS: plan.vcpus,
            at.C_FIRST_PAGE: plan.first_page,
            at.C_END_PAGE: plan.end_page,
            at.C_SEED: plan.seed,
            at.C_THRESHOLD: plan.threshold_ticks,
            at.C_RING_SHIFT: plan.ring_shift,
            at.C_LOW_PAGES: plan.low_bytes // at.PAGE_BYTES,
            at.C_PAGING: int(plan.low_bytes < plan.ram_bytes),
            at.C_DEVICE: plan.device,
            at.C_DEVICE_BASE: at.DEVICE_BASE,
            at.C_DEVICE_PACE: plan.device_pace_ticks,
            at.C_DEVICE_LATE: plan.device_late_ticks,
        }
        for offset, value in control.items():
            self.words[(at.CONTROL + offset) // 4] = value
        for first in range(plan.first_page, plan.end_page, _CHUNK_PAGES):
            pages = min(_CHUNK_PAGES, plan.end_page - first)
            view = self._pages(first, pages)
            np.add(self._increments[:pages], np.uint32(self._base(first)), out=view)
            numbers = np.arange(first, first + pages, dtype=np.uint32)
            view[:, 0] = 0
            view[:, 1] = ~numbers
            view[:, 2:4] = 0

    # -- while it runs --------------------------------------------------------------------

    def slot_word(self, vcpu: int, offset: int) -> int:
        """One 32-bit word of a vCPU's slot; the guest writes aligned words atomically."""
        return int(self.words[(at.SLOTS + (vcpu << at.SLOT_SHIFT) + offset) // 4])

    def running(self) -> bool:
        """Whether every vCPU beats and has touched its share of the working set."""
        return all(self.slot_word(v, at.S_TOUCHED) == 1 for v in range(self.plan.vcpus))

    def beats(self) -> tuple[int, ...]:
        return tuple(self.slot_word(v, at.S_BEATS) for v in range(self.plan.vcpus))

    def first_beat_seen(self) -> bool:
        return all(
            self.slot_word(v, at.S_MAGIC) == at.MAGIC and self.slot_word(v, at.S_BEATS) > 0
            for v in range(self.plan.vcpus)
        )

    def wait_for_beats(self, since: tuple[int, ...], timeout_s: float) -> None:
        """Wait until every vCPU has beaten twice after the counts in `since`. Raises GuestLost.

        The first beat may be one that the vCPU had begun when it was stopped, with the clock of
        before: only the second shows that it runs, and logs the gap before it counts.
        """
        end = time.monotonic() + timeout_s
        while True:
            stalled = [
                v
                for v, old in enumerate(since)
                if (self.slot_word(v, at.S_BEATS) - old) & 0xFFFFFFFF < 2
            ]
            if not stalled:
                return
            if time.monotonic() > end:
                raise GuestLost(f"vCPU {stalled[0]} did not beat within {timeout_s:g} s")
            time.sleep(0.0005)

    def sample_ticks(self, timeout_s: float = 0.1) -> list[list[tuple[int, int]]]:
        """Sample (host ns, tick of the last beat): one list of fresh samples per vCPU.

        The clock is read after the tick: a preemption in between makes the time too late, never too
        early, so the sample with the smallest (ns - tick) is the best one. A sample is fresh when
        the tick changed within the last 100 µs, so not on a vCPU that waits for a CPU. Sampling
        stops at 16 fresh samples or after `timeout_s`. It polls for some beats before each sleep,
        because a sleep may take longer than a sample stays fresh. Ticks are raw (32 bits,
        wrapping).
        """
        vcpus = range(self.plan.vcpus)
        places = [(at.SLOTS + (v << at.SLOT_SHIFT) + at.S_TICK) // 4 for v in vcpus]
        samples: list[list[tuple[int, int]]] = [[] for _ in places]
        words, clock = self.words, time.monotonic_ns
        last = [(0, -1)] * len(places)
        fresh = 0
        now = clock()
        end, rest = now + int(timeout_s * 1e9), now + _FRESH_NS
        while fresh < _FRESH_SAMPLES and clock() < end:
            for i, place in enumerate(places):
                tick = int(words[place])
                now = clock()
                before, earlier = last[i]
                last[i] = (now, tick)
                if tick != earlier and now - before < _FRESH_NS:
                    samples[i].append((now, tick))
                    fresh += 1
            if now > rest:
                time.sleep(20e-6)  # leaves the CPU to the sampled vCPU
                rest = clock() + _FRESH_NS
        return samples

    def gaps_since(self, vcpu: int, logged: int) -> tuple[tuple[Gap, ...], bool]:
        """Gaps after the first `logged` ones (raw ticks), oldest first; and whether any is lost."""
        now = self.slot_word(vcpu, at.S_GAPS)
        new = (now - logged) & 0xFFFFFFFF
        first = (at.SLOTS + (vcpu << at.SLOT_SHIFT) + at.S_GAP_LOG) // 4
        kept = min(new, at.GAP_ENTRIES)
        gaps = []
        for number in range(now - kept, now):
            entry = first + (number % at.GAP_ENTRIES) * 4
            gaps.append(Gap(int(self.words[entry]), int(self.words[entry + 1])))
        return tuple(gaps), new > at.GAP_ENTRIES

    def ring(self, vcpu: int, since_tick: int) -> Ring:
        """Beats per interval from 100 ms before `since_tick` (raw) to the last complete interval.

        An interval without a beat has no entry, or that of an earlier turn of the ring.
        """
        shift = self.plan.ring_shift
        turns = 1 << (32 - shift)
        first = ((since_tick >> shift) - _RING_BEFORE) % turns
        last = self.slot_word(vcpu, at.S_RING_ID)  # the interval in progress
        place = (at.SLOTS + (vcpu << at.SLOT_SHIFT) + at.S_RING) // 4
        entries = self.words[place : place + 2 * at.RING_ENTRIES].copy().reshape(-1, 2)
        length = min((last - first) % turns, at.RING_ENTRIES - 1)
        numbers = (first + np.arange(length, dtype=np.int64)) % turns
        found = entries[numbers % at.RING_ENTRIES]
        counts = np.where(found[:, 0] == numbers, found[:, 1], 0)
        return Ring(shift, first, tuple(counts.tolist()))

    def gaps_logged(self, vcpu: int) -> int:
        return self.slot_word(vcpu, at.S_GAPS)

    def errors(self, vcpu: int) -> tuple[int, str]:
        """Number of changed words that the guest found, and a description of the first."""
        count = self.slot_word(vcpu, at.S_ERRORS)
        if count == 0:
            return 0, ""
        word = {name: self.slot_word(vcpu, offset) for name, offset in _ERROR_WORDS.items()}
        return count, (
            f"page {word['page']:#x} word {word['word']}: "
            f"{word['seen']:#010x} instead of {word['expected']:#010x}"
        )

    # -- the device -----------------------------------------------------------------------

    def device(self) -> DeviceCounts:
        """The payload's counts for the device that it drives."""
        return DeviceCounts(
            **{
                name: int(self.words[(at.DEVICE + offset) // 4])
                for name, offset in _DEVICE_WORDS.items()
            }
        )

    def device_ready(self) -> bool:
        """Whether the payload found its device and completed two operations. Raises GuestLost."""
        found = int(self.words[(at.DEVICE + at.D_READY) // 4])
        if found and found != at.DEVICE_READY:
            raise GuestLost(f"the payload found no usable edu device in its slot: read {found:#x}")
        return self.device().operations >= 2

    def wait_for_device(self, since: DeviceCounts, timeout_s: float) -> None:
        """Wait until the device has completed two operations after `since`, or for `timeout_s`."""
        end = time.monotonic() + timeout_s
        while self.device().operations - since.operations < 2 and time.monotonic() < end:
            time.sleep(0.005)

    # -- every byte -----------------------------------------------------------------------

    def check(
        self, mapped: tuple[int, int] | None = None, limit_bytes: int = CHECK_LIMIT_BYTES
    ) -> RamCheck:
        """Compare guest RAM with the pattern: all of it up to `limit_bytes`, beyond that a sample.

        It is read through the shared file. With `mapped` (pid, address) every 16th page is also
        read through that process's own mapping: the contents differ if it maps anything else
        there, and the reads populate its page table for the proof, as a fault also maps the
        neighbouring pages. (Reading everything that way took 2.5 x as long, for the same file.) The
        guest's own words change all the time and are checked by the guest. Raises OSError when the
        process exits.
        """
        start = time.monotonic_ns()
        plan = self.plan
        stride = max(1, -(-plan.pages * at.PAGE_BYTES // limit_bytes))
        changed = _ChangedPages()
        checked = 0
        with ExitStack() as stack:
            fd = -1 if mapped is None else os.open(f"/proc/{mapped[0]}/mem", os.O_RDONLY)
            if mapped is not None:
                stack.callback(os.close, fd)
            for first in range(plan.first_page, plan.end_page, _CHUNK_PAGES * stride):
                pages = min(_CHUNK_PAGES, plan.end_page - first)
                changed.add(first, self._differing(self._pages(first, pages), first, 1))
                checked += pages
                if mapped is not None:
                    found = self._sampled[: -(-pages // _AROUND_PAGES)]
                    for row, page in enumerate(range(first, first + pages, _AROUND_PAGES)):
                        _read_exactly(fd, found[row], mapped[1] + page * at.PAGE_BYTES)
                    changed.add(first, self._differing(found, first, _AROUND_PAGES))
        return RamCheck(
            pages=checked,
            bytes=checked * (at.PAGE_BYTES - 4 * at.GUEST_WORDS),
            bad_pages=len(changed.pages),
            first_bad=changed.first,
            duration_ns=time.monotonic_ns() - start,
        )

    def _differing(self, found: Words, first: int, step: int) -> npt.NDArray[np.int64]:
        """Offsets from page `first` of the changed pages in `found`, which has every `step`-th."""
        count = len(found)
        rest, differs = self._rest[:count], self._differs[:count]
        np.subtract(found, self._increments[: count * step : step], out=rest)
        np.not_equal(rest, np.uint32(self._base(first)), out=differs)
        differs[:, : at.GUEST_WORDS] = False
        if not differs.any():
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(differs.any(axis=1)) * step

    def _pages(self, first: int, pages: int) -> Words:
        begin = first * at.PAGE_WORDS
        return self.words[begin : begin + pages * at.PAGE_WORDS].reshape(pages, at.PAGE_WORDS)

    def _base(self, first: int) -> int:
        return (first * at.PAGE_WORDS * at.PATTERN + self.plan.seed) & 0xFFFFFFFF


def _no_page(begin: int, error: OSError) -> GuestLost:
    return GuestLost(
        f"the kernel has no page for guest RAM at {begin // MIB} MiB: {error.strerror}"
    )


@dataclass(slots=True)
class _ChangedPages:
    """Numbers of changed pages, and the first one found."""

    pages: set[int] = field(default_factory=set)
    first: str = ""

    def add(self, first: int, offsets: npt.NDArray[np.int64]) -> None:
        if len(offsets):
            self.pages |= set((offsets + first).tolist())
            self.first = self.first or f"page {first + int(offsets[0]):#x}"


def _read_exactly(fd: int, into: Words, offset: int) -> None:
    if os.preadv(fd, [into.data], offset) != into.nbytes:
        raise OSError("short read of guest RAM in new QEMU")


_DEVICE_WORDS: dict[str, int] = {
    "operations": at.D_OPS,
    "number": at.D_NUMBER,
    "wrong": at.D_WRONG,
    "wrong_seen": at.D_SEEN,
    "wrong_expected": at.D_EXPECTED,
    "interrupts": at.D_INTERRUPTS,
    "silent": at.D_SILENT,
    "surplus": at.D_SURPLUS,
}
_ERROR_WORDS: dict[str, int] = {
    "page": at.S_ERROR_PAGE,
    "word": at.S_ERROR_WORD,
    "seen": at.S_ERROR_SEEN,
    "expected": at.S_ERROR_EXPECTED,
}
