"""The payload as a firmware image."""

from __future__ import annotations

from pathlib import Path

from results.errors import HostUnfit
from runners.system.assembler import assemble

from . import layout


def build_payload(directory: Path) -> Path:
    """Assemble `payload.S` into a 64 KiB firmware image in `directory` and return its path.

    Raises HostUnfit when binutils is missing or rejects the source.
    """
    image = assemble(
        __package__,
        "payload.S",
        layout.symbols(),
        directory / "payload.bin",
        assembler=("--32",),
        linker=("-m", "elf_i386", "-Ttext", "0", "-e", "0", "--oformat", "binary"),
    )
    size = image.stat().st_size
    if size != layout.ROM_BYTES:
        raise HostUnfit(f"the payload image has {size} bytes, not {layout.ROM_BYTES}")
    return image
