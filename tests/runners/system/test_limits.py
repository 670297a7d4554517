"""Limits of this process by their names, and who is killed first."""

import subprocess
import sys
from pathlib import Path

import pytest

from runners.system import cgroups
from runners.system.cgroups import GroupLimit
from runners.system.limits import Refusals, memory_room, offer_to_oom_killer

MIB = 1 << 20


def in_child(code, *prefix):
    done = subprocess.run(
        [*prefix, sys.executable, "-c", f"from runners.system.limits import *\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_rlimits_of_a_child():
    limited = ["prlimit", "--nofile=77:99", "--memlock=8388608:8388608", "--"]
    without_lock = [*limited, "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "--"]
    code = "print(open_files(), lockable_memory(), address_space())"
    assert in_child(code, *without_lock) == "77 8388608 None"


def test_the_limit_of_address_space_in_bytes():
    assert in_child("print(address_space())", "prlimit", f"--as={900 * MIB}") == str(900 * MIB)


def test_the_tighter_of_host_and_group_counts(monkeypatch):
    file = Path("/sys/fs/cgroup/a/memory.max")
    monkeypatch.setattr(cgroups, "group_limits", lambda name: (GroupLimit(file, 4 * MIB, MIB),))
    room = memory_room()
    assert (room.free, "/sys/fs/cgroup/a/memory.max" in room.bound) == (MIB, True)
    monkeypatch.setattr(cgroups, "group_limits", lambda name: (GroupLimit(file, 1 << 59, 1 << 59),))
    assert memory_room().bound == "the host's available memory"


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        ((GroupLimit(Path("/g/memory.max"), 100 * MIB, 90 * MIB),), "/g/memory.max"),
        ((), "the host's memory"),
        # A limit above the host's memory limits nothing.
        ((GroupLimit(Path("/g/memory.max"), 1 << 59, 1 << 59),), "the host's memory"),
    ],
)
def test_a_kill_for_want_of_memory_is_put_down_to_a_group_or_the_host(monkeypatch, found, bound):
    counts = iter([0, 0, 0, 1, 0, 0])
    monkeypatch.setattr(cgroups, "refused", lambda name: next(counts))
    monkeypatch.setattr(cgroups, "group_limits", lambda name: found)
    (room,) = Refusals().since()
    assert bound in room.bound


def test_nothing_was_refused():
    assert Refusals().since() == ()


def test_a_child_is_killed_before_us():
    with subprocess.Popen(["sleep", "30"]) as child:
        offer_to_oom_killer(child.pid)
        adjustment = Path(f"/proc/{child.pid}/oom_score_adj").read_text()
        child.kill()
    own = Path("/proc/self/oom_score_adj").read_text()
    assert int(adjustment) == 1000 > int(own)
    offer_to_oom_killer(child.pid)  # it has exited: nothing happens
