"""The build id of an ELF file and the offsets of named functions in it."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size
_FUNCTION, _UNDEFINED = 2, 0
_EXECUTABLE = 1  # PF_X


@dataclass(frozen=True, slots=True)
class Elf:
    """`functions` maps names to file offsets, as uprobes need them, not to addresses."""

    build_id: str = ""
    functions: dict[str, int] = field(default_factory=dict)


def read_elf(path: Path, functions: Iterable[str]) -> Elf:
    """Read the 64-bit little-endian ELF file `path` and look up `functions` in its symbol tables.

    Raises ValueError for another kind of file, OSError when it cannot be read.
    """
    with path.open("rb") as handle:
        try:
            elf = ELFFile(handle)
            if elf.elfclass != 64 or not elf.little_endian:
                raise ValueError("not a 64-bit little-endian ELF file")
            return Elf(_build_id(elf), _functions(elf, functions))
        except (ELFError, struct.error) as error:
            raise ValueError(f"not a valid ELF file ({error or type(error).__name__})") from error


def _functions(elf: ELFFile, names: Iterable[str]) -> dict[str, int]:
    wanted = tuple(names)
    addresses: dict[str, int] = {}
    for table, strings in ((".symtab", ".strtab"), (".dynsym", ".dynstr")):
        symbols, text = elf.get_section_by_name(table), elf.get_section_by_name(strings)
        if symbols is not None and text is not None:
            addresses |= find_functions(symbols.data(), text.data(), wanted)
    code = [
        (s["p_vaddr"], s["p_vaddr"] + s["p_filesz"], s["p_offset"])
        for s in elf.iter_segments("PT_LOAD")
        if s["p_flags"] & _EXECUTABLE
    ]
    return {
        name: int(address - start + offset)
        for name, address in sorted(addresses.items())
        for start, end, offset in code
        if start <= address < end
    }


def find_functions(symbols: bytes, strings: bytes, wanted: Iterable[str]) -> dict[str, int]:
    """Addresses of the defined functions among `wanted`, from a raw symbol and string table.

    Searches the string table and compares offsets of names: pyelftools takes 0.9 s for the 25,000
    symbols of a distribution's QEMU, and a local build has five times as many.
    """
    names: dict[int, str] = {}
    for name in wanted:
        place = strings.find(word := name.encode() + b"\0")
        while place >= 0:  # every occurrence: linkers share the tail of a longer name
            names[place] = name
            place = strings.find(word, place + 1)
    found = {}
    length = len(symbols) - len(symbols) % _SYMBOL.size
    for name_at, info, _, section, value, _ in _SYMBOL.iter_unpack(symbols[:length]):
        if name_at in names and info & 0xF == _FUNCTION and section != _UNDEFINED and value:
            found[names[name_at]] = value
    return found


def _build_id(elf: ELFFile) -> str:
    for section in elf.iter_sections("SHT_NOTE"):
        if not isinstance(section, NoteSection):
            continue
        for note in section.iter_notes():
            # A note's type depends on its owner: 3 is the build id of GNU, but also stapsdt's type.
            if note["n_name"] == "GNU" and note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""
