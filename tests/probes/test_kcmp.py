"""kcmp on descriptors of known open files."""

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from probes.kcmp import same_open_file

ROOT = Path(__file__).resolve().parents[2]
HERE = os.getpid()
WAITER = "import sys; sys.stdin.read()"


@pytest.fixture
def memfd():
    fd = os.memfd_create("first")
    yield fd
    os.close(fd)


@pytest.fixture
def opened():
    """Registers descriptors to be closed after the test."""
    fds = []
    yield fds.append
    for fd in fds:
        os.close(fd)


@pytest.fixture
def child(memfd):
    """A process that inherited `memfd` under the same number."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITER], pass_fds=[memfd], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_a_descriptor_is_the_same_as_itself(memfd):
    assert same_open_file(HERE, memfd, HERE, memfd)


def test_a_duplicate_is_the_same_open_file(memfd, opened):
    duplicate = os.dup(memfd)
    opened(duplicate)
    assert same_open_file(HERE, memfd, HERE, duplicate)
    assert same_open_file(HERE, duplicate, HERE, memfd)


def test_an_inherited_descriptor_is_the_same_open_file(memfd, child):
    assert same_open_file(HERE, memfd, child.pid, memfd)


def test_a_file_opened_again_is_another_open_file_with_the_same_inode(memfd, opened):
    again = os.open(f"/proc/{HERE}/fd/{memfd}", os.O_RDWR)
    opened(again)
    assert os.fstat(again).st_ino == os.fstat(memfd).st_ino
    assert not same_open_file(HERE, memfd, HERE, again)
    assert not same_open_file(HERE, again, HERE, memfd)


def test_another_file_is_another_open_file(memfd, child, opened):
    other = os.memfd_create("other")
    opened(other)
    assert not same_open_file(HERE, memfd, HERE, other)
    assert not same_open_file(HERE, other, child.pid, memfd)
    assert not same_open_file(HERE, memfd, child.pid, 0)


def test_a_closed_descriptor_raises(memfd):
    with pytest.raises(OSError, match="kcmp: ") as caught:
        same_open_file(HERE, memfd, HERE, 1_000_000)
    assert caught.value.errno == errno.EBADF


def test_a_process_that_has_exited_raises(memfd):
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(OSError, match="kcmp: ") as caught:
        same_open_file(HERE, memfd, process.pid, 0)
    assert caught.value.errno == errno.ESRCH


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping capabilities needs root")
def test_a_process_without_permission_raises(memfd):
    arguments = f"{HERE}, {memfd}, {HERE}, {memfd}"
    script = f"from probes.kcmp import same_open_file; same_open_file({arguments})"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--", sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError: [Errno 1] kcmp: Operation not permitted" in done.stderr


def test_an_architecture_with_unknown_numbers(memfd, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64") as caught:
        same_open_file(HERE, memfd, HERE, memfd)
    assert caught.value.errno == errno.ENOSYS
