"""The initial RAM disk: modules in the order of their dependencies, in a newc archive."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.linux.initrd import archive, build_initrd, dependencies, in_order


def module(directory: Path, name: str, needs: str, packed: bool = False) -> Path:
    content = b"\x7fELF" + f"\0depends={needs}\0name={name}\0".encode()
    path = directory / f"{name}.ko{'.xz' if packed else ''}"
    path.write_bytes(lzma.compress(content) if packed else content)
    return path


def test_a_module_follows_its_dependencies(tmp_path):
    files = {
        "net": module(tmp_path, "net", "fail-over,ring"),
        "fail_over": module(tmp_path, "fail-over", "", packed=True),
        "ring": module(tmp_path, "ring", "built_in"),
    }
    found = in_order(files, ["net", "ring", "absent"])
    names = [content.split(b"\0name=")[1].rstrip(b"\0") for content in found]
    assert names == [b"fail-over", b"ring", b"net"]


def test_dependencies_are_parsed():
    assert dependencies(b"x\0depends=a-b,c\0") == ["a_b", "c"]
    assert dependencies(b"x\0depends=\0") == []
    assert dependencies(b"no elf") == []


def test_an_unknown_compression_is_refused(tmp_path):
    path = tmp_path / "a.ko.zst"
    path.write_bytes(b"")
    with pytest.raises(HostUnfit, match=r"\.zst"):
        in_order({"a": path}, ["a"])


def test_the_archive_has_the_newc_format():
    made = archive({"init": b"abc", "m/a": b"12345"}, ["dev"])
    at, found = 0, {}
    while True:
        assert made[at : at + 6] == b"070701"
        fields = [int(made[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = made[at + 110 : at + 110 + fields[11] - 1].decode()
        at = -(-(at + 110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            break
        found[name] = (oct(fields[1]), made[at : at + fields[6]])
        at = -(-(at + fields[6]) // 4) * 4
    assert found == {
        "dev": ("0o40755", b""),
        "init": ("0o100755", b"abc"),
        "m/a": ("0o100755", b"12345"),
    }


def test_the_program_assembles(tmp_path):
    initrd = build_initrd(tmp_path / "none", tmp_path)
    assert (tmp_path / "init").read_bytes()[:4] == b"\x7fELF"
    assert b"/dev/vport0p1" in initrd.read_bytes()
