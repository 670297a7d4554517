"""QEMU builds as values: found, looked into, and refused when they cannot do a cpr-transfer."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import GNUHashSection
from elftools.elf.sections import NoteSection, SymbolTableSection

from results.errors import BuildUnfit, HostUnfit, UsageError
from results.phases import FUNCTIONS, missing_marks
from results.records import Build

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_TIMEOUT_S = 20
_NAME = f"qemu-system-{platform.machine()}"
_ELSEWHERE = (Path("/usr/libexec/qemu-kvm"), Path("/usr/bin/qemu-kvm"))


def default_build() -> Build:
    """The system's QEMU. Raises HostUnfit when there is none."""
    found = shutil.which(_NAME)
    path = Path(found) if found else next((p for p in _ELSEWHERE if p.is_file()), None)
    if path is None:
        raise HostUnfit(f"{_NAME} is missing: `make setup` installs it, or name one with --build")
    return discover(path, "system")


def parse_build_option(text: str) -> tuple[str, Path]:
    """`LABEL=PATH` → (label, path). Raises UsageError."""
    label, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--build {text}: write it LABEL=PATH, like next=/opt/qemu/build")
    if not _LABEL.fullmatch(label):
        raise UsageError(f"--build {text}: a label is letters, digits, dots and dashes (32 at most)")
    return label, Path(path)


def discover(path: Path, label: str) -> Build:
    """Look into a QEMU: a binary, a build directory, or an unpacked tree of another suite.

    Raises BuildUnfit when it is no QEMU or knows no cpr-transfer.
    """
    binary, launcher, firmware = _locate(path)
    version = _version(launcher, path)
    modes = _cpr_modes(launcher, path)
    if "cpr-transfer" not in modes:
        known = f"it knows {', '.join(modes)}" if modes else "it knows no CPR mode"
        raise BuildUnfit(
            f"{path}: QEMU {version} has no cpr-transfer ({known}); it came with QEMU 10.0"
        )
    symbols, build_id = _read_elf(binary)
    return Build(
        label=label,
        binary=str(binary),
        version=version,
        build_id=build_id,
        sha256=_sha256(binary),
        launcher=launcher,
        firmware_dirs=tuple(str(directory) for directory in firmware),
        cpr_modes=modes,
        symbols=symbols,
        missing_marks=missing_marks(symbols),
    )


def _locate(path: Path) -> tuple[Path, tuple[str, ...], tuple[Path, ...]]:
    """Binary, argv prefix that starts it, and firmware directories."""
    if not path.exists():
        raise BuildUnfit(f"{path}: there is nothing; name a QEMU binary, build directory or tree")
    if path.is_file():
        if not os.access(path, os.X_OK):
            raise BuildUnfit(f"{path}: is not executable")
        return path.resolve(), (str(path.absolute()),), ()
    if (path / _NAME).is_file():  # QEMU's own build directory
        binary = (path / _NAME).resolve()
        firmware = tuple(d for d in (path / "pc-bios", path / "qemu-bundle") if d.is_dir())
        return binary, (str(binary), *_firmware_options(firmware)), firmware
    for inside in ("usr/bin", "usr/local/bin", "usr/libexec", "bin"):
        if (path / inside / _NAME).is_file():
            return _tree(path.resolve(), (path / inside / _NAME).resolve())
    raise BuildUnfit(f"{path}: holds no {_NAME}; name a QEMU binary, build directory or tree")


def _tree(root: Path, binary: Path) -> tuple[Path, tuple[str, ...], tuple[Path, ...]]:
    """An unpacked tree runs on its own libraries, by its own dynamic loader."""
    machine = platform.machine()
    libraries = [
        directory
        for part in (f"usr/lib/{machine}-linux-gnu", f"lib/{machine}-linux-gnu", "usr/lib64", "lib64")
        if (directory := root / part).is_dir()
    ]
    loader = next(
        (
            found
            for directory in [*libraries, root / "usr/lib64"]
            if (found := directory / f"ld-linux-{machine.replace('_', '-')}.so.2").is_file()
        ),
        None,
    )
    if loader is None:
        raise BuildUnfit(f"{root}: has a QEMU but no dynamic loader; unpack its libc there too")
    firmware = tuple(
        directory
        for part in ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")
        if (directory := root / part).is_dir()
    )
    search = ":".join(str(directory) for directory in libraries)
    launcher = (str(loader), "--library-path", search, str(binary), *_firmware_options(firmware))
    return binary, launcher, firmware


def _firmware_options(directories: Iterable[Path]) -> tuple[str, ...]:
    return tuple(word for directory in directories for word in ("-L", str(directory)))


def _version(launcher: tuple[str, ...], path: Path) -> str:
    said = _run([*launcher, "--version"], path)
    match = re.search(r"QEMU emulator version (\S+)(?: \(([^)]*)\))?", said)
    if match is None:
        raise BuildUnfit(f"{path}: is no QEMU (it does not tell a QEMU version)")
    return match[1] + (f" ({match[2]})" if match[2] else "")


def _cpr_modes(launcher: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Ask QEMU itself, over QMP, which CPR modes its `migrate` knows."""
    commands = "".join(
        json.dumps({"execute": command}) + "\n"
        for command in ("qmp_capabilities", "query-qmp-schema", "quit")
    )
    argv = [*launcher, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    for line in _run(argv, path, commands).splitlines():
        try:
            answer = json.loads(line).get("return")
        except (json.JSONDecodeError, AttributeError):
            continue
        if isinstance(answer, list):
            return _modes_of_schema(answer)
    return ()


def _modes_of_schema(schema: list[dict[str, object]]) -> tuple[str, ...]:
    """Values of the one enumeration that has `cpr-reboot`: names of types are masked in QMP."""
    for entry in schema:
        values = entry.get("values")
        if entry.get("meta-type") == "enum" and isinstance(values, list) and "cpr-reboot" in values:
            return tuple(str(v) for v in values if str(v).startswith("cpr-"))
    return ()


def _run(argv: list[str], path: Path, given: str = "") -> str:
    try:
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildUnfit(f"{path}: did not answer in {_TIMEOUT_S} s; is it a QEMU?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BuildUnfit(f"{path}: cannot be started: {error}") from error
    if done.returncode != 0 and not done.stdout:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BuildUnfit(f"{path}: does not run here: {last[0]}")
    return done.stdout


def _read_elf(binary: Path) -> tuple[dict[str, int], str]:
    """File offsets of the probed functions that the binary names, and its build id."""
    try:
        with binary.open("rb") as handle:
            elf = ELFFile(handle)
            return _symbols(elf), _build_id(elf)
    except (ELFError, OSError) as error:
        raise BuildUnfit(f"{binary}: is no ELF binary that can be probed: {error}") from error


def _symbols(elf: ELFFile) -> dict[str, int]:
    """Look functions up by the dynamic hash table, and by .symtab what is not exported.

    Reading all 30,000 dynamic symbols of a distribution's build would take most of a second.
    """
    hashed = elf.get_section_by_name(".gnu.hash")
    found: dict[str, int] = {}
    for function in FUNCTIONS:
        symbol = hashed.get_symbol(function) if isinstance(hashed, GNUHashSection) else None
        if symbol is not None and symbol["st_value"]:
            found[function] = _file_offset(elf, symbol["st_value"])
    table = elf.get_section_by_name(".symtab")
    if isinstance(table, SymbolTableSection):
        for function in set(FUNCTIONS) - set(found):
            for symbol in table.get_symbol_by_name(function) or ():
                if symbol["st_value"]:
                    found[function] = _file_offset(elf, symbol["st_value"])
    return dict(sorted(found.items()))


def _file_offset(elf: ELFFile, address: int) -> int:
    for segment in elf.iter_segments("PT_LOAD"):
        start = segment["p_vaddr"]
        if start <= address < start + segment["p_memsz"]:
            return int(address - start + segment["p_offset"])
    return int(address)


def _build_id(elf: ELFFile) -> str:
    for section in elf.iter_sections():
        if isinstance(section, NoteSection):
            for note in section.iter_notes():
                if note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
