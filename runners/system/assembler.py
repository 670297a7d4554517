"""Assembling our small programs with binutils, once per session, into a private directory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from results.errors import HostUnfit

from .child import run


def assemble(
    package: str,
    source: str,
    symbols: Mapping[str, int],
    image: Path,
    *,
    assembler: Sequence[str],
    linker: Sequence[str],
) -> Path:
    """Assemble `source` of `package` with `symbols` defined, link it to `image` and return `image`.

    Raises HostUnfit when binutils is missing or rejects the source.
    """
    for tool in ("as", "ld"):
        if shutil.which(tool) is None:
            raise HostUnfit(f"`{tool}` is missing: apt-get install binutils")
    defines = [part for k, v in symbols.items() for part in ("--defsym", f"{k}={v:#x}")]
    compiled = image.with_suffix(".o")
    with resources.as_file(resources.files(package).joinpath(source)) as path:
        _run(source, "as", *assembler, *defines, "-o", str(compiled), str(path))
    _run(source, "ld", *linker, "-o", str(image), str(compiled))
    return image


def _run(what: str, *argv: str) -> None:
    done = run(argv, 60.0)
    if done.returncode != 0:
        raise HostUnfit(f"{argv[0]} failed on {what}: {done.stderr.strip()[:400]}")
