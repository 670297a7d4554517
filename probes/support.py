"""Which kinds of probes this kernel supports, found by attaching one of each and making it fire."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from results.errors import HostUnfit
from results.records.host_needs import ProbeSupport

from .bcc_loader import load_bcc
from .bpf_program import compile_program, stderr_to
from .headers import kernel_headers

_TRACEPOINT, _UPROBE, _KPROBE, _FENTRY = range(4)  # as in support.bpf.c


def probe_support() -> ProbeSupport:
    """Try every kind of probe once. Takes a second or two; raises nothing for a missing kind."""
    headers, bcc_version = _headers(), ""
    try:
        bcc_version = str(load_bcc().__version__)
        bpf = _compiled()
    except HostUnfit as error:
        reason = _reason(error)
        return ProbeSupport(reason, reason, reason, reason, headers, bcc_version)
    try:
        return ProbeSupport(
            tracepoints=_attach_and_fire(
                bpf,
                _TRACEPOINT,
                lambda: bpf.attach_tracepoint("raw_syscalls:sys_enter", fn_name="on_tracepoint"),
            ),
            uprobes=_attach_and_fire(
                bpf,
                _UPROBE,
                lambda: bpf.attach_uprobe(name="c", sym="getppid", fn_name="on_uprobe"),
            ),
            kprobes=_attach_and_fire(
                bpf, _KPROBE, lambda: bpf.attach_kprobe(event="vfs_read", fn_name="on_kprobe")
            ),
            fentry=_fentry(),
            headers=headers,
            bcc_version=bcc_version,
        )
    finally:
        bpf.cleanup()


def _compiled(*flags: str) -> Any:
    with resources.as_file(resources.files(__package__).joinpath("bpf")) as directory:
        return compile_program(directory / "support.bpf.c", flags)


def _headers() -> str:
    try:
        found = kernel_headers()
    except HostUnfit:
        return ""
    return found.release if found.exact else f"{found.release} (stand-in)"


def _fentry() -> str:
    try:
        bpf = _compiled("-DWITH_FENTRY")  # bcc attaches these as it loads them
    except HostUnfit as error:
        return _reason(error)
    try:
        return _attach_and_fire(bpf, _FENTRY, lambda: None)
    finally:
        bpf.cleanup()


def _attach_and_fire(bpf: Any, kind: int, attach: Callable[[], object]) -> str:
    """Attach a probe and trigger it; returns the reason when it fails, empty when it fired."""
    with _captured_stderr() as last_line:
        try:
            attach()
        except Exception as error:
            return last_line() or str(error)
    os.getppid()
    Path("/proc/self/stat").read_bytes()
    return "" if bpf["calls"][kind].value else "attaches but never fires"


def _reason(error: HostUnfit) -> str:
    """The message of `compile_program` without its hint to run the doctor."""
    if os.geteuid() and "not permitted" in str(error):
        return "only root may load BPF programs here"
    message = str(error).partition("; run `pausebench doctor`")[0]
    for noise in ("BPF program not loaded: ", "Need super-user privileges to run bpf: "):
        message = message.removeprefix(noise)  # bcc prints the second for any error
    return message


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Hide what libbpf prints; the function inside returns its last line."""
    with tempfile.TemporaryFile() as log:

        def last() -> str:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")

        with stderr_to(log.fileno()):
            yield last
