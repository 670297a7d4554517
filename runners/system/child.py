"""Child processes: none outlives this process, and each is recorded for the session after it."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from results.errors import HostUnfit

from .process_record import record_child

# A parent that is killed before the death signal is set leaves a child of another parent.
_UNLESS_ORPHANED = '[ "$PPID" = "$1" ] && shift && exec "$@"'
_PROGRAMS = (b"\x7fELF", b"#!")


def spawn(argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a child that the kernel kills when this process exits for any reason.

    `options` are those of Popen. Raises OSError for what cannot be executed, and HostUnfit without
    setpriv.
    """
    _check_program(argv[0], options.get("env"))
    start = functools.partial(subprocess.Popen, die_with_parent(argv, str(os.getpid())), **options)
    # The kernel kills the child already when the *thread* that forked it ends.
    if threading.current_thread() is threading.main_thread():
        child = start()
    else:
        child = _spawner().submit(start).result()
    record_child(child.pid)
    return child


def run(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with empty input; its output is text.

    Raises as `spawn` does, and TimeoutExpired after having killed it.
    """
    child = spawn(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=env,
    )
    with child:
        try:
            out, errors = child.communicate(timeout=timeout_s)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(list(argv), child.returncode, out, errors)


def die_with_parent(argv: Sequence[str], parent: str) -> list[str]:
    """Wrap argv so that the kernel kills it when its parent, whose pid is `parent`, exits.

    setpriv sets the parent death signal and executes the program in its place; a preexec_fn would
    fork this process with all its BPF memory. Raises HostUnfit without setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HostUnfit("`setpriv` is missing: apt-get install util-linux")
    tied = [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _UNLESS_ORPHANED, "sh"]
    return [*tied, parent, *argv]


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process group by its leader."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    """A thread that ends with the process."""
    return ThreadPoolExecutor(1, "spawner")


def _check_program(name: str, env: Mapping[str, str] | None) -> None:
    """Raise the error of execve: the shell would report it in words, or interpret the file."""
    found = shutil.which(name, path=(os.environ if env is None else env).get("PATH"))
    if found is None:
        number = errno.EACCES if Path(name).exists() else errno.ENOENT
        raise OSError(number, os.strerror(number), name)
    with suppress(PermissionError), Path(found).open("rb") as file:
        if not file.read(4).startswith(_PROGRAMS):
            raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC), name)
