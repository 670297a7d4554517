"""Guests booted on a real QEMU: the payload runs, and detects changes to its RAM."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import runners.qemu.guest
from results.errors import GuestLost, TransferRefused
from results.records.scenario import GIB, MIB, Build, Scenario
from runners.payload import layout as at
from runners.payload.build import build_payload
from runners.payload.memory import GuestMemory, GuestPlan, plan_guest
from runners.qemu.guest import Guest, GuestPlace, vcpu_tids
from runners.system.process_memory import ram_descriptor, ram_mapping

pytestmark = pytest.mark.qemu
ACCELS = [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"]
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> GuestPlace:
    directory = tmp_path_factory.mktemp("guests")
    return GuestPlace(directory, build_payload(directory))


@pytest.fixture(scope="module")
def build() -> Build:
    qemu = str(shutil.which("qemu-system-x86_64"))
    return Build("system", qemu, "", "", "", (qemu,))


def scenario(accel: str, **fields: object) -> Scenario:
    made = Scenario("test", "anon", accel=accel, ram_bytes=64 * MIB, vcpus=2)  # type: ignore[arg-type]
    return replace(made, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def booted(chosen: Scenario, build: Build, place: GuestPlace) -> AsyncIterator[Guest]:
    guest = await Guest.boot(chosen, build, place)
    try:
        yield guest
    finally:
        await guest.end()


async def until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.002)


def passes(memory: GuestMemory) -> int:
    return min(memory.slot_word(v, at.S_PASSES) for v in range(memory.plan.vcpus))


# -- a running guest ------------------------------------------------------------------------------


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("vcpus", [1, 3])
def test_every_vcpu_beats_and_walks_its_share_of_ram(
    accel: str, vcpus: int, build: Build, place: GuestPlace
) -> None:
    async def scene() -> None:
        small = scenario(accel, vcpus=vcpus, touched=0.02)
        async with booted(small, build, place) as guest:
            memory = guest.memory
            assert memory.first_beat_seen()
            assert guest.first_beat_s > 0
            memory.wait_for_beats(memory.beats(), TIMEOUT_S)
            since = passes(memory)
            await until(lambda: passes(memory) > since + 1, "full walks over the working set")
            assert [memory.errors(v) for v in range(vcpus)] == [(0, "")] * vcpus
            found = memory.check()
            assert (found.pages, found.bad_pages) == (memory.plan.pages, 0)
            # every page was visited: the guest's own words differ from what the host wrote
            first, end = memory.plan.first_page * 1024, memory.plan.end_page * 1024
            assert (memory.words[first:end:1024] != 0).all()

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_ring_counts_every_beat(accel: str, build: Build, place: GuestPlace) -> None:
    """Compared to the counter of all beats, which only a beat increments."""

    async def scene() -> None:
        async with booted(scenario(accel, touched=0.02), build, place) as guest:
            memory, shift = guest.memory, guest.plan.ring_shift
            await asyncio.sleep(0.2)
            first, since = memory.beats()[0], memory.slot_word(0, at.S_TICK)
            await asyncio.sleep(0.2)
            until, last = memory.slot_word(0, at.S_TICK), memory.beats()[0]
            await asyncio.sleep(0.05)
            ring = memory.ring(0, since)
            turns = 1 << (32 - shift)
            begin, end = (((tick >> shift) - ring.first) % turns for tick in (since, until))
            inner, outer = sum(ring.counts[begin + 1 : end]), sum(ring.counts[begin : end + 1])
            # this thread may be preempted between reading counter and tick
            slack = max(ring.counts) * 20
            assert inner - slack <= last - first <= outer + slack
            assert last - first > 50 * slack / 20

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_ticks_are_sampled_on_a_host_with_long_sleeps(
    accel: str, build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose shortest sleep is longer than a sample stays fresh."""
    sleep = time.sleep

    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            monkeypatch.setattr("runners.payload.memory.time.sleep", lambda _: sleep(0.001))
            samples = guest.memory.sample_ticks(TIMEOUT_S)
            assert sum(map(len, samples)) >= 16

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_thread_ids_are_in_the_order_of_vcpus(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=2), build, place) as guest:
            tasks = Path(f"/proc/{guest.qemu.pid}/task")
            names = [(tasks / str(tid) / "comm").read_text().strip() for tid in guest.vcpu_tids]
            assert names == [f"CPU {n}/{accel.upper()}" for n in (0, 1)]
            with pytest.raises(TransferRefused, match=r"reports vCPUs \[0, 1\], not 3"):
                await vcpu_tids(guest.qemu, 3)

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_stopped_guest_does_not_beat_and_logs_the_gap(
    accel: str, build: Build, place: GuestPlace
) -> None:
    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            memory = guest.memory
            await guest.qemu.execute("stop")
            stopped = memory.beats()
            logged = [memory.gaps_logged(v) for v in (0, 1)]
            with pytest.raises(GuestLost, match="did not beat"):
                memory.wait_for_beats(stopped, 0.02)
            assert memory.beats() == stopped
            # A clock that stops with the guest shows no gap: set the last tick back.
            for vcpu in (0, 1):
                place_of = (at.SLOTS + (vcpu << at.SLOT_SHIFT) + at.S_TICK) // 4
                memory.words[place_of] -= 10 * memory.plan.threshold_ticks
            await guest.qemu.execute("cont")
            # A vCPU stopped while logging a shorter gap counts that one first: wait for two beats.
            memory.wait_for_beats(stopped, TIMEOUT_S)
            memory.wait_for_beats(memory.beats(), TIMEOUT_S)
            for vcpu in (0, 1):
                gaps, lost = memory.gaps_since(vcpu, logged[vcpu])
                lengths = [(g.end_tick - g.start_tick) % (1 << 32) for g in gaps]
                assert max(lengths) >= 10 * memory.plan.threshold_ticks
                assert memory.slot_word(vcpu, at.S_LONGEST) >= max(lengths)
                assert not lost

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_sampled_ticks_are_monotonic(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=1), build, place) as guest:
            samples = guest.memory.sample_ticks(timeout_s=TIMEOUT_S)[0]
            assert len(samples) >= 2
            assert samples == sorted(samples)

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_beats_are_counted_in_the_ring_of_intervals(
    accel: str, build: Build, place: GuestPlace
) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=1), build, place) as guest:
            memory = guest.memory
            await until(lambda: passes(memory) > 0, "a walk")
            await guest.qemu.execute("stop")
            ring = (at.SLOTS + at.S_RING) // 4
            entries = memory.words[ring : ring + 2 * at.RING_ENTRIES].reshape(-1, 2).copy()
            used = entries[entries[:, 1] > 0]
            assert len(used) > 1
            places = [int(n) % at.RING_ENTRIES for n in used[:, 0]]
            # the guest may have been stopped between the two stores that open an interval
            assert (entries[places] == used).all(axis=1).sum() >= len(used) - 1
            # beats of the first walk are not counted in the ring
            assert 0 < used[:, 1].sum() <= memory.beats()[0]

    asyncio.run(scene())


# -- a guest whose RAM is changed -----------------------------------------------------------------


async def assert_detects_change(guest: Guest, vcpu: int, words: slice) -> None:
    """Change `words` until `vcpu` finds a change.

    One attempt may not suffice: a vCPU that was stopped between reading its own words and writing
    new ones overwrites the change. On a KVM that emulates this is not rare, as it stops at certain
    instructions only.
    """
    memory = guest.memory
    before = memory.errors(vcpu)[0]

    def found() -> bool:
        return memory.errors(vcpu)[0] > before

    for bit in range(16, 21):  # a different one each time: the same bit would undo the change
        await guest.qemu.execute("stop")
        memory.words[words] ^= 1 << bit
        enough = memory.slot_word(vcpu, at.S_PASSES) + 50  # a visit checks one word of the pattern
        await guest.qemu.execute("cont")
        await until(
            lambda n=enough: found() or memory.slot_word(vcpu, at.S_PASSES) > n,  # type: ignore[misc]
            "fifty walks",
        )
        if found():
            return
    pytest.fail(f"vCPU {vcpu} did not detect the change")


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("word", [1, 700], ids=["its-own-word", "the-pattern"])
def test_guest_detects_a_change(accel: str, word: int, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=2, touched=0.02), build, place) as guest:
            memory = guest.memory
            page = memory.plan.first_page + 101
            assert [memory.errors(v)[0] for v in (0, 1)] == [0, 0]
            words = slice(page * 1024 + word, (page + 1) * 1024 if word > 1 else page * 1024 + 2)
            await assert_detects_change(guest, 1, words)  # vCPU 1 of 2 has the odd pages
            assert memory.errors(1)[1].startswith(f"page {page:#x} word ")
            assert memory.errors(0) == (0, "")
            if word > 1:
                assert memory.check().first_bad == f"page {page:#x}"

    asyncio.run(scene())


# -- RAM above the PCI hole -----------------------------------------------------------------------


def straddling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Place the working set on both sides of the hole, so that little of the RAM is touched."""

    def plan(*given: object) -> GuestPlan:
        made = plan_guest(*given)  # type: ignore[arg-type]
        low = made.low_bytes // at.PAGE_BYTES
        return replace(made, first_page=low - 200, end_page=low + 1500)

    monkeypatch.setattr(runners.qemu.guest, "plan_guest", plan)


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize(("machine", "gib"), [("q35", 3), ("pc", 5)])
def test_pages_above_4_gib_are_walked_and_verified(
    accel: str,
    machine: str,
    gib: int,
    build: Build,
    place: GuestPlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are mapped through a window by paging, one window per vCPU.

    The pages of the file and of the guest only match if QEMU splits RAM where we expect it.
    """
    straddling(monkeypatch)

    async def scene() -> None:
        large = scenario(accel, machine=machine, ram_bytes=gib * GIB, vcpus=2)
        async with booted(large, build, place) as guest:
            memory = guest.memory
            low = memory.plan.low_bytes // at.PAGE_BYTES
            assert memory.plan.first_page < low < memory.plan.end_page
            await until(lambda: passes(memory) > 1, "two walks")
            assert [memory.errors(v) for v in (0, 1)] == [(0, "")] * 2
            found = memory.check()
            assert (found.pages, found.bad_pages) == (1700, 0)
            first, end = memory.plan.first_page * 1024, memory.plan.end_page * 1024
            assert (memory.words[first:end:1024] != 0).all()
            # the first page above the hole, one inside a later window, the last one
            for vcpu, page in ((0, low), (1, low + 1025), (1, low + 1499)):
                word = slice(page * 1024 + 1, page * 1024 + 2)
                await assert_detects_change(guest, vcpu, word)

    asyncio.run(scene())


# -- guests that do not start ---------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pids of all QEMUs started from here on."""
    started: list[int] = []
    start = runners.qemu.guest.start_qemu

    def noting(*given: Any, **named: Any) -> object:
        qemu = start(*given, **named)
        started.append(qemu.pid)
        return qemu

    monkeypatch.setattr(runners.qemu.guest, "start_qemu", noting)
    return started


def test_missing_firmware_is_reported_with_qemus_error(
    build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = pids(monkeypatch)
    bad = replace(place, firmware=place.directory / "absent.bin")
    with pytest.raises(GuestLost, match=r"absent\.bin") as caught:
        asyncio.run(Guest.boot(scenario("tcg"), build, bad))
    assert "exited with status 1" in str(caught.value)
    assert "absent.bin" in caught.value.log_tail
    assert "-bios" in caught.value.argv
    assert [alive(pid) for pid in started] == [False]


@pytest.mark.parametrize("launcher", ["/bin/false", "/bin/true"])
def test_program_other_than_qemu_is_lost(
    launcher: str, build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = pids(monkeypatch)
    with pytest.raises(GuestLost, match=r"exited with status \d+ while opening its monitor"):
        asyncio.run(Guest.boot(scenario("tcg"), replace(build, launcher=(launcher,)), place))
    assert [alive(pid) for pid in started] == [False]


def test_qemu_that_was_removed_is_lost(build: Build, place: GuestPlace) -> None:
    gone = replace(build, launcher=("/nonexistent/qemu",))
    with pytest.raises(GuestLost, match=r"^/nonexistent/qemu cannot be executed: No such file"):
        asyncio.run(Guest.boot(scenario("tcg"), gone, place))


def test_unknown_machine_and_cpu_are_reported_with_qemus_error(
    build: Build, place: GuestPlace
) -> None:
    for fields, words in (({"machine": "q36"}, "q36"), ({"cpu": "z80"}, "z80")):
        with pytest.raises(GuestLost) as caught:
            asyncio.run(Guest.boot(scenario("tcg", **fields), build, place))
        assert words in str(caught.value)


def test_fault_in_the_payload_ends_the_boot(
    build: Build, place: GuestPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any fault is a triple fault, which ends QEMU: the boot does not wait for the timeout."""
    started = pids(monkeypatch)
    broken = tmp_path / "broken.bin"
    code = bytearray(place.firmware.read_bytes())
    listed = subprocess.run(
        ["nm", str(place.firmware.with_suffix(".o"))], capture_output=True, text=True, check=True
    ).stdout
    start = next(int(line.split()[0], 16) for line in listed.splitlines() if "rom32" in line)
    code[start : start + 2] = b"\x0f\x0b"  # ud2
    broken.write_bytes(code)
    with pytest.raises(GuestLost, match="before the guest's first beat"):
        asyncio.run(Guest.boot(scenario("tcg"), build, replace(place, firmware=broken)))
    assert [alive(pid) for pid in started] == [False]


def test_closed_guest_leaves_no_process_and_no_mapping(build: Build, place: GuestPlace) -> None:
    async def scene() -> tuple[int, int]:
        async with booted(scenario("tcg"), build, place) as guest:
            inode = guest.memory.inode
            assert f" {inode} " in Path("/proc/self/maps").read_text()
            return guest.qemu.pid, inode

    pid, inode = asyncio.run(scene())
    assert not alive(pid)
    assert f" {inode} " not in Path("/proc/self/maps").read_text()


def test_ram_is_found_by_its_size(build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario("tcg"), build, place) as guest:
            pid = guest.qemu.pid
            mapping = ram_mapping(pid, 64 * MIB)
            assert (mapping.shared, mapping.inode) == (True, guest.memory.inode)
            assert ram_descriptor(pid, 64 * MIB).stat().st_ino == mapping.inode
            with pytest.raises(GuestLost, match=f"maps no file of {65 * MIB} bytes"):
                ram_mapping(pid, 65 * MIB)

    asyncio.run(scene())
