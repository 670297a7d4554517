"""Real updates without probes, and the state of the guest when one fails."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import runners.qemu.guest
from results.errors import GuestLost
from results.judgement.brownout import follow
from results.judgement.guest_clock import tick_rate
from results.judgement.judge import judge
from results.judgement.witnesses import FROZEN_TOLERANCE_NS
from results.records.observations import Gap
from results.records.recording import Recording
from results.records.run import SCHEMA
from results.records.scenario import GIB, MIB, Build, Scenario
from runners.payload import layout as at
from runners.payload.build import build_payload
from runners.payload.memory import plan_guest
from runners.qemu.guest import Guest, GuestPlace
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_mapping
from runners.transfer import cpr_transfer
from runners.transfer.handover import Hooks, Transferred, update_guest

pytestmark = pytest.mark.qemu
ROOT = Path(runners.qemu.guest.__file__).parents[2]
ACCELS = [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"]
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_payload(tmp_path_factory.mktemp("payload"))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, firmware: Path) -> GuestPlace:
    # Not tmp_path: it contains the test's name, which makes socket paths too long.
    return GuestPlace(tmp_path_factory.mktemp("g"), firmware)


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


def alive(pid: int) -> bool:
    """Whether a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sockets(place: GuestPlace) -> list[str]:
    return [entry.name for entry in place.directory.iterdir() if entry.is_socket()]


def assert_complete(seen: Transferred, vcpus: int) -> None:
    assert seen.failure == ""
    assert (seen.old.runstate, seen.new.runstate) == ("postmigrate", "running")
    assert seen.ram is not None
    assert (seen.ram.bad_pages, seen.ram.first_bad) == (0, "")
    assert [beats.index for beats in seen.beats] == list(range(vcpus))
    for beats in seen.beats:
        assert beats.beats_after != beats.beats_before
        assert (beats.pattern_errors, beats.first_error) == (0, "")


# -- successful updates ---------------------------------------------------------------------------


@pytest.mark.parametrize("accel", ACCELS)
def test_chain_of_three_updates(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> list[int]:
        pids = []
        async with booted(scenario(accel, vcpus=2), build, place) as guest:
            inode = guest.memory.inode
            for update in (1, 2, 3):
                old, old_tids = guest.qemu.pid, guest.vcpu_tids
                held: list[tuple[object, ...]] = []
                hooks = Hooks(
                    hold=lambda o, n, ot, nt, h=held: h.append((o.pid, n.pid, ot, nt))  # type: ignore[misc]
                )
                seen = await update_guest(guest, build, hooks)
                assert_complete(seen, 2)
                assert (seen.old.pid, seen.new.pid) == (old, guest.qemu.pid)
                assert old not in (guest.qemu.pid, *pids)
                assert seen.old.vcpu_tids == old_tids
                assert seen.new.vcpu_tids == guest.vcpu_tids
                assert held == [(old, guest.qemu.pid, old_tids, guest.vcpu_tids)]
                assert guest.updates == update
                assert not alive(old)
                assert ram_mapping(guest.qemu.pid, 64 * MIB).inode == inode
                assert sockets(place) == []
                assert list(seen.steps) == [
                    *("migrate", "monitor", "migrate_incoming", "completed", "done")
                ]
                assert list(seen.steps.values()) == sorted(seen.steps.values())
                pids.append(old)
            pids.append(guest.qemu.pid)
            assert len(set(pids)) == 4
        return pids

    assert not any(alive(pid) for pid in asyncio.run(scene()))


@pytest.mark.parametrize("accel", ACCELS)
def test_update_is_seen_by_qmp_and_by_the_guest(
    accel: str, build: Build, place: GuestPlace
) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=1), build, place) as guest:
            for _ in (1, 2):  # the second must not contain events of the first
                seen = await update_guest(guest, build)
                events = [(stamp.side, stamp.name) for stamp in seen.qmp]
                assert events.count(("old", "STOP")) == 1
                assert events.count(("new", "RESUME")) == 1
                assert seen.migrate_info["downtime"] >= 0
                sent, done = seen.steps["migrate"], seen.steps["done"]
                assert all(sent < stamp.ns < done for stamp in seen.qmp)
                assert [stamp.ns for stamp in seen.qmp] == sorted(stamp.ns for stamp in seen.qmp)
                (beats,) = seen.beats
                # on a busy host there may be no fresh sample
                assert all(ns < seen.steps["migrate_incoming"] for ns, _ in beats.before)
                assert all(ns > seen.steps["completed"] for ns, _ in beats.after)

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_rate_is_followed_after_the_update(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, vcpus=1), build, place) as guest:
            await asyncio.sleep(0.2)
            seen = await update_guest(guest, build)
            (beats,) = seen.beats
            gap = max(beats.gaps, key=lambda g: (g.end_tick - g.start_tick) % (1 << 32))
            found = follow(beats.ring, gap.start_tick, gap.end_tick, 100.0)
            assert found is not None
            assert found.beats_per_s > 0
            # The ring counts beats before and after the gap, and none in it.
            turns = 1 << (32 - beats.ring.shift)
            start, end = (
                ((tick >> beats.ring.shift) - beats.ring.first) % turns
                for tick in (gap.start_tick, gap.end_tick)
            )
            assert sum(beats.ring.counts[:start]) > 0
            assert sum(beats.ring.counts[start + 1 : end]) == 0
            assert sum(beats.ring.counts[end + 1 :]) > 0

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_gap_of_the_guest_contains_the_pause_seen_by_qmp(
    accel: str, build: Build, place: GuestPlace
) -> None:
    """Without probes the guest and QMP are the only witnesses; STOP to RESUME is shorter."""
    chosen = scenario(accel, vcpus=2)

    async def scene() -> None:
        async with booted(chosen, build, place) as guest:
            start, stretches = guest.memory.sample_ticks(), []
            for _ in range(10):  # until one is not disturbed by other load on the host
                seen = await update_guest(guest, build)
                assert_complete(seen, 2)
                end = [sample for beats in seen.beats for sample in beats.before]
                stretches.append(([sample for of_vcpu in start for sample in of_vcpu], end))
                start = [list(beats.after) for beats in seen.beats]
                run = judge(unprobed(seen, chosen, tick_rate(stretches)))
                assert (run.outcome, run.reason) == ("completed", "")
                assert run.blackout_ns is None
                if run.guest_gap_ns is not None:
                    assert run.witnesses.qmp is not None
                    assert run.guest_gap_ns > run.witnesses.qmp - FROZEN_TOLERANCE_NS
                    return
            pytest.fail("the guest's clock was not usable in ten updates")

    asyncio.run(scene())


def unprobed(seen: Transferred, chosen: Scenario, tick_ns: float) -> Recording:
    return Recording(
        schema=SCHEMA,
        id="s.test.b01.u01",
        session="s",
        boot=1,
        update=1,
        started_unix_ns=0,
        scenario=chosen,
        old_build="system",
        new_build="system",
        old=seen.old,
        new=seen.new,
        steps=seen.steps,
        probed=False,
        qmp=seen.qmp,
        migrate_info=seen.migrate_info,
        beats=seen.beats,
        tick_ns=tick_ns,
        ram=seen.ram,
    )


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("backend", ["memfd", "shm"])
def test_other_backends_are_transferred(
    accel: str, backend: str, build: Build, place: GuestPlace
) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, backend=backend, vcpus=1), build, place) as guest:
            assert_complete(await update_guest(guest, build), 1)

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_transfer_with_return_path(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel, return_path=True), build, place) as guest:
            assert_complete(await update_guest(guest, build), 2)
            assert_complete(await update_guest(guest, build), 2)

    asyncio.run(scene())


@pytest.mark.kvm  # TCG would lock its code buffer of 1 GiB, which takes seconds
def test_locked_memory_is_transferred(build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario("kvm", mem_lock=True), build, place) as guest:
            assert_complete(await update_guest(guest, build), 2)
            status = Path(f"/proc/{guest.qemu.pid}/status").read_text()
            locked = next(line for line in status.splitlines() if line.startswith("VmLck"))
            assert int(locked.split()[1]) * 1024 >= guest.scenario.ram_bytes

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_ram_above_4_gib_is_transferred(
    accel: str, build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(*given: object) -> object:
        made = plan_guest(*given)  # type: ignore[arg-type]
        low = made.low_bytes // at.PAGE_BYTES
        return replace(made, first_page=low - 200, end_page=low + 1500)

    monkeypatch.setattr(runners.qemu.guest, "plan_guest", plan)

    async def scene() -> None:
        async with booted(scenario(accel, ram_bytes=3 * GIB, vcpus=2), build, place) as guest:
            seen = await update_guest(guest, build)
            assert_complete(seen, 2)
            assert seen.ram is not None
            assert seen.ram.pages == 1700

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_changed_byte_is_detected(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            page = guest.plan.first_page + 7

            def harm(*_: object) -> None:
                guest.memory.words.view("uint8")[page * 4096 + 3000] ^= 1

            seen = await update_guest(guest, build, Hooks(hold=harm))
            assert seen.failure == ""
            assert seen.ram is not None
            assert (seen.ram.bad_pages, seen.ram.first_bad) == (1, f"page {page:#x}")

    asyncio.run(scene())


# -- failed updates: `failure` is set, the old guest runs on, nothing is left behind --------------


async def assert_old_guest_lives(guest: Guest, old: Qemu) -> None:
    assert guest.qemu is old
    assert old.alive()
    assert (await old.execute("query-status"))["status"] == "running"
    guest.memory.wait_for_beats(guest.memory.beats(), TIMEOUT_S)
    assert guest.memory.check().bad_pages == 0


@pytest.mark.parametrize("accel", ACCELS)
def test_qemu_refuses_private_auxiliary_ram(
    accel: str, build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claim 6 of CPR's author: without aux-ram-share=on at the start, QEMU refuses the update."""
    complete = runners.qemu.guest.guest_argv

    def private(*given: object, **named: object) -> tuple[str, ...]:
        argv = complete(*given, **named)  # type: ignore[arg-type]
        return tuple(word.replace(",aux-ram-share=on", "") for word in argv)

    monkeypatch.setattr(runners.qemu.guest, "guest_argv", private)

    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            old = guest.qemu
            seen = await update_guest(guest, build)
            assert "old QEMU refused migrate" in seen.failure
            assert "is not compatible with CPR" in seen.failure
            assert seen.beats == ()
            assert not alive(seen.new.pid)
            await assert_old_guest_lives(guest, old)
        assert sockets(place) == []

    asyncio.run(scene())


def test_guest_with_private_ram_is_not_booted(
    build: Build, place: GuestPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = runners.qemu.guest.guest_argv

    def private(*given: object, **named: object) -> tuple[str, ...]:
        argv = complete(*given, **named)  # type: ignore[arg-type]
        return tuple(word.replace(",share=on", ",share=off") for word in argv)

    monkeypatch.setattr(runners.qemu.guest, "guest_argv", private)
    with pytest.raises(GuestLost, match="maps no file of"):
        asyncio.run(Guest.boot(scenario("tcg"), build, place))


@pytest.mark.parametrize("accel", ACCELS)
def test_new_qemu_does_not_start(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            old = guest.qemu
            seen = await update_guest(guest, replace(build, launcher=("/bin/false",)))
            assert re.match(
                r"new QEMU exited with status 1 [\d.]+ ms after new QEMU was started", seen.failure
            )
            assert seen.new.runstate == "gone"
            await assert_old_guest_lives(guest, old)
            assert_complete(await update_guest(guest, build), 2)  # it can still be updated

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_new_qemu_exits_after_reading_the_cpr_state(
    accel: str, build: Build, place: GuestPlace
) -> None:
    """It does not find its firmware, which it loads after receiving the descriptors."""

    async def scene() -> None:
        async with booted(scenario(accel), build, place) as guest:
            old, good = guest.qemu, guest.place
            guest.place = replace(place, firmware=place.directory / "absent.bin")
            seen = await update_guest(guest, build)
            guest.place = good
            assert "absent.bin" in seen.failure
            assert "absent.bin" in seen.new.log_tail
            assert "migrate" in seen.steps
            await assert_old_guest_lives(guest, old)

    asyncio.run(scene())


@pytest.mark.parametrize("accel", ACCELS)
def test_new_qemu_is_killed_in_the_hold(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> tuple[int, int]:
        async with booted(scenario(accel), build, place) as guest:
            old = guest.qemu

            def kill(_old: Qemu, new: Qemu, *_: object) -> None:
                new.process.send_signal(signal.SIGKILL)

            start = time.monotonic()
            seen = await update_guest(guest, build, Hooks(hold=kill))
            assert time.monotonic() - start < TIMEOUT_S
            assert "new QEMU was killed by signal 9 (SIGKILL)" in seen.failure
            assert re.search(r"ms after (the monitor of|`migrate-incoming`)", seen.failure)
            assert seen.new.runstate == "gone"
            assert len(seen.new.vcpu_tids) == 2
            await assert_old_guest_lives(guest, old)
            return old.pid, seen.new.pid

    assert not any(alive(pid) for pid in asyncio.run(scene()))
    assert sockets(place) == []


@pytest.mark.parametrize("accel", ACCELS)
def test_old_qemu_is_killed_in_the_hold(accel: str, build: Build, place: GuestPlace) -> None:
    async def scene() -> tuple[int, int]:
        async with booted(scenario(accel), build, place) as guest:

            def kill(old: Qemu, *_: object) -> None:
                old.process.send_signal(signal.SIGKILL)

            seen = await update_guest(guest, build, Hooks(hold=kill))
            assert "old QEMU was killed by signal 9 (SIGKILL)" in seen.failure
            assert seen.old.runstate == "gone"
            assert seen.ram is None
            return seen.old.pid, seen.new.pid

    assert not any(alive(pid) for pid in asyncio.run(scene()))


def test_interrupt_in_the_hold_kills_new_qemu_and_is_raised(
    build: Build, place: GuestPlace
) -> None:
    """Ctrl-C under asyncio.run is a cancellation of the main task."""
    pids: list[int] = []

    def interrupt(old: Qemu, new: Qemu, *_: object) -> None:
        pids.extend((old.pid, new.pid))
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def scene() -> None:
        async with booted(scenario("tcg"), build, place) as guest:
            try:
                await update_guest(guest, build, Hooks(hold=interrupt))
            finally:
                assert [alive(pid) for pid in pids] == [True, False]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scene())
    assert [alive(pid) for pid in pids] == [False, False]
    assert sockets(place) == []


def test_qemus_die_with_the_process_that_started_them(
    build: Build, place: GuestPlace, tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from results.records.scenario import Build, Scenario
        from runners.qemu.guest import Guest, GuestPlace
        from runners.transfer.handover import Hooks, update_guest

        def hold(old, new, *_):
            print(old.pid, new.pid, flush=True)
            time.sleep(60)

        async def main():
            build = Build("system", {build.binary!r}, "", "", "", {build.launcher!r})
            place = GuestPlace(Path({str(place.directory)!r}), Path({str(place.firmware)!r}))
            scenario = Scenario("test", "anon", accel="tcg", ram_bytes=64 << 20)
            guest = await Guest.boot(scenario, build, place)
            await update_guest(guest, build, Hooks(hold=hold))

        asyncio.run(main())
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        pids = [int(word) for word in it.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        os.kill(it.pid, signal.SIGKILL)
    end = time.monotonic() + TIMEOUT_S
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, f"QEMU outlived its parent: {pids}"
        time.sleep(0.01)


# -- sleeping through the blackout -----------------------------------------------------------------


class Beats:
    """Scripted guest memory: each read returns the next beat count, and the gaps logged by then.

    A gap is (read that shows it, its length in ticks); gaps from 2,000 ticks on are logged.
    """

    plan = SimpleNamespace(threshold_ticks=2_000)

    def __init__(self, beats: list[int], gaps: list[tuple[int, int]]) -> None:
        self._beats, self._gaps, self.reads = beats, gaps, 0

    def beats(self) -> tuple[int, ...]:
        self.reads += 1
        return (self._beats[min(self.reads, len(self._beats)) - 1],)

    def gaps_since(self, vcpu: int, logged: int) -> tuple[tuple[Gap, ...], bool]:
        assert (vcpu, logged) == (0, 7)
        return tuple(Gap(10, 10 + ticks) for read, ticks in self._gaps if read <= self.reads), False


@pytest.mark.parametrize(
    ("beats", "gaps", "reads"),
    [
        pytest.param([1, 2, 3, 4, 5], [(4, 20_000)], 4, id="a-gap-was-logged"),
        pytest.param([1, 2, 3, 4, 5, 6], [(2, 2_100), (5, 20_000)], 5, id="after-a-wait-for-a-cpu"),
        pytest.param([1, 2, 2, 2, 9], [], 5, id="beats-stopped-and-continued"),
    ],
)
def test_sleeps_until_the_guest_beats_again(
    beats: list[int], gaps: list[tuple[int, int]], reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpr_transfer, "BLACKOUT_SLEEP_S", 60.0)  # no timeout on a busy host
    memory = Beats(beats, gaps)
    cpr_transfer.sleep_through_blackout(memory, [7])  # type: ignore[arg-type]
    assert memory.reads == reads


def test_sleep_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a guest whose pause is shorter than the polling interval, or that never pauses."""
    monkeypatch.setattr(cpr_transfer, "BLACKOUT_SLEEP_S", 0.01)
    memory = Beats(list(range(3000)), [(3000, 20_000)])  # it logs a gap, but much later
    cpr_transfer.sleep_through_blackout(memory, [7])  # type: ignore[arg-type]
    assert memory.reads <= 12  # at most one per millisecond
