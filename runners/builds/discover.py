"""QEMU builds as values: located, examined, and refused when they lack cpr-transfer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from results.errors import BuildUnfit, HostUnfit, UsageError
from results.records.scenario import Build
from results.timeline.marks import FUNCTIONS, missing_marks
from runners.system.child import run, spawn
from runners.system.timeouts import scaled_timeout

from .contents import contents_hash
from .elf import read_elf

_MACHINE = platform.machine()
_NAME = f"qemu-system-{_MACHINE}"
_OTHER_PATHS = (Path("/usr/libexec/qemu-kvm"), Path("/usr/bin/qemu-kvm"))
_LOADER = f"ld-linux-{_MACHINE.replace('_', '-')}.so.*"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_BINARY_PLACES = ("usr/bin", "usr/local/bin", "usr/libexec", "bin")
# Of Debian and Ubuntu first, then of others. lib is tried as well as usr/lib: a tree of unpacked
# packages lacks the merged-usr link.
_LIBRARY_PLACES = (
    f"usr/lib/{_MACHINE}-linux-gnu",
    f"lib/{_MACHINE}-linux-gnu",
    "usr/lib64",
    "lib64",
)
_FIRMWARE_PLACES = (
    "usr/share/qemu",
    "usr/share/seabios",
    "usr/lib/ipxe/qemu",
    "usr/share/ipxe/qemu",
)
_TIMEOUT_S = scaled_timeout(10.0)
# What QEMU, its libraries or its loader print when a limit of the process stops them.
_REFUSED = re.compile(
    "cannot allocate memory|resource temporarily unavailable|failed to map segment|out of memory",
    re.IGNORECASE,
)
LIMITS_FIX = "raise the limit of this process (`ulimit -a`, memory and pids of the cgroup)"
_EXPECTED = "expected a QEMU binary, build directory or unpacked tree"
_FIRST_MAJOR = 10
_SINCE = f"cpr-transfer needs QEMU {_FIRST_MAJOR}.0 or newer"


class _TooOld(BuildUnfit):
    """A QEMU that works, but has no cpr-transfer: a newer one has it."""


@dataclass(frozen=True, slots=True)
class _Installation:
    """A build's binary, the argv prefix that starts it, its firmware and library directories."""

    binary: Path
    launcher: tuple[str, ...]
    firmware: tuple[Path, ...] = ()
    libraries: tuple[Path, ...] = ()  # directories, with those of modules; empty: the host's


def default_build() -> Build:
    """The system's QEMU. Raises HostUnfit when it is missing or lacks cpr-transfer."""
    found = shutil.which(_NAME)
    path = Path(found) if found else next((p for p in _OTHER_PATHS if p.is_file()), None)
    if path is None:
        raise HostUnfit(f"{_NAME} is missing: run `make setup`, or choose a build with --build")
    try:
        return discover(path, "system")
    except BuildUnfit as error:
        way = "run `make setup` to install a newer one, or " if isinstance(error, _TooOld) else ""
        raise HostUnfit(
            f"the system's QEMU cannot be measured: {error}; {way}choose another with --build "
            "LABEL=PATH"
        ) from error


def parse_build_option(text: str) -> tuple[str, Path]:
    """`LABEL=PATH` → (label, path). Raises UsageError."""
    label, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--build {text}: expected LABEL=PATH, e.g. next=/opt/qemu/build")
    if not _LABEL.fullmatch(label):
        raise UsageError(
            f"--build {text}: a label has up to 32 letters, digits, dots, dashes and underscores"
        )
    return label, Path(path).expanduser()


def discover(path: str | Path, label: str = "") -> Build:
    """Examine a QEMU: a binary, a build directory, or an unpacked tree of another suite.

    The label defaults to its version. Raises BuildUnfit when it is not a QEMU or lacks
    cpr-transfer.
    """
    path = Path(path)
    found = _locate(path)
    version = _version(found.launcher, path)
    modes = _cpr_modes(found.launcher, path, version)
    if "cpr-transfer" not in modes:
        known = f"it supports only {', '.join(modes)}" if modes else "it supports no CPR mode"
        raise _TooOld(f"{path}: QEMU {version} has no cpr-transfer ({known}); {_SINCE}")
    try:
        elf = read_elf(found.binary, FUNCTIONS)
    except (OSError, ValueError) as error:
        raise BuildUnfit(
            f"{path}: cannot be probed: {error}; give the binary itself, not a wrapper script"
        ) from error
    own = (*found.libraries, *found.firmware)
    try:
        with found.binary.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        tree_sha256 = contents_hash(found.binary, own) if own else ""
    except OSError as error:
        raise BuildUnfit(f"{path}: cannot be read: {error}") from error
    return Build(
        label=label or f"qemu-{version.split()[0]}",
        binary=str(found.binary),
        version=version,
        build_id=elf.build_id,
        sha256=sha256,
        launcher=found.launcher,
        firmware_dirs=tuple(map(str, found.firmware)),
        cpr_modes=modes,
        symbols=elf.functions,
        missing_marks=missing_marks(elf.functions),
        tree_sha256=tree_sha256,
    )


# --- location -------------------------------------------------------------------------------


def _locate(path: Path) -> _Installation:
    if not path.exists():
        raise BuildUnfit(f"{path}: no such file or directory; {_EXPECTED}")
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise BuildUnfit(f"{path}: not executable; {_EXPECTED}")
        binary = path.resolve()
        root = binary.parents[2] if len(binary.parents) > 3 else None
        if root is not None and _loader(root) is not None:  # it is inside an unpacked tree
            return _tree(root, binary)
        return _Installation(binary, (str(path.absolute()),))
    root = path.resolve()
    if (root / _NAME).is_file():  # QEMU's own build directory
        firmware = tuple(d for d in (root / "pc-bios",) if d.is_dir())
        binary = (root / _NAME).resolve()
        return _Installation(binary, (str(binary), *_firmware_options(firmware)), firmware)
    for inside in _BINARY_PLACES:
        if (root / inside / _NAME).is_file():
            return _tree(root, (root / inside / _NAME).resolve())
    raise BuildUnfit(f"{path}: no {_NAME} in this directory; {_EXPECTED}")


def _tree(root: Path, binary: Path) -> _Installation:
    """An unpacked tree runs with its own libraries, through its own dynamic loader.

    /proc/self/exe is then the loader, so QEMU cannot find its firmware (-L) and its modules
    (QEMU_MODULE_DIR) by itself. `env` executes the loader in its place: no process is added.
    """
    loader = _loader(root)
    if loader is None:
        raise BuildUnfit(f"{root}: has a QEMU but no dynamic loader; unpack its libc there as well")
    firmware = tuple(d for part in _FIRMWARE_PLACES if (d := root / part).is_dir())
    libraries = _library_dirs(root, loader, binary)
    search = ":".join(map(str, libraries))
    modules = [d for part in _LIBRARY_PLACES if (d := root / part / "qemu").is_dir()]
    env = shutil.which("env") if modules else None
    prefix = (env, f"QEMU_MODULE_DIR={modules[0]}") if env else ()
    start = (str(loader), "--library-path", search, str(binary))
    launcher = (*prefix, *start, *_firmware_options(firmware))
    return _Installation(binary, launcher, firmware, (*libraries, *modules))


def _loader(root: Path) -> Path | None:
    places = (root / part for part in _LIBRARY_PLACES)
    return next((found for place in places for found in sorted(place.glob(_LOADER))), None)


def _library_dirs(root: Path, loader: Path, binary: Path) -> list[Path]:
    """The tree's library directories, and subdirectories with libraries not found in those."""
    places = [d for part in _LIBRARY_PLACES if (d := root / part).is_dir()]
    search = ":".join(map(str, places))
    listing = _run([str(loader), "--library-path", search, "--list", str(binary)], binary)
    missing = re.findall(r"^\s*(\S+) => not found", listing, re.MULTILINE)
    below = {found.parent for name in missing for place in places for found in place.rglob(name)}
    return [*places, *sorted(below)]


def _firmware_options(directories: Iterable[Path]) -> tuple[str, ...]:
    return tuple(word for directory in directories for word in ("-L", str(directory)))


# --- version and capabilities ---------------------------------------------------------------


def _version(launcher: Sequence[str], path: Path) -> str:
    output = _run([*launcher, "--version"], path)
    match = re.search(r"QEMU emulator version (\S+)(?: \(([^)]*)\))?", output)
    if match is None:
        raise BuildUnfit(f"{path}: not a QEMU (--version prints no QEMU version); {_EXPECTED}")
    return match[1] + (f" ({match[2]})" if match[2] else "")


def _run(argv: Sequence[str], path: Path) -> str:
    try:
        done = run(argv, _TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BuildUnfit(f"{path}: timed out after {_TIMEOUT_S:g} s; is it a QEMU?") from None
    except OSError as error:
        raise _not_started(path, error) from error
    if done.returncode != 0 and not done.stdout:
        raise _by_its_words(path, f"cannot run on this host: {_last_line(done.stderr)}")
    return done.stdout


def _not_started(path: Path, error: OSError) -> BuildUnfit | HostUnfit:
    """Of a process that the kernel did not start: the file's fault, or a limit's."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return HostUnfit(f"{path} cannot be started: {reason}: {LIMITS_FIX}")
    return BuildUnfit(f"{path}: cannot be started: {reason}")


def _by_its_words(path: Path, what: str) -> BuildUnfit | HostUnfit:
    """Of a QEMU that ended early: the build's fault, or a limit's, as its last line tells."""
    if _REFUSED.search(what):
        return HostUnfit(f"{path} {what}: {LIMITS_FIX}")
    return BuildUnfit(f"{path}: {what}")


def _cpr_modes(launcher: Sequence[str], path: Path, version: str) -> tuple[str, ...]:
    """Query QEMU over QMP for the CPR modes that its `migrate` supports."""
    argv = [*launcher, "-machine", "none", "-S", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-qmp", "stdio"]
    with tempfile.TemporaryFile() as log:
        try:
            with spawn(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            ) as qemu:
                schema = _query_schema(qemu)
        except OSError as error:
            raise _not_started(path, error) from error
        if schema is None:
            log.seek(0)
            last = _last_line(log.read().decode(errors="replace"))
            if int(version.split(".")[0]) < _FIRST_MAJOR:  # too old anyway
                return ()
            what = f"QEMU {version} does not report its migration modes ({last})"
            raise _by_its_words(path, what)
    return modes_of_schema(schema)


def _query_schema(qemu: subprocess.Popen[str]) -> list[Any] | None:
    """The answer to query-qmp-schema, or None when QEMU exits or does not answer in time.

    QEMU is killed because `quit` truncated its answer at 64 KiB, the size of the pipe, when the
    reader was slow.
    """
    assert qemu.stdin is not None
    assert qemu.stdout is not None
    timeout = threading.Timer(_TIMEOUT_S, qemu.kill)
    timeout.start()
    try:
        with suppress(BrokenPipeError):
            _send(qemu.stdin, "qmp_capabilities", "query-qmp-schema")
        for line in qemu.stdout:
            # Lines that are not QMP: other text, numbers of thousands of digits, deep nesting.
            with suppress(ValueError, RecursionError, AttributeError):
                if isinstance(answer := json.loads(line).get("return"), list):
                    return answer
        return None
    finally:
        timeout.cancel()
        qemu.kill()
        # What a QEMU that had ended did not read is flushed once more, and fails, at the close.
        with suppress(BrokenPipeError):
            qemu.stdin.close()


def _send(stream: IO[str], *commands: str) -> None:
    for command in commands:
        stream.write(json.dumps({"execute": command}) + "\n")
    stream.flush()


def modes_of_schema(schema: Iterable[object]) -> tuple[str, ...]:
    """CPR modes: values of the enumeration with `cpr-reboot`, as QMP masks the names of types."""
    for entry in schema:
        if not isinstance(entry, dict) or entry.get("meta-type") != "enum":
            continue
        values = entry.get("values")
        if isinstance(values, list) and "cpr-reboot" in values:
            return tuple(str(v) for v in values if str(v).startswith("cpr-"))
    return ()


def _last_line(text: str) -> str:
    return next(iter(reversed(text.strip().splitlines())), "no output").strip()
