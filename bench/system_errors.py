"""What the kernel refused, as errors of ours: a limit of this process, a full disk, a name."""

from __future__ import annotations

import os

from results.errors import (
    NO_SPACE,
    HostUnfit,
    PausebenchError,
    UsageError,
    WriteFailed,
)

_LIMITS = "raise the limit (`ulimit -a`, memory and pids of the cgroup)"


def of_system(error: Exception) -> PausebenchError | None:
    """The error to report for one of Python's; None for a fault of this program."""
    match error:
        case OSError():
            return _of_kernel(error)
        case MemoryError():
            return HostUnfit(f"out of memory: {_LIMITS}")
        # "failed to map segment from shared object", with `ulimit -v`
        case ImportError() if "failed to map" in str(error) or "cannot allocate" in str(error):
            return HostUnfit(f"out of memory: {error}: {_LIMITS}")
        case RuntimeError() if "can't start new thread" in str(error):
            return HostUnfit(f"no further thread can be started: {_LIMITS}")
    return None


def _of_kernel(error: OSError) -> PausebenchError:
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE:
        return WriteFailed(f"{_name(error) or 'a file'} cannot be written: {reason}")
    if _name(error):
        return UsageError(f"{_name(error)}: {reason}")
    return HostUnfit(f"the kernel refused a request: {reason}: {_LIMITS}")


def _name(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
