"""Which kinds of probes this kernel supports, found by attaching one of each and making it fire."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from results.denial import Denial
from results.errors import HostUnfit
from results.records.host_needs import ProbeSupport
from results.records.scenario import Build

from .bcc_loader import load_bcc
from .bpf_program import NotLoaded, compile_program, output_to, why_denied
from .headers import kernel_headers
from .uprobes import CannotProbe, Place, attach_uprobe

_TRACEPOINT, _UPROBE, _KPROBE, _FENTRY = range(4)  # as in support.bpf.c
_KINDS = ("tracepoints", "uprobes", "kprobes", "fentry")


def probe_support(builds: Sequence[Build] = ()) -> ProbeSupport:
    """Try every kind of probe once, and a uprobe in each of `builds`.

    Takes a second or two; raises nothing for a missing kind.
    """
    headers, bcc_version = _headers(), ""
    try:
        bcc_version = str(load_bcc().__version__)
        bpf = _compiled()
    except HostUnfit as error:
        return _support(dict.fromkeys(_KINDS, _denial(error)), headers, bcc_version)
    try:
        found = {
            "tracepoints": _attach_and_fire(
                bpf,
                _TRACEPOINT,
                lambda: bpf.attach_tracepoint("raw_syscalls:sys_enter", fn_name="on_tracepoint"),
            ),
            "uprobes": _attach_and_fire(bpf, _UPROBE, lambda: _attach_uprobes(bpf, builds)),
            "kprobes": _attach_and_fire(
                bpf, _KPROBE, lambda: bpf.attach_kprobe(event="vfs_read", fn_name="on_kprobe")
            ),
            "fentry": _fentry(),
        }
    finally:
        bpf.cleanup()
    return _support(found, headers, bcc_version)


def _support(found: dict[str, Denial], headers: str, bcc_version: str) -> ProbeSupport:
    return ProbeSupport(
        **{kind: why.reason for kind, why in found.items()},
        headers=headers,
        bcc_version=bcc_version,
        fixes={kind: why.fix for kind, why in found.items() if why.fix},
    )


def _compiled(*flags: str) -> Any:
    with resources.as_file(resources.files(__package__).joinpath("bpf")) as directory:
        return compile_program(directory / "support.bpf.c", flags)


def _headers() -> str:
    try:
        found = kernel_headers()
    except HostUnfit:
        return ""
    return found.release if found.exact else f"{found.release} (stand-in)"


def _attach_uprobes(bpf: Any, builds: Sequence[Build]) -> None:
    """At entry and return of getppid, and at one function of each build as a session does."""
    place = _getppid()
    attach_uprobe(bpf, place, "on_uprobe")
    attach_uprobe(bpf, place, "on_return", at_return=True)
    for build in builds:
        for function, offset in sorted(build.symbols.items())[:1]:
            attach_uprobe(bpf, Place(build.binary, function, offset), "on_uprobe")


def _getppid() -> Place:
    """getppid in the C library that this process uses, found by its address."""
    function = ctypes.CDLL(None).getppid
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *name = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end and name:
            return Place(name[0], "getppid", address - start + int(offset, 16))
    raise HostUnfit("the C library is not mapped from a file: it cannot be probed")


def _fentry() -> Denial:
    try:
        bpf = _compiled("-DWITH_FENTRY")  # bcc attaches these as it loads them
    except HostUnfit as error:
        return _denial(error)
    try:
        return _attach_and_fire(bpf, _FENTRY, lambda: None)
    finally:
        bpf.cleanup()


def _attach_and_fire(bpf: Any, kind: int, attach: Callable[[], object]) -> Denial:
    """Attach a probe and trigger it; returns why it fails, which is false when it fired."""
    with _captured_output() as last_line:
        try:
            attach()
        except HostUnfit as error:
            return _denial(error)
        except Exception as error:
            return why_denied(last_line() or str(error), needs=("PERFMON",))
    os.getppid()
    Path("/proc/self/stat").read_bytes()
    return Denial() if bpf["calls"][kind].value else Denial("attaches but never fires")


def _denial(error: HostUnfit) -> Denial:
    """The reason and the fix of a program that did not load."""
    if isinstance(error, NotLoaded | CannotProbe):
        return error.denial
    return Denial(str(error))


@contextmanager
def _captured_output() -> Iterator[Callable[[], str]]:
    """Hide what libbpf prints; the function inside returns its last line."""
    with tempfile.TemporaryFile() as log:

        def last() -> str:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")

        with output_to(log.fileno()):
            yield last
