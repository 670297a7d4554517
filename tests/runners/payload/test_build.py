"""The payload, assembled with binutils."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.payload import layout
from runners.payload.build import build_payload
from runners.system import assembler

needs_binutils = pytest.mark.skipif(
    not (shutil.which("as") and shutil.which("ld")), reason="binutils is not installed"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_payload(tmp_path_factory.mktemp("payload"))


@needs_binutils
def test_image_is_a_rom_of_64_kib_that_begins_at_the_reset_vector(image: Path) -> None:
    data = image.read_bytes()
    assert len(data) == layout.ROM_BYTES == 64 << 10
    # a 16-bit relative jump at 0xfff0 that leads back to the image's first byte
    opcode, distance = struct.unpack_from("<BH", data, layout.ROM_BYTES - 16)
    assert opcode == 0xE9
    assert (layout.ROM_BYTES - 16 + 3 + distance) % layout.ROM_BYTES == 0
    assert data[0] == 0xFA  # cli


@needs_binutils
def test_assembler_and_host_agree_on_every_symbol(image: Path) -> None:
    listed = subprocess.run(
        ["nm", str(image.with_suffix(".o"))], capture_output=True, text=True, check=True
    ).stdout
    symbols = {}
    for line in listed.splitlines():
        *value, kind, name = line.split()
        assert kind != "U", f"{name} is defined nowhere"
        symbols[name] = int(value[0], 16)
    expected = layout.symbols()
    assert {name: symbols.get(name) for name in expected} == expected


@needs_binutils
def test_copied_code_fits_below_the_control_block(image: Path) -> None:
    listed = subprocess.run(
        ["nm", str(image.with_suffix(".o"))], capture_output=True, text=True, check=True
    ).stdout
    at = {line.split()[-1]: int(line.split()[0], 16) for line in listed.splitlines()}
    assert layout.CODE + at["image_end"] - at["image"] <= layout.CONTROL
    assert at["image_end"] < layout.ROM_BYTES - 16


@needs_binutils
def test_same_source_gives_the_same_bytes(image: Path, tmp_path: Path) -> None:
    assert build_payload(tmp_path).read_bytes() == image.read_bytes()


@needs_binutils
def test_layout_changes_the_image(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = layout.symbols() | {"SLOT_SHIFT": layout.SLOT_SHIFT + 1}
    monkeypatch.setattr(layout, "symbols", lambda: symbols)
    assert build_payload(tmp_path).read_bytes() != image.read_bytes()


@pytest.mark.parametrize("tool", ["as", "ld"])
def test_missing_binutils_is_reported_with_its_package(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(
        assembler.shutil, "which", lambda name: None if name == tool else which("true")
    )
    with pytest.raises(HostUnfit, match=rf"`{tool}` is missing: apt-get install binutils"):
        build_payload(tmp_path)


@needs_binutils
def test_errors_of_the_assembler_are_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = {k: v for k, v in layout.symbols().items() if k != "ROM_BYTES"}
    monkeypatch.setattr(layout, "symbols", lambda: symbols)
    with pytest.raises(HostUnfit, match=r"as failed on payload.S: (?s:.*)ROM_BYTES"):
        build_payload(tmp_path)


@needs_binutils
def test_missing_symbol_is_an_error_of_the_linker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = {k: v for k, v in layout.symbols().items() if k != "S_WINDOW"}
    monkeypatch.setattr(layout, "symbols", lambda: symbols)
    with pytest.raises(HostUnfit, match="S_WINDOW"):
        build_payload(tmp_path)
