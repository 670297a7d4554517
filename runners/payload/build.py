"""Assembling the payload with binutils, once a session, into a private directory."""

from __future__ import annotations

import shutil
import subprocess
from importlib import resources
from pathlib import Path

from results.errors import HostUnfit

from . import layout


def build_payload(directory: Path) -> Path:
    """Assemble `payload.S` into a 64 KiB firmware image in `directory` and return its path.

    Raises HostUnfit when binutils is missing or refuses the source.
    """
    for tool in ("as", "ld"):
        if shutil.which(tool) is None:
            raise HostUnfit(f"`{tool}` is missing: apt-get install binutils")
    source = resources.files(__package__).joinpath("payload.S")
    defines = [f"{name}={value:#x}" for name, value in layout.symbols().items()]
    image = directory / "payload.bin"
    with resources.as_file(source) as path:
        _run("as", "--32", *(a for d in defines for a in ("--defsym", d)),
             "-o", str(directory / "payload.o"), str(path))  # fmt: skip
    _run("ld", "-m", "elf_i386", "-Ttext", "0", "-e", "0", "--oformat", "binary",
         "-o", str(image), str(directory / "payload.o"))  # fmt: skip
    size = image.stat().st_size
    if size != layout.ROM_BYTES:
        raise HostUnfit(f"the payload came out as {size} bytes, not {layout.ROM_BYTES}")
    return image


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise HostUnfit(f"{argv[0]} failed on the payload: {done.stderr.strip()[:400]}")
