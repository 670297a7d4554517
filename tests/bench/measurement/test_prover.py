"""The proof around real transfers: it holds, and every fault that is made is caught."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

import bench.measurement.evidence
import bench.measurement.prover
from bench.measurement.evidence import compare_descriptor, view_from, view_of
from bench.measurement.experiment import Booted
from bench.measurement.instruments import Instrument, Instruments
from bench.measurement.probing import HandoverMarks
from bench.measurement.prover import Prover
from bench.measurement.scenarios import BUILTIN, changed, find_scenario, resolve
from bench.measurement.schedule import Trial
from bench.measurement.session import LiveSession, open_session
from probes.kcmp import same_open_file
from probes.pagemap import HUGE_PAGE_BYTES, PAGE_BYTES
from results.judgement.judge import judge
from results.records.evidence import Check, Proof
from results.records.run import CarriedFd, Run
from results.records.scenario import MIB, Scenario
from results.store.recordings import read_recording
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.payload import layout as at
from runners.pins.holder import DMA_OFFSET
from runners.qemu.process import Qemu
from runners.system.process_memory import ram_descriptor, ram_mapping
from runners.transfer.handover import Hooks

pytestmark = [pytest.mark.qemu, pytest.mark.kvm, pytest.mark.bpf]

Kind = TypeVar("Kind", bound=Instrument)

ROOT = Path(bench.measurement.evidence.__file__).parents[2]
RAM = 64 * MIB
BOOTS = itertools.count(1)
# What a loaded host does to a transfer, whatever comes of its proof: the vCPU is so slow that its
# gap log overflows before it is read, or the kernel compacts memory.
NOISE = ("no gap between beats covers its blackout", "the kernel itself migrated")
EVERYWHERE = {"RAM in place", "one copy", "descriptors"}


class Silent:
    """Shows no progress."""

    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None: ...
    def skipped(self, updates: int) -> None: ...

    planned = None


def scenario(name: str, **changes: Any) -> Scenario:
    return resolve(changed(find_scenario(name, BUILTIN), {"ram_bytes": RAM} | changes))


@contextlib.contextmanager
def session(store: Path, scenarios: list[Scenario]) -> Iterator[LiveSession]:
    with (
        open_store(store) as opened,
        open_session(scenarios, [default_build()], opened, Silent(), ["pytest"], {}) as live,
    ):
        loaded(live, Prover).controls.of(scenarios[0])
        yield live
        live.status = 0


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def live(store: Path) -> Iterator[LiveSession]:
    """A session without huge pages, so that a host without them is tested too."""
    with session(store, [scenario("anon")]) as live:
        yield live


@dataclass(slots=True)
class Meddling(Instrument):
    """Calls a test's functions at the steps of an update."""

    hooks: Hooks

    def hold(
        self, old: Qemu, new: Qemu, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> None:
        self.hooks.hold(old, new, old_tids, new_tids)

    def resumed(self, old: Qemu, new: Qemu) -> None:
        self.hooks.resumed(old, new)


def transfer(
    live: LiveSession,
    chosen: Scenario,
    meddle: Callable[[Booted], Hooks] = lambda booted: Hooks(),
    updates: int = 1,
    instruments: Instruments | None = None,
) -> list[Run]:
    """Boot a guest and update it; `meddle` may look at it and be called in the steps.

    Once more, with another guest, when the host's noise got into a run.
    """
    build = live.session.builds[0]
    instruments = instruments or live.experiment.instruments

    async def whole() -> list[Run]:
        trial = Trial(chosen, build, build, next(BOOTS), updates, chosen.id)
        async with await live.experiment.boot(trial) as booted:
            watched = instruments.plus(Meddling(meddle(booted)))
            return [await booted.update(instruments=watched) for _ in range(updates)]

    for _ in range(5):
        runs = asyncio.run(whole())
        texts = [run.reason + (run.proof.reason if run.proof else "") for run in runs]
        if not any(noise in text for noise in NOISE for text in texts):
            break
    return runs


def loaded(live: LiveSession, kind: type[Kind]) -> Kind:
    (found,) = (i for i in live.experiment.instruments.loaded if isinstance(i, kind))
    return found


def proof_of(run: Run) -> Proof:
    assert run.proof is not None
    return run.proof


def checks(run: Run) -> dict[str, Check]:
    """By name, without that of pin events, which depends on the kernel."""
    return {c.name: c for c in proof_of(run).checks if c.name != "pin events"}


def states(run: Run) -> dict[str, str]:
    return {name: check.state for name, check in checks(run).items()}


def assert_broken(run: Run, *names: str) -> None:
    """The proof is broken by exactly these checks, and the run failed for no other reason."""
    broken = {c.name for c in proof_of(run).checks if c.state == "broken"}
    assert broken - {"pin events"} == set(names), proof_of(run)
    assert proof_of(run).verdict == "broken"
    assert run.outcome == "failed"
    assert run.reason == f"proof broken: {proof_of(run).reason}"
    for name in names:
        assert f"{name}: {checks(run)[name].text}" in run.reason


# --- what holds -------------------------------------------------------------------------------


def test_ram_and_descriptors_hold_over_repeated_updates(live: LiveSession) -> None:
    runs = transfer(live, scenario("anon"), updates=3)
    for run in runs:
        assert (run.outcome, proof_of(run).verdict) == ("completed", "held"), proof_of(run)
        assert states(run) == dict.fromkeys(EVERYWHERE, "held")
        pages = RAM // 4 // PAGE_BYTES
        text = checks(run)["RAM in place"].text
        assert text.startswith(f"all {pages} touched 4 KiB pages in the same frames")
        assert "ram0 0" in checks(run)["descriptors"].text
        assert f"{len(run.fds)} carried" in checks(run)["descriptors"].text
        assert all(control.caught for control in proof_of(run).controls)
        assert 0 < proof_of(run).duration_ns < 5_000_000_000


def test_pins_and_dma_hold_through_the_transfer(live: LiveSession) -> None:
    for run in transfer(live, scenario("pinned"), updates=2):
        assert (run.outcome, proof_of(run).verdict) == ("completed", "held"), proof_of(run)
        assert states(run) == dict.fromkeys(EVERYWHERE | {"pins", "DMA"}, "held")
        assert f"VmPin {RAM // 1024} KiB" in checks(run)["pins"].text
        assert checks(run)["DMA"].text == "writes seen at hold, resumed, end"


def test_frames_are_those_of_old_qemu_and_of_new(live: LiveSession) -> None:
    places: dict[str, int] = {}

    def meddle(booted: Booted) -> Hooks:
        def note(old: Qemu, new: Qemu) -> None:
            places["old"] = ram_mapping(old.pid, RAM).start
            places["new"] = ram_mapping(new.pid, RAM).start

        return Hooks(resumed=note)

    (run,) = transfer(live, scenario("pinned"), meddle)
    expected = f"at {places['old']:#x} in old, {places['new']:#x} in new QEMU"
    assert expected in checks(run)["RAM in place"].text


def test_locked_ram_is_locked_by_both(live: LiveSession) -> None:
    (run,) = transfer(live, scenario("anon-locked"))
    assert (run.outcome, proof_of(run).verdict) == ("completed", "held"), proof_of(run)
    assert states(run) == dict.fromkeys(EVERYWHERE | {"mem-lock"}, "held")
    text = checks(run)["mem-lock"].text
    for words in ("old ", "new ", "at before", "at hold", "at resumed", "at end"):
        assert words in text


def test_ram_that_is_not_locked_is_not_reported_as_locked(live: LiveSession, store: Path) -> None:
    (run,) = transfer(live, scenario("anon"))
    recording = read_recording(store, run.id)
    locked = replace(recording, scenario=replace(recording.scenario, mem_lock=True))
    assert_broken(judge(locked), "mem-lock")


@pytest.mark.hugepages
def test_huge_pages_hold_pinned_and_not(store: Path) -> None:
    chosen = [scenario("hugetlb-2m"), scenario("pinned-2m")]
    with session(store, chosen) as live:
        plain, pinned = (transfer(live, each)[0] for each in chosen)
    for run in (plain, pinned):
        assert (run.outcome, proof_of(run).verdict) == ("completed", "held"), proof_of(run)
        text = checks(run)["RAM in place"].text
        assert text.startswith(f"all {RAM // 4 // HUGE_PAGE_BYTES} touched 2 MiB pages")
    assert states(plain) == dict.fromkeys(EVERYWHERE, "held")
    assert states(pinned) == dict.fromkeys(EVERYWHERE | {"pins", "DMA"}, "held")
    assert f"VmPin {RAM // 1024} KiB" in checks(pinned)["pins"].text


def test_pinned_pages_stay_in_place_while_the_kernel_moves_others(
    live: LiveSession,
) -> None:
    """Memory is compacted in the window: only pinned pages must stay in their frames."""
    compact = Path("/proc/sys/vm/compact_memory")
    if not compact.exists():
        pytest.skip("this kernel does not compact memory")

    def meddle(booted: Booted) -> Hooks:
        return Hooks(resumed=lambda old, new: bool(compact.write_text("1")) or None)

    for run in transfer(live, scenario("pinned"), meddle, updates=2):
        assert (run.outcome, proof_of(run).verdict) == ("completed", "held"), proof_of(run)


def test_pages_that_the_kernel_moved_do_not_fail_an_unpinned_guest(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction moves a page or it does not; either way nothing is broken."""
    monkeypatch.setattr(sys.modules[__name__], "NOISE", NOISE[:1])
    compact = Path("/proc/sys/vm/compact_memory")
    if not compact.exists():
        pytest.skip("this kernel does not compact memory")

    def meddle(booted: Booted) -> Hooks:
        return Hooks(resumed=lambda old, new: bool(compact.write_text("1")) or None)

    for run in transfer(live, scenario("anon"), meddle, updates=3):
        assert run.outcome == "completed", run.reason
        assert states(run)["RAM in place"] in ("held", "missing")
        assert proof_of(run).verdict in ("held", "unproven")


def test_a_stored_recording_is_judged_alike(live: LiveSession, store: Path) -> None:
    (run,) = transfer(live, scenario("pinned"))
    recording = read_recording(store, run.id)
    assert recording.evidence is not None
    assert [a.point for a in recording.evidence.accounts] == ["before", "hold", "resumed", "end"]
    assert judge(recording).proof == run.proof


def test_without_the_prover_no_evidence_is_gathered(live: LiveSession) -> None:
    unproven = live.experiment.instruments.without(Prover)
    (run,) = transfer(live, scenario("anon"), instruments=unproven)
    assert (run.outcome, run.proof) == ("completed", None)


# --- wrong worlds, each made during a real transfer -------------------------------------------


def test_a_holder_that_releases_its_pins_in_the_hold_is_caught(live: LiveSession) -> None:
    def meddle(booted: Booted) -> Hooks:
        def let_go(*_: Any) -> None:
            assert booted._holder is not None
            booted._holder.release()

        return Hooks(hold=let_go)

    (run,) = transfer(live, scenario("pinned"), meddle)
    assert_broken(run, "pins", "DMA")
    assert "VmPin of the holder is 0 KiB at `resumed`" in run.reason
    assert "write at `resumed`: the pin holder" in run.reason
    assert states(run)["RAM in place"] == "held"


@pytest.mark.parametrize("step", ["hold", "resumed"])
def test_a_holder_that_dies_fails_the_run_and_proves_nothing(live: LiveSession, step: str) -> None:
    """Its death is no evidence against the pages, for which the kernel gives its pins back."""

    def meddle(booted: Booted) -> Hooks:
        def kill(*_: Any) -> None:
            assert booted._holder is not None
            os.kill(booted._holder.pid, signal.SIGKILL)

        return Hooks(**{step: kill})

    (run,) = transfer(live, scenario("pinned"), meddle)
    assert run.outcome == "failed"
    assert run.reason == "pin holder ended by SIGKILL"
    assert proof_of(run).verdict == "unproven"
    assert (states(run)["pins"], states(run)["DMA"]) == ("missing", "missing")


def test_a_holder_that_is_stopped_fails_the_run_and_proves_nothing(live: LiveSession) -> None:
    def meddle(booted: Booted) -> Hooks:
        def stop(*_: Any) -> None:
            assert booted._holder is not None
            os.kill(booted._holder.pid, signal.SIGSTOP)

        return Hooks(hold=stop)

    (run,) = transfer(live, scenario("pinned"), meddle)
    assert run.reason == "pin holder does not answer (state T)"
    assert proof_of(run).verdict == "unproven"


def replace_page(booted: Booted, page: int) -> Callable[[Qemu, Qemu], None]:
    """Punch a page of guest RAM out of its file and put its content back, into another frame.

    The page is pinned, so the frame that it had is not free to be taken again.
    """

    def meddle(old: Qemu, new: Qemu) -> None:
        first = page * PAGE_BYTES
        words = booted.guest.memory.words[first // 4 : first // 4 + at.PAGE_WORDS]
        path = ram_descriptor(new.pid, RAM)
        fd = os.open(path, os.O_RDWR)
        os.kill(new.pid, signal.SIGSTOP)  # the guest must not see the page while it is empty
        try:
            stopped(new.pid)
            content = words.copy()
            punch(fd, first)
            assert not words.any()
            np.copyto(words, content)
        finally:
            os.kill(new.pid, signal.SIGCONT)
            os.close(fd)

    return meddle


def stopped(pid: int) -> None:
    """Wait until every thread of a process has stopped."""
    while any(
        (task / "stat").read_text().rpartition(")")[2].split()[0] != "T"
        for task in Path(f"/proc/{pid}/task").iterdir()
    ):
        os.sched_yield()


def punch(fd: int, offset: int) -> None:
    keep_size, punch_hole = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    where, length = ctypes.c_long(offset), ctypes.c_long(PAGE_BYTES)
    assert libc.fallocate(fd, keep_size | punch_hole, where, length) == 0


@pytest.mark.parametrize("step", ["hold", "resumed"])
def test_one_page_that_is_replaced_is_caught_with_its_number(live: LiveSession, step: str) -> None:
    page = at.FIRST_PAGE + 1234

    def meddle(booted: Booted) -> Hooks:
        change = replace_page(booted, page)
        if step == "resumed":
            return Hooks(resumed=change)
        # Old QEMU runs the guest in the hold.
        return Hooks(hold=lambda old, new, *tids: change(new, old))

    (run,) = transfer(live, scenario("pinned"), meddle)
    assert_broken(run, "RAM in place")
    pages = RAM // 4 // PAGE_BYTES
    assert f"1 of {pages} pages lie in another frame, first page {page:#x} " in run.reason
    assert f"{page * PAGE_BYTES:#x}" in run.reason, "the address"
    assert run.ram is not None
    assert run.ram.bad_pages == 0, "its content is right: only the frame tells"


def test_writes_of_the_device_miss_its_page_if_that_is_replaced(
    live: LiveSession,
) -> None:
    def meddle(booted: Booted) -> Hooks:
        return Hooks(resumed=replace_page(booted, DMA_OFFSET // PAGE_BYTES))

    (run,) = transfer(live, scenario("pinned"), meddle)
    assert_broken(run, "DMA")
    assert "write at `end`: QEMU's mapping shows " in run.reason


def another_file(pid: int, fd: int) -> int:
    """A descriptor of a process that is another open file than `fd`."""
    for entry in sorted(Path(f"/proc/{pid}/fd").iterdir()):
        if not same_open_file(pid, fd, pid, int(entry.name)):
            return int(entry.name)
    raise AssertionError(f"process {pid} has but one file")


def test_a_descriptor_that_is_another_file_in_new_qemu_is_caught(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped: list[CarriedFd] = []

    def swap(old: int, new: int, carried: CarriedFd) -> Any:
        if carried.name == "ram0" and carried.new_fd is not None:
            carried = replace(carried, new_fd=another_file(new, carried.new_fd))
            swapped.append(carried)
        return compare_descriptor(old, new, carried)

    monkeypatch.setattr(bench.measurement.evidence, "compare_descriptor", swap)
    (run,) = transfer(live, scenario("anon"))
    assert_broken(run, "descriptors")
    (fd,) = swapped
    expected = f"another open file in new QEMU: ram0 id 0 (fd {fd.old_fd} → {fd.new_fd})"
    assert expected in run.reason


@contextlib.contextmanager
def double(mode: str, path: Path) -> Iterator[dict[str, int]]:
    """A process that maps the RAM file wrongly."""
    with subprocess.Popen(
        [sys.executable, "-m", "runners.pins.tampered_mapping", mode, str(path), str(RAM)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize(
    ("mode", "differing"),
    [("private", RAM // 4 // PAGE_BYTES), ("replaced", 1), ("shared", 0)],
)
def test_ram_that_new_qemu_would_map_wrongly_is_caught(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch, mode: str, differing: int
) -> None:
    """A process with the wrong mapping of the same RAM file is read in place of new QEMU."""
    olds: list[int] = []

    def look(pid: int, ram_bytes: int, units: Any, unit: int) -> Any:
        if pid in olds:
            return view_of(pid, ram_bytes, units, unit)
        with double(mode, ram_descriptor(pid, RAM)) as other:
            return view_from(other["pid"], other["address"], units, unit)

    monkeypatch.setattr(bench.measurement.prover, "view_of", look)
    (run,) = transfer(
        live,
        scenario("pinned", touched=0.5 if mode == "replaced" else 0.25),
        lambda booted: olds.append(booted.guest.qemu.pid) or Hooks(),
    )
    if mode == "shared":
        assert proof_of(run).verdict == "held", proof_of(run)
        return
    assert_broken(run, "RAM in place")
    assert f"{differing} of " in run.reason
    if mode == "replaced":
        assert f"first page {RAM // 2 // PAGE_BYTES:#x} " in run.reason


# --- evidence that this host does not give ----------------------------------------------------


def test_hidden_frames_leave_the_run_unproven_with_the_fix(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: Any) -> None:
        raise PermissionError("the kernel hides page frames: CAP_SYS_ADMIN is needed")

    monkeypatch.setattr(bench.measurement.evidence, "read_frames", hidden)
    (run,) = transfer(live, scenario("pinned"))
    assert (run.outcome, run.reason) == ("completed", "")
    assert proof_of(run).verdict == "unproven"
    assert "CAP_SYS_ADMIN is needed" in proof_of(run).reason
    assert states(run) == dict.fromkeys(EVERYWHERE | {"pins", "DMA"}, "held") | {
        "RAM in place": "missing"
    }


def test_a_kernel_without_kcmp_leaves_the_run_unproven_with_the_fix(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled_out(*_: Any) -> bool:
        raise OSError(38, "kcmp: Function not implemented")

    monkeypatch.setattr(bench.measurement.evidence, "same_open_file", compiled_out)
    (run,) = transfer(live, scenario("anon"))
    assert (run.outcome, proof_of(run).verdict) == ("completed", "unproven")
    assert "use a kernel with CONFIG_KCMP" in proof_of(run).reason
    assert states(run) == dict.fromkeys(EVERYWHERE, "held") | {"descriptors": "missing"}


def test_a_control_that_is_missed_leaves_the_run_unproven(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = loaded(live, Prover)
    first, *others = prover.controls.of(scenario("anon"))
    blind = replace(first, caught=False, by="it saw no difference")
    monkeypatch.setattr(prover.controls, "of", lambda scenario: (blind, *others))
    (run,) = transfer(live, scenario("anon"))
    assert (run.outcome, proof_of(run).verdict) == ("completed", "unproven")
    assert proof_of(run).reason == "control not caught: private copy"


def test_tampered_mappings_are_of_the_file(tmp_path: Path) -> None:
    """They map the file they are given, or the controls would prove nothing."""
    path = tmp_path / "ram"
    path.write_bytes(bytes(RAM))
    with double("private", path) as other:
        assert not ram_mapping(other["pid"], RAM).shared
    with double("shared", path) as other:
        assert ram_mapping(other["pid"], RAM).shared
        assert ram_mapping(other["pid"], RAM).start == other["address"]


def test_a_session_forgets_every_process_it_has_watched(live: LiveSession) -> None:
    """The kernel's tables hold 64 processes: a leak would end a long session."""
    for _ in range(2):
        transfer(live, scenario("anon"), updates=2)
        assert loaded(live, HandoverMarks).probe.watched() == set()


def test_a_transfer_that_fails_is_forgotten_too(live: LiveSession) -> None:
    def kill_new(booted: Booted) -> Hooks:
        return Hooks(hold=lambda old, new, old_tids, new_tids: new.kill())

    (run,) = transfer(live, scenario("anon"), kill_new)
    assert run.outcome == "failed"
    assert loaded(live, HandoverMarks).probe.watched() == set()
