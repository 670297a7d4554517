"""Starts a QEMU whose monitor fails at one command: an injected fault.

Runs as `python -m runners.qemu.broken_monitor MUTE|NONSENSE COMMAND QEMU ARGUMENT…` and becomes
that QEMU, with the same pid. A child of it passes on what goes over the monitor's socket. From
COMMAND on (`greeting`: from the start) a mute monitor says nothing any more; one that talks
nonsense answers that command, and all later ones, with a line that is no JSON.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import sys
from collections.abc import Sequence

MUTE, NONSENSE = "mute", "nonsense"
GREETING = "greeting"
_LINE = b'{"return": \xff}}{\r\n'
_CHUNK_BYTES = 1 << 16


def broken_launcher(launcher: Sequence[str], kind: str, command: str = GREETING) -> tuple[str, ...]:
    """The launcher of a build whose monitors fail."""
    return (sys.executable, "-m", __name__, kind, command, *launcher)


def main(kind: str, command: str, *argv: str) -> int:
    found = re.search(r"socket,id=qmp,fd=(\d+)", " ".join(argv))
    if found is None:
        return os.execvp(argv[0], argv)  # noqa: S606 - becomes QEMU, without a monitor of ours
    number = int(found[1])
    ours, theirs = socket.socketpair()
    caller = socket.socket(fileno=os.dup(number))
    if os.fork() == 0:
        theirs.close()
        os.close(number)
        _pass_on(caller, ours, kind, command.encode())
        os._exit(0)
    os.dup2(theirs.fileno(), number, inheritable=True)
    for end in (ours, theirs, caller):
        end.close()
    return os.execvp(argv[0], argv)  # noqa: S606


def _pass_on(caller: socket.socket, qemu: socket.socket, kind: str, command: bytes) -> None:
    """Copy both ways until one end hangs up."""
    broken = command == GREETING.encode()
    asked = re.compile(rb'"execute"\s*:\s*"' + re.escape(command) + rb'"')
    with selectors.DefaultSelector() as selector:
        selector.register(caller, selectors.EVENT_READ)
        selector.register(qemu, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                try:
                    data = os.read(key.fd, _CHUNK_BYTES)
                except OSError:
                    return
                if not data:
                    return
                if key.fd == caller.fileno():
                    broken = broken or asked.search(data) is not None
                    qemu.sendall(data)
                elif not broken:
                    caller.sendall(data)
                elif kind == NONSENSE:
                    caller.sendall(_LINE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
