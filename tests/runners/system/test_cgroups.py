"""Limits of control groups: fake trees of both versions, and a real group of version 1."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runners.system.cgroups import group_limits, groups, refused

GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture
def tree(tmp_path):
    """Writes files of a fake /proc and a fake hierarchy below tmp_path / cg."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("@", str(tmp_path)))
        return tmp_path / "proc"

    return write


def version_1(controller, root="/", options="rw,memory"):
    return f"35 31 0:32 {root} @/cg/{controller} rw,relatime - cgroup cgroup {options}\n"


VERSION_2 = "41 31 0:38 / @/cg rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_tightest_limit_of_all_ancestors_of_version_2(tree):
    proc = tree(
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            "proc/self/mountinfo": VERSION_2,
            "cg/a/memory.max": f"{GIB}\n",
            "cg/a/memory.current": f"{900 * MIB}\n",
            "cg/a/memory.stat": f"anon 1\ninactive_file {100 * MIB}\nactive_file {26 * MIB}\n",
            "cg/a/b/memory.max": f"{400 * MIB}\n",
            "cg/a/b/memory.current": f"{50 * MIB}\n",
            "cg/a/b/c/memory.max": "max\n",
            "cg/a/b/c/memory.current": "4096\n",
        }
    )
    found = group_limits("memory", proc)
    assert [(limit.file.parent.name, limit.limit, limit.free) for limit in found] == [
        ("a", GIB, 250 * MIB),  # file pages can be reclaimed
        ("b", 400 * MIB, 350 * MIB),
    ]


def test_limits_of_version_1_where_no_limit_is_a_huge_number(tree):
    proc = tree(
        {
            "proc/self/cgroup": "8:pids:/p\n4:cpu,memory:/a/b\n0::/\n",
            "proc/self/mountinfo": version_1("memory", options="rw,cpu,memory") + VERSION_2,
            "cg/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cg/memory/memory.usage_in_bytes": "1\n",
            "cg/memory/a/memory.limit_in_bytes": f"{300 * MIB}\n",
            "cg/memory/a/memory.usage_in_bytes": f"{320 * MIB}\n",
            "cg/memory/a/memory.stat": "inactive_file 5\ntotal_inactive_file 1048576\n",
            "cg/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n",
            "cg/memory/a/b/memory.usage_in_bytes": "1\n",
        }
    )
    (limit,) = group_limits("memory", proc)
    assert (limit.limit, limit.free) == (300 * MIB, 0)


def test_a_container_sees_its_own_group_as_the_mounted_one(tree):
    files = {
        "proc/self/mountinfo": version_1("memory", root="/docker/x"),
        "cg/memory/memory.limit_in_bytes": f"{GIB}\n",
        "cg/memory/memory.usage_in_bytes": "0\n",
        "cg/memory/sub/memory.limit_in_bytes": f"{MIB}\n",
        "cg/memory/sub/memory.usage_in_bytes": "0\n",
    }
    for path, expected in (("/docker/x", [GIB]), ("/docker/x/sub", [MIB, GIB]), ("/", [GIB])):
        proc = tree(files | {"proc/self/cgroup": f"4:memory:{path}\n"})
        assert [limit.limit for limit in group_limits("memory", proc)] == expected, path


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (
            1,
            {
                "cg/g/hugetlb.2MB.limit_in_bytes": "67108864",
                "cg/g/hugetlb.2MB.usage_in_bytes": "2097152",
                "cg/g/hugetlb.2MB.rsvd.limit_in_bytes": "9223372036852678656",
                "cg/g/hugetlb.2MB.rsvd.usage_in_bytes": "0",
                "cg/g/hugetlb.2MB.failcnt": "3\n",
            },
        ),
        (
            2,
            {
                "cg/g/hugetlb.2MB.max": "67108864",
                "cg/g/hugetlb.2MB.current": "2097152",
                "cg/g/hugetlb.2MB.rsvd.max": "max",
                "cg/g/hugetlb.2MB.rsvd.current": "0",
                "cg/g/hugetlb.2MB.events": "max 3\n",
            },
        ),
    ],
)
def test_limits_on_huge_pages_and_how_often_they_were_hit(tree, version, files):
    one = "35 31 0:32 / @/cg rw - cgroup cgroup rw,hugetlb\n"
    proc = tree(
        files
        | {
            "proc/self/cgroup": "4:hugetlb:/g\n" if version == 1 else "0::/g\n",
            "proc/self/mountinfo": one if version == 1 else VERSION_2,
        }
    )
    (limit,) = group_limits("hugetlb", proc)
    assert (limit.limit, limit.free) == (64 * MIB, 62 * MIB)
    assert refused("hugetlb", proc) == 3


def test_a_limit_on_reserved_huge_pages_counts_too(tree):
    proc = tree(
        {
            "proc/self/cgroup": "0::/g\n",
            "proc/self/mountinfo": VERSION_2,
            "cg/g/hugetlb.2MB.max": "max",
            "cg/g/hugetlb.2MB.current": "0",
            "cg/g/hugetlb.2MB.rsvd.max": str(32 * MIB),
            "cg/g/hugetlb.2MB.rsvd.current": "0",
        }
    )
    (limit,) = group_limits("hugetlb", proc)
    assert (limit.file.name, limit.free) == ("hugetlb.2MB.rsvd.max", 32 * MIB)


def test_tasks_and_kills_are_counted(tree):
    proc = tree(
        {
            "proc/self/cgroup": "0::/g\n",
            "proc/self/mountinfo": VERSION_2,
            "cg/g/pids.max": "20",
            "cg/g/pids.current": "18",
            "cg/g/pids.events": "max 7\n",
            "cg/g/memory.max": "max",
            "cg/g/memory.events": "low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n",
        }
    )
    assert [limit.free for limit in group_limits("pids", proc)] == [2]
    assert (refused("pids", proc), refused("memory", proc)) == (7, 1)


def test_without_control_groups_nothing_is_limited(tree):
    proc = tree({"proc/self/cgroup": "garbage\n\n1:memory\n", "proc/self/mountinfo": "x - y\n"})
    assert group_limits("memory", proc) == ()
    assert refused("memory", proc) == 0
    assert groups("pids", proc.parent / "none") == ()


def real_groups(controller):
    """Directory of a version 1 hierarchy in which this process may make groups."""
    path = Path("/sys/fs/cgroup") / controller
    if os.geteuid() or not (path / "cgroup.procs").exists() or not os.access(path, os.W_OK):
        pytest.skip(f"no version 1 hierarchy of {controller} to make groups in")
    return path


@contextlib.contextmanager
def real_group(controller, **settings):
    group = real_groups(controller) / f"pausebench-test-{os.getpid()}"
    group.mkdir()
    try:
        for name, value in settings.items():
            (group / name.replace("__", ".")).write_text(str(value))
        yield group
    finally:
        group.rmdir()


def in_group(group, code):
    """Run Python code in a child that enters `group` first; returns its output."""
    enter = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    done = subprocess.run(
        [sys.executable, "-c", enter + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_real_memory_limit_of_version_1():
    with real_group("memory", memory__limit_in_bytes=200 * MIB) as group:
        answer = in_group(
            group,
            "from runners.system.limits import memory_room\n"
            "room = memory_room(); print(room.free >> 20, room.bound)",
        )
    free, _, bound = answer.partition(" ")
    assert 100 < int(free) <= 200
    assert bound == (
        f"the memory limit of a control group, 200 MiB ({group}/memory.limit_in_bytes)"
    )


def test_a_real_limit_on_tasks_of_version_1_and_how_often_it_was_hit():
    code = """
from runners.system.limits import Refusals, task_room
print(task_room().free)
refusals = Refusals()
children = []
try:
    while len(children) < 9:
        if not (child := os.fork()):
            import time; time.sleep(30); os._exit(0)
        children.append(child)
except BlockingIOError:
    pass
for child in children:
    os.kill(child, 9); os.waitpid(child, 0)
print(len(children), [room.bound for room in refusals.since()])
"""
    with real_group("pids", pids__max=4) as group:
        free, hit = in_group(group, code).split("\n")
    assert int(free) <= 3
    children, bounds = hit.split(" ", 1)
    assert int(children) <= 3
    assert bounds == f"['the pids limit of a control group, 4 ({group}/pids.max)']"
