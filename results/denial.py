"""Why the kernel denied a call, by its errno, and what gives the permission or the room.

Each errno has its own words: a program that runs out of descriptors is not told to become root.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SYS = Path("/sys")

# Bits of linux/capability.h, of those that are needed here.
_BITS = {
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_RESOURCE": 24,
    "PERFMON": 38,
    "BPF": 39,
}
_OPEN_FILES = 4096  # more than the probes of many builds take


@dataclass(frozen=True, slots=True)
class Privileges:
    """What this process may do: effective capabilities, and what restricts even those."""

    capabilities: frozenset[str] = frozenset(_BITS)  # without CAP_
    lockdown: str = "none"  # none, integrity or confidentiality
    seccomp: bool = False  # a filter is installed
    user_namespace: bool = False  # not the first one: its capabilities do not count for the host


def privileges(proc: Path = PROC, sys: Path = SYS) -> Privileges:
    """Those of this process."""
    status = dict(re.findall(r"^(\w+):\s*(\S+)", _text(proc / "self/status"), re.MULTILINE))
    effective = int(status.get("CapEff", "0"), 16)
    held = {name for name, bit in _BITS.items() if effective >> bit & 1}
    if "SYS_ADMIN" in held:  # includes what was split off from it in Linux 5.8
        held |= {"BPF", "PERFMON"}
    lockdown = re.search(r"\[(\w+)\]", _text(sys / "kernel/security/lockdown"))
    mapped = _text(proc / "self/uid_map").split()
    return Privileges(
        capabilities=frozenset(held),
        lockdown=lockdown[1] if lockdown else "none",
        seccomp=status.get("Seccomp") == "2",
        user_namespace=bool(mapped) and mapped != ["0", "0", str(2**32 - 1)],
    )


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a call was denied, and the fix; false where nothing was. The fix may be unknown."""

    reason: str = ""
    fix: str = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    def __str__(self) -> str:
        return f"{self.reason}: {self.fix}" if self.fix else self.reason


def denial(
    code: int,
    *,
    needs: Sequence[str] = (),
    absent: str = "",
    invalid: str = "",
    memory: str = "",
    mine: Privileges | None = None,
) -> Denial:
    """Words for errno `code` of a call that needs the capabilities `needs` (without CAP_).

    The fixes for other causes depend on the call: `absent` where the kernel or the file lacks it
    (ENOENT, ENOSYS, …), `invalid` where it rejects the arguments (EINVAL), `memory` where it is
    short of memory (ENOMEM).
    """
    words = os.strerror(code) if code else "unknown error"
    match code:
        case errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            limit = "" if soft == resource.RLIM_INFINITY else f", the limit is {soft} (ulimit -n)"
            raised = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES
            how = f"ulimit -n {_OPEN_FILES}"
            systemd = f"docker and podman: --ulimit nofile={_OPEN_FILES}; systemd: LimitNOFILE="
            return Denial(f"{words}{limit}", f"{how}{'' if raised else ' as root'} ({systemd})")
        case errno.ENFILE:
            return Denial(f"{words}, of all processes", "sysctl fs.file-max shows the host's limit")
        case errno.EPERM | errno.EACCES:
            return _no_permission(words, needs, mine or privileges())
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.ENOSYS | errno.EOPNOTSUPP:
            return Denial(words, absent)
        case errno.EINVAL:
            return Denial(words, invalid)
        case errno.ENOMEM:
            return Denial(words, memory)
        case errno.EAGAIN:
            return Denial(words, "raise the number of processes (ulimit -u, pids.max)")
        case errno.EROFS:
            return Denial(words, "mount it writable (docker and podman: --privileged)")
        case errno.EBUSY:
            return Denial(words, "end what uses it")
    return Denial(words, "")


def _no_permission(words: str, needs: Sequence[str], mine: Privileges) -> Denial:
    if missing := [name for name in needs if name not in mine.capabilities]:
        lacking = " and ".join(f"CAP_{name}" for name in missing)
        are = "is" if len(missing) == 1 else "are"
        return Denial(f"{words}, {lacking} {are} missing", granting(missing))
    if mine.user_namespace:
        return Denial(
            f"{words}, this is a user namespace",
            "run as root of the host (podman: as root; docker: --userns=host)",
        )
    if mine.lockdown != "none":
        return Denial(
            f"{words}, the kernel is locked down ({mine.lockdown})",
            "boot without lockdown= on the kernel command line, or with secure boot off",
        )
    if mine.seccomp:
        return Denial(
            f"{words}, a seccomp filter is installed",
            "docker and podman: --security-opt seccomp=unconfined; systemd: SystemCallFilter=",
        )
    return Denial(
        words,
        "a security module (AppArmor, SELinux) or a sysctl may deny it: see `dmesg`"
        if os.geteuid() == 0
        else "run pausebench with sudo",
    )


def granting(missing: Sequence[str]) -> str:
    """How to give capabilities (without CAP_) to a process as it is usually started."""
    if os.geteuid():
        return "run pausebench with sudo"
    flags = " ".join(f"--cap-add={name}" for name in missing)
    names = " ".join(f"CAP_{name}" for name in missing)
    return (
        f"docker and podman: {flags}; systemd: {names} in CapabilityBoundingSet=; "
        "Kubernetes: securityContext.capabilities.add"
    )


def errno_in(text: str) -> int:
    """The errno whose message stands last in `text`, as libraries print it; 0 without any."""
    at, found = -1, 0
    for code in errno.errorcode:
        position = text.rfind(os.strerror(code))
        # The longer of two messages that start alike is the right one.
        if position > at or (
            position == at >= 0 and len(os.strerror(code)) > len(os.strerror(found))
        ):
            at, found = position, code
    return found


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
