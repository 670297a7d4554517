"""Compiling BPF programs with the distribution's bcc, quietly."""

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

# bcc's own preamble redefines what the kernel's headers define; nothing of ours is hidden by this.
_QUIET = ("-Wno-macro-redefined", "-Wno-duplicate-decl-specifier", "-Wno-address-of-packed-member")


def compile_program(source: Path, flags: Sequence[str] = ()) -> Any:
    """A loaded `bcc.BPF` of the C file `source`.

    Raises HostUnfit with the compiler's or verifier's last words when it does not load.
    """
    bcc = load_bcc()
    os.environ["BCC_KERNEL_SOURCE"] = str(kernel_headers().path)
    with tempfile.TemporaryFile() as log:
        try:
            with stderr_to(log.fileno()):
                return bcc.BPF(src_file=str(source), cflags=[*_QUIET, *flags])
        except Exception as error:
            log.seek(0)
            words = log.read().decode(errors="replace").strip().splitlines()
            last = next((w for w in reversed(words) if "error" in w.lower()), "")
            raise HostUnfit(
                f"BPF program not loaded: {error} {last or ' '.join(words[-1:])}; "
                "`pausebench doctor` says what this kernel allows"
            ) from error


@contextmanager
def stderr_to(fd: int) -> Iterator[None]:
    """Send descriptor 2 elsewhere: LLVM and libbpf write to it from C."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(fd, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class SkippedCalls:
    """How often the kernel left the programs behind `fds` out, so far.

    It does so on a CPU where something was preempted inside a bpf system call (bpf_prog_active in
    trace_call_bpf); the program itself cannot see it. Source: /proc/PID/fdinfo; counted for these
    programs since Linux 6.7. The files stay open: to open fifty of them took 2 ms of each update.
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
