"""Attaching uprobes, and why the kernel refuses one."""

from __future__ import annotations

import ctypes
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.denial import Denial, denial
from results.errors import HostUnfit

from .bpf_program import output_to, why_denied
from .perf import EventAttributes
from .syscalls import syscall

_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
_FLAG_CLOEXEC = 8
_BCC_FILES = 8  # open at once while bcc attaches one probe, with some to spare
_FIXES: dict[str, Any] = {
    # Since CVE-2025-38466 was fixed CAP_PERFMON is not enough.
    "needs": ("PERFMON", "SYS_ADMIN"),
    "absent": "use a kernel with CONFIG_UPROBE_EVENTS, and mount tracefs and sysfs",
    "invalid": "the kernel cannot place a probe there: use the binary on a local file system, "
    "built for this CPU",
    "memory": "raise the limit of the memory control group",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A function of a binary, and its offset in the file."""

    binary: str
    function: str
    offset: int


class CannotProbe(HostUnfit):
    """A uprobe was refused; `denial` has the reason and the fix apart."""

    def __init__(self, place: Place, why: Denial) -> None:
        self.denial = replace(
            why, reason=f"cannot probe {place.function} in {place.binary}: {why.reason}"
        )
        super().__init__(str(self.denial))


def attach_uprobe(bpf: Any, place: Place, program: str, *, at_return: bool = False) -> None:
    """Run `program` at the entry of a function, or at its return. Raises CannotProbe."""
    attach = bpf.attach_uretprobe if at_return else bpf.attach_uprobe
    with tempfile.TemporaryFile() as log:
        try:
            with output_to(log.fileno()):
                attach(name=place.binary, sym=place.function, fn_name=program)
        except Exception as error:
            log.seek(0)
            printed = log.read().decode(errors="replace").strip()
            raise CannotProbe(place, _why(place, printed, str(error))) from error


def _why(place: Place, printed: str, message: str) -> Denial:
    """bcc tries tracefs after a perf event and reports only the last errno: get the first."""
    try:
        open_uprobe(place)
        _open_as_bcc()
    except OSError as error:
        return denial(error.errno or 0, **_FIXES)
    return why_denied(printed.splitlines()[-1] if printed else message, **_FIXES)


def _open_as_bcc() -> None:
    """Raises OSError where the descriptors do not suffice to look up a symbol and attach."""
    with ExitStack() as opened:
        for _ in range(_BCC_FILES):
            opened.callback(os.close, os.dup(2))


def open_uprobe(place: Place) -> None:
    """Open and close a uprobe without a program. Raises OSError with the kernel's errno."""
    os.close(os.open(place.binary, os.O_RDONLY | os.O_CLOEXEC))
    path = ctypes.create_string_buffer(os.fsencode(place.binary))
    attributes = EventAttributes(
        type=int(_PMU.read_text()),
        size=ctypes.sizeof(EventAttributes),
        config1=ctypes.addressof(path),
        config2=place.offset,
    )
    os.close(syscall("perf_event_open", ctypes.byref(attributes), -1, 0, -1, _FLAG_CLOEXEC))
