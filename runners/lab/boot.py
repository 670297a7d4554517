"""Booting the lab: virtme-ng under TCG with an emulated IOMMU, with progress and time limits."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import BinaryIO

import psutil

from results.errors import HostUnfit, PausebenchError
from results.ownership import private_directory
from results.records.scenario import MIB
from runners.system.child import die_with_parent, kill_group, spawn

from . import recipe
from .root import LabRoot, compile_python

_ROOMS = ("bench", "probes", "runners", "results", "reports")
_ATTEMPTS = 2  # one boot in a few dozen hangs before it runs anything
_BOOT_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run in the lab."""

    arguments: tuple[str, ...]  # run with pausebench's packages on Python's path
    devices: tuple[recipe.LabDevice, ...]
    environment: Mapping[str, str]
    limit_s: int
    files: Mapping[str, str] = field(default_factory=dict)  # name in /lab → content


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a job. `store` is a directory that is deleted when the context ends."""

    status: int
    store: Path
    output: str
    progress: str


@contextmanager
def lab_run(root: LabRoot, job: Job, progress: Callable[[str], None]) -> Iterator[Finished]:
    """Boot the lab, run the job and yield its result; everything is deleted afterwards.

    Raises HostUnfit when the lab does not boot or does not finish in time.
    """
    free = psutil.virtual_memory().available // MIB
    if free < recipe.FREE_MIB:
        raise HostUnfit(
            f"the lab needs {recipe.FREE_MIB} MiB of free memory and {free} MiB are available: "
            "stop other programs"
        )
    with private_directory() as directory:
        share = directory / "share"
        share.mkdir()
        stage_code(root, share / "code")
        for name, content in job.files.items():
            (share / name).write_text(content)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                yield _boot_and_wait(root, job, directory, share, progress)
                return
            except _NotBooted as error:
                if attempt == _ATTEMPTS:
                    raise HostUnfit(str(error)) from error
                progress(f"{error}; retrying")


class _NotBooted(PausebenchError):
    """The lab did not start its job."""


def stage_code(root: LabRoot, into: Path) -> None:
    """Copy this pausebench, with bytecode for the lab's Python: compiling there is slow."""
    into.mkdir()
    for room in _ROOMS:
        spec = util.find_spec(room)
        if spec is None or not spec.submodule_search_locations:
            raise HostUnfit(f"pausebench's package {room} is missing: reinstall pausebench")
        skipped = shutil.ignore_patterns("__pycache__", "test_*", "conftest.py")
        shutil.copytree(spec.submodule_search_locations[0], into / room, ignore=skipped)
    compile_python(root, into, "/lab/code")


def _boot_and_wait(
    root: LabRoot, job: Job, directory: Path, share: Path, progress: Callable[[str], None]
) -> Finished:
    for name in ("output", "progress", "status"):
        (share / name).unlink(missing_ok=True)
    environment = {
        "PYTHONPATH": "/opt/pausebench:/lab/code",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/root",
        **job.environment,
    }
    script = recipe.job_script(job.arguments, environment, job.limit_s)
    (share / "job").write_text(script)
    (share / "job").chmod(0o755)
    argv = virtme_argv(root, job.devices, directory, ["--script-sh", "/lab/job", "--verbose"])
    console = directory / "console"
    with console.open("wb") as output:
        process = _start(root, argv, directory, output)
        try:
            _follow(process, share, job.limit_s, progress, console)
        finally:
            kill_group(process)  # virtme-run and its QEMU
            process.wait()
    status = _text(share / "status").strip()
    return Finished(
        int(status), share / "store", _text(share / "output"), _text(share / "progress")
    )


def _follow(
    process: subprocess.Popen[bytes],
    share: Path,
    limit_s: int,
    progress: Callable[[str], None],
    console: Path,
) -> None:
    """Forward progress until the lab's job has finished. Raises HostUnfit, _NotBooted."""
    started = time.monotonic()
    shown = 0
    while True:
        ended = process.poll() is not None
        text = _text(share / "progress")
        complete = text.rfind("\n") + 1
        for line in text[shown:complete].splitlines():
            progress(line)
        shown = max(shown, complete)
        if (share / "status").exists():
            return
        spent = time.monotonic() - started
        booted = (share / "progress").exists()
        if ended:
            kind = HostUnfit if booted else _NotBooted
            raise kind(f"the lab exited before its job finished: {_last_line(share, console)}")
        if not booted and spent > _BOOT_LIMIT_S:
            raise _NotBooted(f"the lab did not boot in {_BOOT_LIMIT_S:.0f} s")
        if spent > limit_s + _BOOT_LIMIT_S:
            raise HostUnfit(
                f"the lab was killed after {spent:.0f} s ({_last_line(share, console)}): raise "
                "--time-limit, or lower --boots or --updates"
            )
        time.sleep(0.1)


def _last_line(share: Path, console: Path) -> str:
    lines = _text(share / "progress").split("\n") + _text(console)[-2000:].splitlines()
    printed = [line.strip() for line in lines if line.strip()]
    return printed[-1][-200:] if printed else "no output"


def run_shell(root: LabRoot, devices: Sequence[recipe.LabDevice]) -> int:
    """Run a shell in the lab, with this pausebench in /lab/code; returns its exit status."""
    with private_directory() as directory:
        share = directory / "share"
        share.mkdir()
        stage_code(root, share / "code")
        argv = virtme_argv(root, devices, directory, [])
        with spawn(argv, env=_environment(root, directory)) as child:
            try:
                return child.wait()
            finally:
                child.kill()


def virtme_argv(
    root: LabRoot, devices: Sequence[recipe.LabDevice], directory: Path, more: Sequence[str]
) -> list[str]:
    """argv of virtme-run. Its front end `vng` would pass everything through a shell."""
    options = [word for name in recipe.KERNEL_OPTIONS for word in ("-a", name)]
    return [
        *(sys.executable, str(root.tools / "bin/virtme-run")),
        *("--kimg", str(root.kernel_image), "--mods", "auto", "--root", str(root.tree)),
        *("--busybox", str(root.tree / "usr/bin/busybox")),
        *("--qemu-bin", str(_qemu(directory)), "--disable-kvm", "--disable-microvm"),
        *("--force-9p", "--cpus", str(recipe.CPUS), "--memory", f"{recipe.MEMORY_MIB}M"),
        *("--name", "pausebench-lab", "--user", "root"),
        *("--rwdir", f"/lab={directory / 'share'}", *options, *more),
        *(
            "--qemu-opts",
            *recipe.root_argv(str(root.tree)),
            *recipe.device_argv(devices, str(_disk(directory, devices))),
        ),
    ]


def _disk(directory: Path, devices: Sequence[recipe.LabDevice]) -> Path:
    disk = directory / "disk"
    with disk.open("wb") as image:
        image.truncate(max((d.disk_mib for d in devices), default=0) * MIB)
    return disk


def _qemu(directory: Path) -> Path:
    """A wrapper for a QEMU that dies with its parent, virtme-run, which forks it."""
    found = shutil.which("qemu-system-x86_64")
    if found is None:
        raise HostUnfit("the lab needs qemu-system-x86_64 on PATH: run `make setup`")
    wrapper = directory / "qemu"
    *tied, parent, qemu = die_with_parent([found], "$PPID")
    words = f'{shlex.join(tied)} "{parent}" {shlex.quote(qemu)}'
    wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    wrapper.chmod(0o700)
    return wrapper


def _environment(root: LabRoot, directory: Path) -> dict[str, str]:
    """The root's kmod as `modprobe`, and temporary files in a directory that is deleted."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    modprobe = programs / "modprobe"
    modprobe.write_text(
        f'#!/bin/sh\nexec {shlex.join(root.program("usr/bin/kmod", as_name="modprobe"))} "$@"\n'
    )
    modprobe.chmod(0o700)
    path = f"{programs}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    own = {"PATH": path, "PYTHONPATH": str(root.tools), "TMPDIR": str(directory)}
    return dict(os.environ) | own


def _start(
    root: LabRoot, argv: Sequence[str], directory: Path, output: BinaryIO
) -> subprocess.Popen[bytes]:
    return spawn(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=_environment(root, directory),
        cwd=directory,
        process_group=0,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
