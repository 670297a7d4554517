"""The injected fault itself: a QEMU with the pid that was started, whose monitor fails."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from runners.qemu.broken_monitor import MUTE, NONSENSE, broken_launcher

# Answers each line of its socket with `{"return": {}}`, as a QEMU would; prints its pid first.
STAND_IN = """
import os, re, socket, sys
line = socket.socket(fileno=int(re.search(r"fd=(\\d+)", " ".join(sys.argv))[1]))
print(os.getpid(), flush=True)
for request in line.makefile("rb"):
    line.sendall(b'{"return": {}}\\r\\n')
"""


@pytest.fixture(params=[MUTE, NONSENSE])
def kind(request):
    return request.param


def test_it_fails_from_one_command_on(kind):
    ours, theirs = socket.socketpair()
    argv = broken_launcher((sys.executable, "-c", STAND_IN), kind, "migrate")
    with subprocess.Popen(
        [*argv, "-chardev", f"socket,id=qmp,fd={theirs.fileno()}"],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(theirs.fileno(),),
    ) as process:
        theirs.close()
        assert int(process.stdout.readline()) == process.pid, "pids stand in records"
        ours.settimeout(5)
        for command in ("query-status", "migrate-set-parameters"):
            ours.sendall(json.dumps({"execute": command}).encode() + b"\n")
            assert json.loads(ours.recv(4096)) == {"return": {}}
        ours.sendall(json.dumps({"execute": "migrate"}).encode() + b"\n")
        if kind == MUTE:
            ours.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ours.recv(4096)
        else:
            with pytest.raises(ValueError):  # noqa: PT011 - whichever a parser raises
                json.loads(ours.recv(4096))
        ours.close()
        assert process.wait(5) == 0, "it ends with its monitor, and nothing holds its socket"
