"""kcmp on descriptors whose kinship is known."""

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
    fd = os.memfd_create("kin")
    yield fd
    os.close(fd)


@pytest.fixture
def opened():
    """Descriptors made in a test, closed after it."""
    made = []
    yield made.append
    for fd in made:
        os.close(fd)


@pytest.fixture
def heir(memfd):
    """A process that inherited `memfd` under the same number."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITER], pass_fds=[memfd], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_a_descriptor_is_itself(memfd):
    assert same_open_file(HERE, memfd, HERE, memfd)


def test_a_duplicate_is_the_same_open_file(memfd, opened):
    twin = os.dup(memfd)
    opened(twin)
    assert same_open_file(HERE, memfd, HERE, twin)
    assert same_open_file(HERE, twin, HERE, memfd)


def test_an_inherited_one_is_the_same_in_another_process(memfd, heir):
    assert same_open_file(HERE, memfd, heir.pid, memfd)


def test_a_file_opened_anew_is_another_though_the_inode_is_one(memfd, opened):
    again = os.open(f"/proc/{HERE}/fd/{memfd}", os.O_RDWR)
    opened(again)
    assert os.fstat(again).st_ino == os.fstat(memfd).st_ino
    assert not same_open_file(HERE, memfd, HERE, again)
    assert not same_open_file(HERE, again, HERE, memfd)


def test_another_file_is_another(memfd, heir, opened):
    other = os.memfd_create("stranger")
    opened(other)
    assert not same_open_file(HERE, memfd, HERE, other)
    assert not same_open_file(HERE, other, heir.pid, memfd)
    assert not same_open_file(HERE, memfd, heir.pid, 0)


def test_a_descriptor_that_is_not_open(memfd):
    with pytest.raises(OSError, match="kcmp: ") as caught:
        same_open_file(HERE, memfd, HERE, 1_000_000)
    assert caught.value.errno == errno.EBADF


def test_a_process_that_is_gone(memfd):
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(OSError, match="kcmp: ") as caught:
        same_open_file(HERE, memfd, process.pid, 0)
    assert caught.value.errno == errno.ESRCH


@pytest.mark.skipif(os.geteuid() != 0, reason="giving rights away needs root")
def test_a_process_that_may_not_look(memfd):
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


def test_a_machine_whose_number_is_not_known(memfd, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64") as caught:
        same_open_file(HERE, memfd, HERE, memfd)
    assert caught.value.errno == errno.ENOSYS
