"""Compiling BPF programs with the distribution's bcc, without its output on stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results.errors import HostUnfit

from .bcc_loader import load_bcc
from .headers import kernel_headers

# bcc's own preamble redefines macros of the kernel headers; our sources raise none of these.
_NO_WARNINGS = (
    "-Wno-macro-redefined",
    "-Wno-duplicate-decl-specifier",
    "-Wno-address-of-packed-member",
)

# Where bcc looks for it.
_TRACEFS = (Path("/sys/kernel/debug/tracing"), Path("/sys/kernel/tracing"))


def compile_program(source: Path, flags: Sequence[str] = ()) -> Any:
    """Compile and load the C file `source`; returns the `bcc.BPF`.

    Raises HostUnfit with the last message of the compiler or verifier when it does not load.
    """
    bcc = load_bcc()
    require_tracefs()
    os.environ["BCC_KERNEL_SOURCE"] = str(kernel_headers().path)
    with tempfile.TemporaryFile() as log:
        try:
            with stderr_to(log.fileno()):
                return bcc.BPF(src_file=str(source), cflags=[*_NO_WARNINGS, *flags])
        except Exception as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            last = next((line for line in reversed(lines) if "error" in line.lower()), "")
            raise HostUnfit(
                f"BPF program not loaded: {error} {last or ' '.join(lines[-1:])}; "
                "run `pausebench doctor` to see which probes this kernel supports"
            ) from error


def require_tracefs() -> None:
    """Raises HostUnfit without tracefs: bcc then defines no tracepoint, and clang stumbles."""
    if not any((place / "events").is_dir() for place in _TRACEFS):
        raise HostUnfit(
            "tracefs is not mounted: run `mount -t tracefs tracefs /sys/kernel/tracing`"
        )


@contextmanager
def stderr_to(fd: int) -> Iterator[None]:
    """Redirect descriptor 2 to `fd`: LLVM and libbpf write to it from C."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(fd, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class SkippedCalls:
    """How often the kernel has skipped the programs behind `fds`.

    It skips a program on a CPU where a task was preempted inside a bpf system call
    (bpf_prog_active in trace_call_bpf); the program itself cannot detect that. Source:
    recursion_misses in /proc/PID/fdinfo, which counts it since Linux 6.7. The files stay open:
    opening fifty of them took 2 ms in every update.
    """

    def __init__(self, fds: Iterable[int]) -> None:
        self._files = [os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC) for fd in fds]

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
