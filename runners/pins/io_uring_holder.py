"""A process that stands in for a DMA device: it pins guest RAM with io_uring registered buffers.

Registered buffers are long-term pins (FOLL_PIN | FOLL_LONGTERM), the kind that VFIO takes. I/O
through them reaches the pinned pages, no matter what is mapped at their addresses later. It is not
VFIO, and no report claims that it is.

Runs as `python -m runners.pins.io_uring_holder RAM_FILE BYTES`; answers each line of standard
input with one line of JSON. Struct layouts: uapi linux/io_uring.h.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import struct
import sys
from pathlib import Path

from runners.system import syscalls

_OP_READ_FIXED = 4
_OFF_SQ, _OFF_CQ, _OFF_SQES = 0, 0x8000000, 0x10000000
_SQE_BYTES, _CQE_BYTES = 64, 16
_BUFFER_BYTES = 1 << 30  # the kernel's limit per registered buffer


class IoUring:
    """A minimal io_uring for fixed-buffer reads, one request in flight."""

    def __init__(self) -> None:
        self.fd, params = syscalls.io_uring_setup(4)
        entries, cq_entries = params[0], params[1]
        self._sq_off, self._cq_off = params[10:17], params[20:27]
        self._sq = mmap.mmap(self.fd, self._sq_off[6] + entries * 4, offset=_OFF_SQ)
        self._cq = mmap.mmap(self.fd, self._cq_off[5] + cq_entries * _CQE_BYTES, offset=_OFF_CQ)
        self._sqes = mmap.mmap(self.fd, entries * _SQE_BYTES, offset=_OFF_SQES)

    def register(self, address: int, length: int) -> None:
        """Pin `length` bytes at `address`."""
        parts = [
            (address + start, min(_BUFFER_BYTES, length - start))
            for start in range(0, length, _BUFFER_BYTES)
        ]
        syscalls.register_buffers(self.fd, parts)

    def unregister(self) -> None:
        """Release the pins."""
        syscalls.unregister_buffers(self.fd)

    def read_fixed(self, source: int, address: int, length: int, buffer: int) -> int:
        """Read from the start of file `source` into the pinned pages behind `address`."""
        tail = self._word(self._sq, self._sq_off[1])
        slot = tail & self._word(self._sq, self._sq_off[2])
        request = struct.pack(
            "<BBHiQQIIQHHiQQ", _OP_READ_FIXED, 0, 0, source, 0, address, length, 0, 1, buffer,
            0, 0, 0, 0,
        )  # fmt: skip
        self._sqes[slot * _SQE_BYTES : (slot + 1) * _SQE_BYTES] = request
        struct.pack_into("<I", self._sq, self._sq_off[6] + slot * 4, slot)
        struct.pack_into("<I", self._sq, self._sq_off[1], (tail + 1) & 0xFFFFFFFF)
        syscalls.io_uring_enter(self.fd, submitted=1, completed=1)
        head = self._word(self._cq, self._cq_off[0])
        at = self._cq_off[5] + (head & self._word(self._cq, self._cq_off[2])) * _CQE_BYTES
        result = int(struct.unpack_from("<i", self._cq, at + 8)[0])
        struct.pack_into("<I", self._cq, self._cq_off[0], (head + 1) & 0xFFFFFFFF)
        if result < 0:
            raise OSError(-result, f"fixed read: {os.strerror(-result)}")
        return result

    @staticmethod
    def _word(area: mmap.mmap, offset: int) -> int:
        return int(struct.unpack_from("<I", area, offset)[0])


class Holder:
    """Pins on a file of guest RAM, taken at construction."""

    def __init__(self, path: Path, length: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._ram = mmap.mmap(fd, length)
        os.close(fd)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._ram))
        self._ring = IoUring()
        self._source = os.memfd_create("dma", os.MFD_CLOEXEC)
        self._ring.register(self._address, length)

    def dma(self, offset: int, value: int) -> None:
        """Write 8 bytes into the pinned page behind `offset`, as a device would."""
        os.pwrite(self._source, value.to_bytes(8, "little"), 0)
        self._ring.read_fixed(self._source, self._address + offset, 8, offset // _BUFFER_BYTES)

    def release(self) -> None:
        self._ring.unregister()


def _reply(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main(path: str, length: str) -> int:
    try:
        holder = Holder(Path(path), int(length))
    except OSError as error:
        _reply(error=str(error))
        return 1
    _reply(pid=os.getpid(), bytes=int(length))
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] == "dma":
                holder.dma(int(words[1]), int(words[2]))
            elif words[0] == "release":
                holder.release()
            _reply(done=words[0])
        except OSError as error:
            _reply(error=str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
