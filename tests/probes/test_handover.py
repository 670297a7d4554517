"""The handover probe on workloads with known counts and pauses."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probes.bpf_program import SkippedCalls
from probes.handover import HandoverProbe, ring_pages
from results.records.scenario import Scenario
from results.timeline.cpr_channel import carried_descriptors
from runners.builds.discover import default_build
from runners.payload.build import build_payload
from runners.qemu.guest import Guest, GuestPlace
from runners.transfer.handover import Hooks, update_guest

pytestmark = [pytest.mark.bpf, pytest.mark.qemu]

PAUSE_NS = 50_000_000
ROOT = Path(__file__).resolve().parents[2]

# Maps a file N times, shared, for each line of input.
MAPPER = """
import mmap, sys, tempfile
with tempfile.TemporaryFile() as f:
    f.truncate(4096)
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            mmap.mmap(f.fileno(), 4096).close()
        print("done", flush=True)
"""


@pytest.fixture(scope="module")
def build():
    return default_build()


@pytest.fixture(scope="module")
def probe(build):
    with HandoverProbe([build]) as probe:
        yield probe


@pytest.fixture
def place(tmp_path):
    return GuestPlace(tmp_path, build_payload(tmp_path))


@pytest.fixture
def mapper():
    with subprocess.Popen(
        [sys.executable, "-c", MAPPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"

        def run(count: int) -> None:
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        process.run = run
        yield process
        process.kill()


def mapped(observed, pid):
    return [e for e in observed.events if e.mark == "mmap" and e.pid == pid]


def test_counts_exactly_what_happened(probe, mapper):
    probe.watch(mapper.pid)
    mapper.run(23)
    observed = probe.collect((), ())
    probe.forget(mapper.pid, ())
    assert len(mapped(observed, mapper.pid)) == 23
    assert all(e.values["length"] == 4096 for e in mapped(observed, mapper.pid))
    assert observed.lost == 0


def test_records_nothing_of_an_unwatched_process(probe, mapper):
    mapper.run(23)
    assert probe.collect((), ()).events == ()


def test_a_record_that_cannot_be_written_is_counted(probe, mapper):
    # The ring holds 1 MiB and is not drained meanwhile: every event must be recorded or lost.
    probe.watch(mapper.pid)
    mapper.run(20_000)
    observed = probe.collect((), ())
    probe.forget(mapper.pid, ())
    assert observed.lost > 0
    assert len(mapped(observed, mapper.pid)) + observed.lost == 20_000
    mapper.run(1)
    assert probe.collect((), ()).lost == 0, "an earlier loss must not affect the next run"


def test_a_ring_is_sized_by_the_descriptors_and_bounded():
    assert [ring_pages(n) for n in (0, 1, 900, 5000, 1 << 30)] == [256, 512, 2048, 8192, 1 << 16]


def test_skipped_calls_are_read_for_every_program(probe):
    """A call cannot be skipped on purpose, but every program must be read exactly once."""
    files = {name: Path(f"/proc/self/fdinfo/{f.fd}") for name, f in probe._bpf.funcs.items()}
    at_marks = {name for name in files if name.startswith((b"enter_", b"return_"))}
    for calls, names in ((probe._marks, at_marks), (probe._others, files.keys() - at_marks)):
        asked = [os.pread(file, 4096, 0).decode() for file in calls._files]
        wanted = [files[name].read_text() for name in names]
        assert len(wanted) > 5
        assert sorted(map(program_id, asked)) == sorted(map(program_id, wanted))
        assert all("recursion_misses" in text for text in asked)


def program_id(text):
    """From the fdinfo of a BPF program."""
    return re.search(r"^prog_id:\s*(\d+)$", text, re.MULTILINE)[1]


def test_skipped_calls_are_summed(tmp_path):
    counted = SkippedCalls(())
    for number, text in enumerate((b"prog_type:\t2\nrecursion_misses:\t3\nx:\t9\n", b"pos:\t0\n")):
        file = tmp_path / str(number)
        file.write_bytes(text)
        counted._files.append(os.open(file, os.O_RDONLY))
    assert counted.count() == 3
    counted.close()
    assert counted.count() == 0


def test_attaches_every_needed_mark(probe, build):
    assert {"vm_stop", "pause_vcpus", "cpr_save", "load"} <= set(probe.attached[build.build_id])


@pytest.mark.parametrize("accel", [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"])
def test_recovers_a_known_pause(probe, build, place, accel):
    """QMP stop, 50 ms, cont: the bracket must be at least as long as the time in between."""

    async def pause():
        guest = await Guest.boot(
            Scenario("known-pause", "anon", accel=accel, vcpus=2), build, place
        )
        try:
            tids = guest.vcpu_tids
            probe.watch(guest.qemu.pid)
            probe.arm(tids)
            sent = time.monotonic_ns()
            await guest.qemu.execute("stop")
            stopped = time.monotonic_ns()
            left = [b.run_last_exit_ns for b in probe.collect(tids, tids).brackets]
            # While stopping, a vCPU thread enters once more and leaves at once: arm again.
            probe.arm(tids)
            time.sleep(PAUSE_NS / 1e9)
            resuming = time.monotonic_ns()
            await guest.qemu.execute("cont")
            guest.memory.wait_for_beats(guest.memory.beats(), 5)
            resumed = time.monotonic_ns()
            entered = [b.run_first_entry_ns for b in probe.collect(tids, tids).brackets]
            probe.forget(guest.qemu.pid, tids)
            return left, entered, resuming - stopped, resumed - sent
        finally:
            await guest.end()

    left, entered, least, most = asyncio.run(pause())
    assert len(left) == len(entered) == 2
    for exit_ns, entry_ns in zip(left, entered, strict=True):
        assert PAUSE_NS <= least <= entry_ns - exit_ns <= most


@pytest.mark.kvm
def test_an_independent_script_finds_the_same_gaps(probe, build, place):
    """The brackets agree with another program's stream of raw_syscalls within 50 µs per vCPU."""

    async def handovers(count):
        guest = await Guest.boot(
            Scenario("independent", "anon", accel="kvm", vcpus=2), build, place
        )
        found = []

        def started(old, new):
            probe.watch(old)
            probe.watch(new, incoming=True)

        def hold(old, new, old_tids, new_tids):
            probe.arm((*old_tids, *new_tids))

        try:
            for _ in range(count):
                seen = await update_guest(guest, build, Hooks(started=started, hold=hold))
                assert not seen.failure, seen.failure
                observed = probe.collect(seen.old.vcpu_tids, seen.new.vcpu_tids)
                probe.forget(seen.old.pid, seen.old.vcpu_tids)
                found += observed.brackets
        finally:
            await guest.end()
        return found

    script = Path(__file__).with_name("independent_gap.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as witness:
        assert witness.stdout.readline() == "READY\n"
        brackets = asyncio.run(handovers(3))
        witness.stdin.close()
        report = json.load(witness.stdout)
    assert report["lost"] == 0
    assert len(brackets) == 6
    for bracket in brackets:
        rows = report["rows"]
        # The payload causes no exits to QEMU: old's last exit is the last before new's entry.
        entered = min(ns for tid, kind, ns in rows if tid == bracket.new_tid and kind == "enter")
        left = max(
            ns for tid, kind, ns in rows
            if tid == bracket.old_tid and kind == "exit" and ns < entered
        )  # fmt: skip
        ours = bracket.run_first_entry_ns - bracket.run_last_exit_ns
        assert abs((entered - left) - ours) < 50_000, (bracket, entered - left, ours)


def test_descriptors_are_captured_even_if_watched_late(probe, build, place):
    """On a busy host new QEMU may be watched only when it already waits for the CPR state."""

    async def late():
        guest = await Guest.boot(Scenario("late", "anon", accel="tcg"), build, place)

        def started(old, new):
            time.sleep(0.3)
            probe.watch(old)
            probe.watch(new, incoming=True)

        try:
            seen = await update_guest(guest, build, Hooks(started=started))
            observed = probe.collect((), ())
            probe.forget(seen.old.pid, ())
            probe.forget(seen.new.pid, ())
            return seen, observed
        finally:
            await guest.end()

    seen, observed = asyncio.run(late())
    assert not seen.failure, seen.failure
    carried, doubts = carried_descriptors(observed.events, seen.old.pid, seen.new.pid)
    assert doubts == ()
    assert "ram0" in {fd.name for fd in carried}
    assert not any(e.mark == "cpr_load" and e.edge == "enter" for e in observed.events)
