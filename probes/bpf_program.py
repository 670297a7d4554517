"""Compiling BPF programs with the distribution's bcc, and why one does not compile or load."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results.denial import Denial, denial, errno_in
from results.errors import HostUnfit

from .bcc_loader import load_bcc
from .headers import PACKAGES, kernel_headers

# bcc's own preamble redefines macros of the kernel headers; our sources raise none of these.
_NO_WARNINGS = (
    "-Wno-macro-redefined",
    "-Wno-duplicate-decl-specifier",
    "-Wno-address-of-packed-member",
)

# Where bcc looks for it.
_TRACEFS = (Path("/sys/kernel/debug/tracing"), Path("/sys/kernel/tracing"))


_HEADERS_FIX = f"kernel headers are missing or incomplete: {PACKAGES}"


class NotLoaded(HostUnfit):
    """A BPF program did not compile or load; `denial` has the reason and the fix apart."""

    def __init__(self, why: Denial) -> None:
        super().__init__(
            f"BPF program not loaded: {why}; "
            "run `pausebench doctor` to see which probes this kernel supports"
        )
        self.denial = why


def compile_program(source: Path, flags: Sequence[str] = ()) -> Any:
    """Compile and load the C file `source`; returns the `bcc.BPF`.

    Raises NotLoaded, HostUnfit without bcc or headers.
    """
    bcc = load_bcc()
    require_tracefs()
    os.environ["BCC_KERNEL_SOURCE"] = str(kernel_headers().path)
    with tempfile.TemporaryFile() as log:
        try:
            with output_to(log.fileno()):
                return bcc.BPF(src_file=str(source), cflags=[*_NO_WARNINGS, *flags])
        except Exception as error:
            log.seek(0)
            raise NotLoaded(why_not_loaded(log.read().decode(errors="replace"), error)) from error


def why_not_loaded(log: str, error: Exception) -> Denial:
    """The first error of the compiler, or the last words of the kernel and of libbpf."""
    if "Unable to find kernel headers" in log:
        return Denial("Unable to find kernel headers", _HEADERS_FIX)
    compiler = re.search(r"^\S+:\d+:\d+: (?:fatal )?error: (.+)$", log, re.MULTILINE)
    if compiler is not None:
        said = compiler[1].strip()
        return Denial(f"clang: {said}", _HEADERS_FIX if "file not found" in said else "")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # The last line with an error names the step that failed; bcc's own message only the file.
    said = next((line for line in reversed(lines) if "error" in line.lower()), "")
    if not errno_in(said):
        # bcc's own message blames missing privileges for any failure to load.
        message = str(error).removeprefix("Need super-user privileges to run")
        said = " ".join([message, *lines[-1:]]).strip().removeprefix("bpf: ")
    return why_denied(
        said,
        needs=("BPF", "PERFMON"),
        absent="use a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_BPF_JIT",
        invalid="this kernel's verifier rejects it: use Linux 5.8 or newer, and report it",
        memory="raise the limit of locked memory (ulimit -l) or that of the memory control group",
    )


def why_denied(said: str, **fixes: Any) -> Denial:
    """`said` with the words for the errno in it; `fixes` are those of results.denial."""
    code = errno_in(said)
    if not code:
        return Denial(said)
    why = denial(code, **fixes)
    before = said[: said.rfind(os.strerror(code))].rstrip(" :").removesuffix(", error")
    return Denial(f"{before}: {why.reason}" if before else why.reason, why.fix)


def require_tracefs() -> None:
    """Raises HostUnfit without tracefs: bcc then defines no tracepoint, and clang stumbles."""
    if not any((place / "events").is_dir() for place in _TRACEFS):
        raise HostUnfit(
            "tracefs is not mounted: run `mount -t tracefs tracefs /sys/kernel/tracing`"
        )


@contextmanager
def output_to(fd: int) -> Iterator[None]:
    """Redirect descriptors 1 and 2 to `fd`: LLVM, libbpf and bcc write to both from C."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in kept:
            os.dup2(fd, number)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # bcc's words to stdout wait in the buffer of the C library
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


class SkippedCalls:
    """How often the kernel has skipped the programs behind `fds`.

    It skips a program on a CPU where a task was preempted inside a bpf system call
    (bpf_prog_active in trace_call_bpf); the program itself cannot detect that. Source:
    recursion_misses in /proc/PID/fdinfo, which counts it since Linux 6.7. The files stay open:
    opening fifty of them took 2 ms in every update.
    """

    def __init__(self, fds: Iterable[int]) -> None:
        """Raises HostUnfit when no more files can be opened."""
        self._files: list[int] = []
        try:
            for fd in fds:
                name = f"/proc/self/fdinfo/{fd}"
                self._files.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            why = denial(error.errno or 0)
            raise HostUnfit(f"the kernel's counters of skipped probes: {why}") from error

    def count(self) -> int:
        total = 0
        for file in self._files:
            _, found, rest = os.pread(file, 4096, 0).partition(b"recursion_misses:")
            total += int(rest.split(maxsplit=1)[0]) if found else 0
        return total

    def close(self) -> None:
        files, self._files = self._files, []
        for file in files:
            os.close(file)
