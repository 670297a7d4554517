"""Skips tests that the host cannot run, lists them, and checks that tests leave nothing behind.

A test that needs something of the host has a marker (see pyproject.toml). On a host without it the
test is skipped with the reason, and the run ends with a table of skipped tests; on a host that has
it the test always runs. The checks here query the host only, never this project's code: a broken
loader must fail its tests, not skip them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import importlib.util
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
HUGE_PAGES_TRIED = 8
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TRACEPOINT = "events/raw_syscalls/sys_enter/id"


# --- what the host lacks: each function returns the reason, or None -------------------------


def lacks_kvm() -> str | None:
    get_api_version = 0xAE00
    try:
        with Path("/dev/kvm").open("r+b", buffering=0) as kvm:
            version = fcntl.ioctl(kvm, get_api_version)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return None if version == 12 else f"/dev/kvm has API version {version}, not 12"


def lacks_qemu() -> str | None:
    if shutil.which("qemu-system-x86_64") is None:
        return "no qemu-system-x86_64 on PATH"
    command = ["qemu-system-x86_64", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    version = re.search(r"version (\d+)\.(\d+)", output)
    if version is None:
        return "qemu-system-x86_64 --version prints no version"
    if int(version[1]) < 10:
        return f"QEMU {version[1]}.{version[2]} has no cpr-transfer (needs 10.0)"
    return None


def lacks_bpf() -> str | None:
    if os.geteuid() != 0:
        return "not root"
    if importlib.util.find_spec("bcc") is None:
        return "this Python does not see the distribution's bcc"
    headers = [
        Path(f"/lib/modules/{os.uname().release}/build"),
        Path("/sys/kernel/kheaders.tar.xz"),
        *Path("/usr/src").glob("linux-headers-*/include/generated"),
    ]
    if not any(path.exists() for path in headers):
        return "no kernel headers"
    for tracefs in (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing")):
        if (tracefs / TRACEPOINT).exists():
            number = int((tracefs / TRACEPOINT).read_text())
            return lacks_tracepoint_program(number)
    return "tracefs is not mounted, or has no raw_syscalls tracepoints"


def lacks_tracepoint_program(tracepoint: int) -> str | None:
    """Load and attach a minimal program (r0 = 0; exit) with raw system calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    bpf, perf_event_open = (321, 298) if os.uname().machine == "x86_64" else (280, 241)
    code = ctypes.create_string_buffer(bytes.fromhex("b700000000000000 9500000000000000"))
    license_name = ctypes.create_string_buffer(b"GPL")
    prog_load, type_tracepoint, set_bpf = 5, 5, 0x40042408
    load = struct.pack(
        "IIQQIIQII",
        *(type_tracepoint, 2, ctypes.addressof(code), ctypes.addressof(license_name)),
        *(0, 0, 0, 0, 0),
    )
    perf_type_tracepoint = 2
    event = struct.pack("IIQQQQQIIQ", perf_type_tracepoint, 64, tracepoint, *[0] * 7)
    with contextlib.ExitStack() as stack:
        program = libc.syscall(bpf, prog_load, load, len(load))
        if program < 0:
            return f"the kernel refuses BPF programs: {os.strerror(ctypes.get_errno())}"
        stack.callback(os.close, program)
        opened = libc.syscall(perf_event_open, event, -1, 0, -1, 0)
        if opened < 0:
            return f"the kernel refuses trace events: {os.strerror(ctypes.get_errno())}"
        stack.callback(os.close, opened)
        try:
            fcntl.ioctl(opened, set_bpf, program)
        except OSError as error:
            return f"the kernel refuses BPF on tracepoints: {error.strerror}"
    return None


def lacks_huge_pages() -> str | None:
    try:
        free, reserved, total = (
            int((HUGE_PAGES / f"{name}_hugepages").read_text()) for name in ("free", "resv", "nr")
        )
        if free - reserved >= HUGE_PAGES_TRIED:
            return None
        number = HUGE_PAGES / "nr_hugepages"
        try:
            number.write_text(str(total + HUGE_PAGES_TRIED))
            got = int(number.read_text()) - total
        finally:
            number.write_text(str(total))
    except OSError as error:
        return f"2 MiB pages cannot be reserved: {error.strerror}"
    if got < HUGE_PAGES_TRIED:
        return f"only {got} of {HUGE_PAGES_TRIED} 2 MiB pages could be reserved"
    return None


def lacks_lab() -> str | None:
    found = importlib.util.find_spec("runners.lab")
    return None if found else "the lab is not built yet"


def lacks_browser() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "no playwright in this venv (the dev extra has it)"
    if not any(map(shutil.which, BROWSERS)):
        return "no Chromium on PATH (Debian: apt-get install chromium)"
    return None


LACKS: dict[str, Callable[[], str | None]] = {
    "kvm": functools.cache(lacks_kvm),
    "qemu": functools.cache(lacks_qemu),
    "bpf": functools.cache(lacks_bpf),
    "hugepages": functools.cache(lacks_huge_pages),
    "lab": functools.cache(lacks_lab),
    "browser": functools.cache(lacks_browser),
}
NOT_TESTED = pytest.StashKey[Counter[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-cases",
        type=int,
        default=5_000,
        metavar="N",
        help="about how many hostile inputs tests/fuzz tries (default: 5,000, under a minute)",
    )


def pytest_configure() -> None:
    """A shell that starts the tests in the background, or nohup, has these signals ignored.

    What the tests start would inherit that, but not a handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(trylast=True)  # after -k and -m: no checks for deselected tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    not_tested = config.stash.setdefault(NOT_TESTED, Counter())
    for item in items:
        for marker, lacks in LACKS.items():
            if item.get_closest_marker(marker) and (reason := lacks()):
                not_tested[marker, reason] += 1
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reason}"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    not_tested = config.stash.get(NOT_TESTED, Counter())
    if not not_tested:
        return
    terminalreporter.section("not tested here")
    terminalreporter.line(f"{'marker':<10} {'tests':>5}  reason")
    for (marker, reason), tests in sorted(not_tested.items()):
        terminalreporter.line(f"{marker:<10} {tests:>5}  {reason}")


# --- a run directory of the tests' own -------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def own_run_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Locks and records of the tests: a session that measures on this host does not stop them.

    The processes that tests start have those of the host.
    """
    from results import ownership

    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("run") / "pausebench"
        patch.setattr(ownership, "RUN", directory)
        yield directory


# --- what the tests must not leave behind ---------------------------------------------------


def mounts() -> set[str]:
    return set(Path("/proc/self/mounts").read_text().splitlines())


def reserved_huge_pages() -> dict[str, int]:
    pools = Path("/sys/kernel/mm/hugepages").glob("*/nr_hugepages")
    return {pool.parent.name: int(pool.read_text()) for pool in pools}


def qemus_of(token: str) -> dict[int, str]:
    """Running QEMUs that inherited `token`, whatever their parent is now: pid → argv."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        # A zombie's environment is empty, and a process may exit during the scan.
        with contextlib.suppress(OSError):
            if token.encode() not in (process / "environ").read_bytes():
                continue
            argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            # Not only argv[0]: a build may run with its own dynamic loader.
            if any(Path(word).name.startswith("qemu-system") for word in argv):
                found[int(process.name)] = " ".join(argv)[:200]
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the run when it leaves a QEMU, a mount or a reserved huge page on the host.

    Set up before, and so torn down after, every other session fixture.
    """
    name, token = "PAUSEBENCH_TEST_RUN", uuid.uuid4().hex
    mounts_before, huge_pages_before = mounts(), reserved_huge_pages()
    os.environ[name] = token
    yield
    del os.environ[name]

    deadline = time.monotonic() + 2  # a killed QEMU with much RAM takes a moment to exit
    while (left := qemus_of(token)) and time.monotonic() < deadline:
        time.sleep(0.05)
    leaks = [f"QEMU {pid} was still running (now killed): {argv}" for pid, argv in left.items()]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    leaks += [f"mount left behind: {line}" for line in sorted(mounts() - mounts_before)]
    leaks += [
        f"{pool}: {huge_pages_before.get(pool)} pages reserved before, {now} after"
        for pool, now in reserved_huge_pages().items()
        if now != huge_pages_before.get(pool)
    ]
    if leaks:
        lines = "\n  ".join(leaks)
        pytest.fail(
            f"the tests (or another run on this host) left behind:\n  {lines}", pytrace=False
        )
