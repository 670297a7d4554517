"""A process that deliberately maps guest RAM in a wrong way: negative controls for the proof.

Runs as `python -m runners.pins.tampered_mapping MODE FILE BYTES`; prints one line of JSON with its
address and descriptor and runs until standard input closes. MODE is one of

    shared    maps the file as new QEMU should (this one must pass)
    private   maps a private copy of it
    replaced  maps it shared, but with one page in the middle replaced by a copy
    reopened  maps it correctly, through a new open of the file
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys

from runners.system.syscalls import replace_mapping

PAGE_BYTES = 4096
_PROT = mmap.PROT_READ | mmap.PROT_WRITE


def main(mode: str, path: str, length_text: str) -> int:
    length = int(length_text)
    fd = os.open(path, os.O_RDWR)
    flags = mmap.MAP_PRIVATE if mode == "private" else mmap.MAP_SHARED
    area = mmap.mmap(fd, length, flags=flags, prot=_PROT)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for start in range(0, length, PAGE_BYTES):
        if mode == "private":
            area[start] = area[start]  # a write makes the private copy
        else:
            bytes(area[start : start + 1])
    if mode == "replaced":
        _replace_page(area, address, length // 2 // PAGE_BYTES * PAGE_BYTES)
    print(json.dumps({"pid": os.getpid(), "address": address, "fd": fd}), flush=True)
    sys.stdin.read()
    return 0


def _replace_page(area: mmap.mmap, address: int, offset: int) -> None:
    content = area[offset : offset + PAGE_BYTES]
    replace_mapping(address + offset, PAGE_BYTES)
    area[offset : offset + PAGE_BYTES] = content


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
