"""The pin holder: real pins on a memfd, its writes, its exit, and hosts that refuse it."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from probes.memory_accounts import read_accounts
from results.errors import HostUnfit
from results.records.scenario import GIB, MIB
from runners.host.hugepages import reserve
from runners.pins import io_uring_holder
from runners.pins.holder import DMA_OFFSET, PinHolder
from runners.system import syscalls

ROOT = Path(io_uring_holder.__file__).parents[2]
BYTES = 12_345 * 4096  # a number of pages that no other program is likely to pin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="pins beyond the memlock limit need root")


@contextmanager
def file_of(length, flags=0):
    """(descriptor, path) of a memfd."""
    fd = os.memfd_create("ram", os.MFD_CLOEXEC | flags)
    os.ftruncate(fd, length)
    try:
        yield fd, Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


@pytest.fixture
def ram():
    with file_of(BYTES) as opened:
        yield opened


@pytest.fixture
def holder(ram):
    with PinHolder(ram[1], BYTES) as holder:
        yield holder


def pinned(holder):
    """VmPin of the holder, bytes."""
    return read_accounts("hold", {"holder": holder.pid}).processes["holder"]["VmPin"]


def host_pins():
    return read_accounts("hold", {}, exact_pins=True).pins


def word(fd, offset):
    with mmap.mmap(fd, BYTES) as area:
        return int.from_bytes(area[offset : offset + 8], "little")


def alive(pid):
    """Whether a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_pins_every_byte_until_release(holder):
    assert holder.bytes == BYTES
    assert pinned(holder) == BYTES
    holder.release()
    assert pinned(holder) == 0
    assert alive(holder.pid), "the process stays"


def test_the_host_counts_every_pinned_page_until_close(ram):
    """The counters are system-wide: other sessions may disturb some attempts, but not all."""
    seen = []
    for _ in range(5):
        before = host_pins()
        with PinHolder(ram[1], BYTES):
            held = host_pins()
        seen.append((held - before, host_pins() - held))
        if seen[-1] == (12_345, -12_345):
            return
    pytest.fail(f"pinned and released 12345 pages, but the host counted {seen}")


def test_writes_are_visible_in_the_mapping(ram, holder):
    for value in (1, 2**63 + 5, time.monotonic_ns()):
        holder.dma(value)
        assert word(ram[0], DMA_OFFSET) == value
    assert word(ram[0], DMA_OFFSET - 8) == word(ram[0], DMA_OFFSET + 8) == 0


def test_writes_reach_the_pinned_page_after_the_file_has_another(ram, holder):
    """Like DMA, it does not look up the page again."""
    holder.dma(7)
    subprocess.run(
        ["fallocate", "--punch-hole", "-o", str(DMA_OFFSET), "-l", "4096", str(ram[1])], check=True
    )
    holder.dma(8)
    assert word(ram[0], DMA_OFFSET) == 0
    assert pinned(holder) == BYTES


def test_cannot_write_after_release(ram, holder):
    holder.dma(7)
    holder.release()
    with pytest.raises(HostUnfit, match=r"dma failed: .*Bad address") as caught:
        holder.dma(8)
    assert str(holder.pid) in str(caught.value)
    assert "memlock" not in str(caught.value), "that is the fix for another problem"
    assert word(ram[0], DMA_OFFSET) == 7


def test_cannot_release_twice(holder):
    holder.release()
    with pytest.raises(HostUnfit, match="release failed"):
        holder.release()


def test_may_be_closed_twice(ram):
    holder = PinHolder(ram[1], BYTES)
    holder.close()
    holder.close()
    assert not alive(holder.pid)


def test_a_killed_holder_is_reported_and_can_be_closed(ram):
    with PinHolder(ram[1], BYTES) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        with pytest.raises(HostUnfit, match=rf"pid {holder.pid}\) (has exited|does not answer)"):
            holder.dma(1)
        with pytest.raises(HostUnfit, match=rf"pid {holder.pid}\) (has exited|does not answer)"):
            holder.dma(2)


def test_dies_with_the_session_that_started_it(ram):
    # A fork keeps the pipe to the holder open, so that it does not exit just for lack of input.
    code = (
        "import os, signal, time\n"
        "from pathlib import Path\n"
        "from runners.pins.holder import PinHolder\n"
        f"holder = PinHolder(Path('{ram[1]}'), {BYTES})\n"
        "fork = os.fork()\n"
        "if fork == 0: time.sleep(20); os._exit(0)\n"
        "print(holder.pid, fork, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        pid, fork = map(int, session.stdout.readline().split())
        assert session.wait() == -signal.SIGKILL
    end = time.monotonic() + 5
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    survived = alive(pid)
    os.kill(fork, signal.SIGKILL)
    assert not survived


# --- more than one buffer ---------------------------------------------------------------------


def test_large_ram_is_pinned_in_several_buffers(monkeypatch):
    monkeypatch.setattr(io_uring_holder, "_BUFFER_BYTES", 2 * MIB)
    with file_of(5 * MIB) as (fd, path), mmap.mmap(fd, 5 * MIB) as area:
        holder = io_uring_holder.Holder(path, 5 * MIB)
        try:
            own = read_accounts("hold", {"holder": os.getpid()}).processes["holder"]
            assert own["VmPin"] == 5 * MIB
            places = (0, 2 * MIB - 8, 2 * MIB, 4 * MIB, 5 * MIB - 8)
            for value, offset in enumerate(places, 1):
                holder.dma(offset, value)
            found = [int.from_bytes(area[o : o + 8], "little") for o in places]
            assert found == [1, 2, 3, 4, 5]
            holder.release()
        finally:
            os.close(holder._ring.fd)
            os.close(holder._source)


@pytest.mark.hugepages
def test_ram_beyond_the_limit_of_one_buffer():
    # Huge pages, because clearing as many small ones takes ten times as long.
    length = GIB + 2 * MIB
    with reserve(length, print), file_of(length, os.MFD_HUGETLB | os.MFD_HUGE_2MB) as (_, path):
        with PinHolder(path, length) as holder:
            assert pinned(holder) == length
            holder._request(f"dma {GIB + 64} 77")
            with (
                path.open("rb", buffering=0) as file,
                mmap.mmap(file.fileno(), length, prot=mmap.PROT_READ) as area,
            ):
                assert int.from_bytes(area[GIB + 64 : GIB + 72], "little") == 77
            holder.release()
            assert pinned(holder) == 0


# --- hosts that refuse ------------------------------------------------------------------------


def test_too_little_memlock_is_refused_with_the_fix():
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from results.errors import HostUnfit\n"
        "from runners.pins.holder import PinHolder\n"
        "fd = os.memfd_create('ram')\n"
        f"os.ftruncate(fd, {BYTES})\n"
        "try:\n"
        f"    PinHolder(Path(f'/proc/{{os.getpid()}}/fd/{{fd}}'), {BYTES})\n"
        "except HostUnfit as error:\n"
        "    print(error)"
    )
    limits = ["prlimit", "--memlock=65536:65536", "--", "setpriv", "--bounding-set=-ipc_lock"]
    done = subprocess.run(
        [*limits, "--", sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "guest RAM could not be pinned: [Errno 12] io_uring_register(BUFFERS)" in done.stdout
    assert "ulimit -l unlimited" in done.stdout
    assert "io_uring_disabled" not in done.stdout  # that is the fix of another errno


def test_a_kernel_without_io_uring_is_reported_as_an_error(ram, monkeypatch, capsys):
    monkeypatch.setitem(syscalls._IO_URING, "io_uring_setup", 0xFFFF)  # no such system call
    assert io_uring_holder.main(str(ram[1]), str(BYTES)) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"error": "[Errno 38] io_uring_setup: Function not implemented"}


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(HostUnfit, match=r"could not be pinned: .*No such file"):
        PinHolder(tmp_path / "missing", BYTES)


def test_a_holder_that_hangs_is_killed_after_a_timeout(ram, monkeypatch):
    monkeypatch.setattr("runners.pins.holder._RELEASE_TIMEOUT_S", 0.2)
    with PinHolder(ram[1], BYTES) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(HostUnfit, match="does not answer"):
            holder._request("dma 0 1", 0.1)
        start = time.monotonic()
    assert time.monotonic() - start < 2
    assert not alive(holder.pid)
