"""Small empty disk images, created without qemu-img."""

from __future__ import annotations

import struct
from pathlib import Path

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_VERSION = 3
_HEADER_BYTES = 104


def raw_image(path: Path, size_bytes: int) -> Path:
    """Create an empty raw image; returns `path`."""
    with path.open("wb") as image:
        image.truncate(size_bytes)
    return path


def qcow2_image(path: Path, size_bytes: int) -> Path:
    """Create an empty qcow2 image, version 3; returns `path`.

    Four clusters: the header, the refcount table, one refcount block and the L1 table. One L1 entry
    covers up to 512 MiB. Source: docs/interop/qcow2.txt of QEMU.
    """
    if not 0 < size_bytes <= 512 << 20:
        raise ValueError(f"{size_bytes} bytes do not fit one L1 entry: expected up to 512 MiB")
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        _VERSION,
        *(0, 0),  # no backing file
        _CLUSTER_BITS,
        size_bytes,
        0,  # no encryption
        *(1, 3 * _CLUSTER),  # L1 table: entries, offset
        *(1 * _CLUSTER, 1),  # refcount table: offset, clusters
        *(0, 0),  # no snapshots
        *(0, 0, 0),  # features
        *(4, _HEADER_BYTES),  # refcounts of 16 bits
    )
    with path.open("wb") as image:
        image.write(header)
        image.seek(_CLUSTER)
        image.write(struct.pack(">Q", 2 * _CLUSTER))
        image.seek(2 * _CLUSTER)
        image.write(struct.pack(">4H", 1, 1, 1, 1))
        image.truncate(4 * _CLUSTER)
    return path
