"""The memory area that the observer shares with the host: the one definition for both.

Passed to the assembler as symbols, together with the payload's layout.
"""

from __future__ import annotations

AREA_BYTES = 1 << 20
O_STOP = 0x00  # u32: nonzero: exit
O_VCPUS = 0x04  # u32
O_THRESHOLD = 0x08  # u64: a gap of at least this many ns is logged
O_LOOPS = 0x10  # u64: rounds so far
O_SLOT_BYTES = 0x18  # u64: bytes of guest RAM to map, from SLOTS on
O_COUNTS = 0x1000  # u32 per vCPU: gaps logged so far
O_STATES = 0x2000  # {u64 last, u64 reach, u32 tick, u32 new tick} per vCPU
STATE_SHIFT = 5  # 32 bytes each
O_LOGS = 0x10000  # LOG_ENTRIES entries per vCPU: {u64 last, u64 reach, u64 first, u64 reach}
LOG_SHIFT = 10  # 32 entries of 32 bytes
LOG_ENTRIES = 32


def symbols() -> dict[str, int]:
    """Every integer constant of this module, for the assembler's --defsym."""
    return {k: v for k, v in globals().items() if k.isupper() and isinstance(v, int)}
