"""Reading ELF files: hand-made symbol tables, and a program built with the system's binutils."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from runners.builds.elf import find_functions, read_elf

SOURCE = """
    .text
    .globl exported
    .type exported, @function
exported:
    ret
    .type local, @function
local:
    ret
    .data
    .globl object
    .type object, @object
object:
    .quad 0
    .section .note.stapsdt, "", "note"
    .balign 4
    .long 8, 2f - 1f, 3
    .asciz "stapsdt"
1:  .quad exported, 0, 0
    .asciz "demo"
    .asciz "beat"
    .asciz ""
2:  .balign 4
"""
needs_binutils = pytest.mark.skipif(
    not (shutil.which("as") and shutil.which("ld")), reason="no binutils"
)


def symbol(name_at, info=2, section=1, value=0x10):
    return struct.pack("<IBBHQQ", name_at, info, 0, section, value, 0)


def test_only_defined_functions_are_found():
    strings = b"\0run\0data\0undefined\0absent\0"
    symbols = b"".join(
        [
            symbol(strings.index(b"run"), value=0x40),
            symbol(strings.index(b"data"), info=1),
            symbol(strings.index(b"undefined"), section=0, value=0),
        ]
    )
    assert find_functions(symbols, strings, ["run", "data", "undefined", "absent"]) == {"run": 0x40}


def test_a_name_may_share_the_tail_of_another():
    strings = b"\0qemu_run\0rerun\0"
    longer, tail = symbol(1, value=0x10), symbol(strings.index(b"run"), value=0x20)
    assert find_functions(longer + tail, strings, ["run"]) == {"run": 0x20}
    assert find_functions(longer, strings, ["run"]) == {}


def test_a_truncated_table_is_read_up_to_its_end():
    assert find_functions(symbol(1) + b"cut", b"\0run\0", ["run"]) == {"run": 0x10}


@needs_binutils
def test_functions_and_build_id_of_an_assembled_program(tmp_path):
    (tmp_path / "a.s").write_text(SOURCE)
    for argv in (
        ["as", "-o", "a.o", "a.s"],
        # The address differs from the file offset, which uprobes need.
        ["ld", "--build-id=0xab12", "-Ttext=0x12345000", "-e", "exported", "-o", "a", "a.o"],
    ):
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    found = read_elf(tmp_path / "a", ["exported", "local", "object", "none"])
    assert found.build_id == "ab12"
    assert set(found.functions) == {"exported", "local"}
    code = (tmp_path / "a").read_bytes()
    assert {code[offset] for offset in found.functions.values()} in ({0xC3}, {0xC0})  # ret
    assert found.functions["exported"] < 0x12345000


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01\x01\x01" + bytes(60)]
)
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="not a "):
        read_elf(tmp_path / "file", ["run"])


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        read_elf(Path(tmp_path / "none"), [])
