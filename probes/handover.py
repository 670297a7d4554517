"""The BPF programs that trace handovers: loaded once per session, filtered by process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from results.records.recording import Event, VcpuBracket
from results.records.scenario import Build
from results.timeline.marks import KERNEL_EVENTS, MARK_NAMES, MARKS, choose_function

from .bpf_program import SkippedCalls, compile_program
from .uprobes import Place, attach_uprobe

_RING_PAGES = 256  # 1 MiB: the records of some thirty transfers; drained after each
# A descriptor is sent and received in two messages of 624 bytes each, and new QEMU maps it.
_PAGES_PER_DESCRIPTOR = 1
_MOST_PAGES = 1 << 16  # 256 MiB of the kernel's memory
_DATA_BYTES = 512
_MAX_FDS = 8
_KINDS = dict(enumerate(KERNEL_EVENTS, 1000))  # as in event.h
_FIELDS = {
    ("mmap", "return"): ("address", "length", "fd", "flags"),
    ("vfio_ioctl", "enter"): ("command", "flags", "iova", "length"),
    ("vfio_ioctl", "return"): ("command", "result"),
    ("interrupt", "enter"): ("number",),
    ("exec", "enter"): (),
}
_WATCHED, _AWAITING = 1, 2
TRACEFS = Path("/sys/kernel/tracing")


class _Counters(ctypes.Structure):
    _fields_ = [
        ("switches", ctypes.c_uint64),
        ("migrations", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("task_ns", ctypes.c_uint64),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("ns", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("edge", ctypes.c_uint32),
        ("args", ctypes.c_uint64 * 4),
        ("counters", _Counters),
    ]


class _Message(ctypes.Structure):
    _fields_ = [
        ("ns", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("tid", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("edge", ctypes.c_uint32),
        ("result", ctypes.c_int64),
        ("length", ctypes.c_uint32),
        ("fd_count", ctypes.c_uint32),
        ("fds", ctypes.c_int32 * _MAX_FDS),
        ("data", ctypes.c_uint8 * _DATA_BYTES),
    ]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the probes recorded of one transfer.

    `lost` counts records that could not be written and skipped calls of the probes at QEMU's marks;
    `skipped` counts skipped calls of all other probes, in any process.
    """

    events: tuple[Event, ...]
    brackets: tuple[VcpuBracket, ...]
    lost: int
    skipped: int = 0


class HandoverProbe:
    """Probes on every QEMU build of a session; a context manager.

    `watch` a process before its transfer, `arm` the vCPU threads in the hold, `collect` once the
    guest has resumed. Nothing is read from the kernel in between.
    """

    def __init__(
        self,
        builds: Iterable[Build],
        *,
        only_bracket: bool = False,
        vfio: bool = False,
        descriptors: int = 0,
    ) -> None:
        """`descriptors` is how many an update passes at most: the ring must hold their messages.

        `only_bracket` traces guest entry and exit alone, the minimum that measures a blackout,
        to find out what the other probes cost. `vfio` traces assigned devices too, which takes
        longer to compile."""
        self._builds = tuple(builds)
        self._only_bracket = only_bracket
        self._vfio = vfio
        self._ring_pages = ring_pages(descriptors)
        self._bpf: Any = None
        self._records: list[Event] = []
        self._lost_before = 0
        self._marks = SkippedCalls(())  # programs at QEMU's marks
        self._others = SkippedCalls(())
        self._skipped_before = 0
        self._opening: set[int] = set()  # processes whose vCPU threads are not known yet
        self.attached: dict[str, dict[str, str]] = {}  # build id → mark → function

    def __enter__(self) -> Self:
        flags = [f"-DMARK_{name}={number}" for number, name in enumerate(MARK_NAMES)]
        flags.append(f"-DRING_PAGES={self._ring_pages}")
        flags.append(f"-DCPUS={os.sysconf('SC_NPROCESSORS_CONF')}")
        flags += [f"-DWITH_{name}" for name, event in _OPTIONAL.items() if _has_tracepoint(event)]
        flags += ["-DWITH_VFIO"] if self._vfio else []
        if self._only_bracket:
            flags.append("-DBRACKET_ONLY")
        directory = resources.files(__package__).joinpath("bpf")
        with resources.as_file(directory) as path:
            flags.append(f"-I{path}")
            self._bpf = compile_program(path / "handover.bpf.c", tuple(flags))
        try:
            for binary in {build.binary: build for build in self._builds}.values():
                self._attach(binary)
            self._bpf["events"].open_ring_buffer(self._receive)
            fds = {name.decode(): int(f.fd) for name, f in self._bpf.funcs.items()}
            at_marks = {n for n in fds if n.startswith(("enter_", "return_"))}
            self._marks = SkippedCalls(fds[name] for name in at_marks)
            self._others = SkippedCalls(fds[name] for name in fds.keys() - at_marks)
        except BaseException:
            self._bpf.cleanup()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for calls in (self._marks, self._others):
            calls.close()
        self._bpf.cleanup()

    def _attach(self, build: Build) -> None:
        chosen: dict[str, str] = {}
        for mark in MARKS:
            function = choose_function(mark, build.symbols)
            if function is None or (self._only_bracket and mark.name != "tcg_exec"):
                continue
            place = Place(build.binary, function, build.symbols[function])
            attach_uprobe(self._bpf, place, f"enter_{mark.name}")
            if mark.returns:
                attach_uprobe(self._bpf, place, f"return_{mark.name}", at_return=True)
            chosen[mark.name] = function
        self.attached[build.build_id] = chosen

    # -- one transfer ---------------------------------------------------------------------

    def watch(self, pid: int, *, incoming: bool = False) -> None:
        """Start recording process `pid`; `incoming` when it waits for a guest."""
        role = _AWAITING if incoming else _WATCHED
        self._bpf["watched"][ctypes.c_uint32(pid)] = ctypes.c_uint32(role)

    def forget(self, pid: int, tids: Iterable[int]) -> None:
        """Drop a process that has exited, with its vCPU threads and counters."""
        for table, keys in (("watched", (pid,)), ("totals", (pid,)), ("vcpus", tuple(tids))):
            for key in keys:
                try:
                    del self._bpf[table][ctypes.c_uint32(key)]
                except KeyError:
                    continue
        if pid in self._opening:
            self.close_brackets(pid)

    def open_brackets(self, pid: int) -> None:
        """Open a bracket for every thread of `pid` at its first guest entry.

        For a QEMU that runs the guest before it can be asked for its vCPU threads.
        """
        self._opening.add(pid)
        self._bpf["opening"][ctypes.c_uint32(pid)] = ctypes.c_uint32(1)
        self._bpf["any_opening"][ctypes.c_int(0)] = ctypes.c_uint32(1)

    def close_brackets(self, pid: int) -> None:
        """Stop opening brackets for further threads of `pid`."""
        self._opening.discard(pid)
        self._bpf["any_opening"][ctypes.c_int(0)] = ctypes.c_uint32(bool(self._opening))
        with suppress(KeyError):
            del self._bpf["opening"][ctypes.c_uint32(pid)]

    def forget_ended(self) -> None:
        """Drop the brackets of all threads that have exited."""
        table = self._bpf["vcpus"]
        for key in [key for key in table if not Path(f"/proc/{key.value}").exists()]:
            with suppress(KeyError):
                del table[key]

    def watch_interrupts(self, numbers: Iterable[int]) -> None:
        """Record the interrupts of assigned devices, whichever process they interrupt."""
        for number in numbers:
            self._bpf["interrupts"][ctypes.c_uint32(number)] = ctypes.c_uint32(1)

    def watched(self) -> set[int]:
        """The watched processes; the BPF map holds at most 64."""
        return {int(key.value) for key in self._bpf["watched"]}

    def arm(self, tids: Iterable[int]) -> None:
        """Open an empty bracket for each vCPU thread, assumed to be inside KVM_RUN now."""
        table = self._bpf["vcpus"]
        for tid in tids:
            leaf = table.Leaf()
            leaf.in_run = 1
            table[ctypes.c_uint32(tid)] = leaf

    def collect(self, old_tids: tuple[int, ...], new_tids: tuple[int, ...]) -> Observed:
        """Take the records written since the last call."""
        self._bpf.ring_buffer_consume()
        events, self._records = tuple(sorted(self._records, key=lambda e: e.ns)), []
        lost = int(self._bpf["lost"][ctypes.c_int(0)].value) + self._marks.count()
        new_lost, self._lost_before = lost - self._lost_before, lost
        skipped = self._others.count()
        new_skipped, self._skipped_before = skipped - self._skipped_before, skipped
        return Observed(events, self.brackets(old_tids, new_tids), new_lost, new_skipped)

    def brackets(
        self, old_tids: tuple[int, ...], new_tids: tuple[int, ...]
    ) -> tuple[VcpuBracket, ...]:
        """The bracket of each vCPU as it is now, from its threads in old and in new QEMU."""
        return tuple(
            self._bracket(index, old, new)
            for index, (old, new) in enumerate(zip(old_tids, new_tids, strict=True))
        )

    def _bracket(self, index: int, old_tid: int, new_tid: int) -> VcpuBracket:
        table = self._bpf["vcpus"]

        def read(tid: int, field: str) -> int | None:
            try:
                return int(getattr(table[ctypes.c_uint32(tid)], field)) or None
            except KeyError:
                return None

        return VcpuBracket(
            index=index,
            old_tid=old_tid,
            new_tid=new_tid,
            run_last_exit_ns=read(old_tid, "run_last_exit"),
            run_first_entry_ns=read(new_tid, "run_first_entry"),
            entry_last_exit_ns=read(old_tid, "entry_last_exit"),
            entry_first_entry_ns=read(new_tid, "entry_first_entry"),
            longest_left_ns=read(old_tid, "longest_left"),
            longest_entered_ns=read(old_tid, "longest_entered"),
        )

    def guest_faults(self, tid: int) -> int | None:
        """Guest page faults on an armed vCPU thread so far; None without kvm:kvm_page_fault."""
        try:
            return int(self._bpf["vcpus"][ctypes.c_uint32(tid)].faults) or None
        except KeyError:
            return None

    def _receive(self, context: Any, data: Any, size: int) -> None:
        if size >= ctypes.sizeof(_Message):
            self._records.append(_as_message(ctypes.cast(data, ctypes.POINTER(_Message)).contents))
        else:
            self._records.append(_as_event(ctypes.cast(data, ctypes.POINTER(_Event)).contents))


def ring_pages(descriptors: int) -> int:
    """Pages of a ring that holds the records of an update: a power of two."""
    wanted = _RING_PAGES + descriptors * _PAGES_PER_DESCRIPTOR
    return min(_MOST_PAGES, 1 << (wanted - 1).bit_length())


_OPTIONAL = {
    "KVM_ENTRY": "kvm/kvm_entry",
    "KVM_FAULTS": "kvm/kvm_page_fault",
    "FAULTS": "exceptions/page_fault_user",
}


def _has_tracepoint(event: str) -> bool:
    return (TRACEFS / "events" / event).is_dir()


def _as_event(raw: Any) -> Event:
    kind = int(raw.kind)
    args = [int(a) for a in raw.args]
    edge: Literal["enter", "return"] = "return" if raw.edge else "enter"
    if kind in _KINDS:
        values = dict(zip(_FIELDS[_KINDS[kind], edge], args, strict=False))
    elif raw.edge:
        values = {"result": ctypes.c_int32(args[0] & 0xFFFFFFFF).value}
    else:
        values = {"arg1": args[0], "arg2": args[1]}
    counters = raw.counters
    return Event(
        ns=int(raw.ns),
        pid=int(raw.pid),
        tid=int(raw.tid),
        mark=_KINDS.get(kind) or MARK_NAMES[kind],
        edge=edge,
        values=values,
        counters={
            "switches": int(counters.switches),
            "migrations": int(counters.migrations),
            "faults": int(counters.faults),
            "task_ns": int(counters.task_ns),
        },
    )


def _as_message(raw: Any) -> Event:
    count = min(int(raw.fd_count), _MAX_FDS)
    values = {"result": int(raw.result), "length": int(raw.length), "fds": int(raw.fd_count)}
    values |= {f"fd{n}": int(raw.fds[n]) for n in range(count)}
    kept = min(int(raw.length), _DATA_BYTES - 1)
    return Event(
        ns=int(raw.ns),
        pid=int(raw.pid),
        tid=int(raw.tid),
        mark=_KINDS[int(raw.kind)],
        edge="return" if raw.edge else "enter",
        values=values,
        data=bytes(raw.data[:kept]).hex(),
    )
