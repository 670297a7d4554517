"""The payload's layout in guest RAM: the one definition for guest and host.

Every constant is passed to the assembler as a symbol (`payload.S` repeats none of them), so that
guest and host always agree. Offsets are file offsets in the RAM backend, which are also guest
physical addresses below the PCI hole.
"""

from __future__ import annotations

# The payload copies itself here: an address that a start-up IPI can encode (page number << 12).
CODE = 0x8000

# Control block: written by the host before the guest starts, read by every vCPU.
CONTROL = 0x10000
C_VCPUS = 0x00  # u32: number of vCPUs, also the stride of the page walk
C_FIRST_PAGE = 0x04  # u32: first page number of the working set
C_END_PAGE = 0x08  # u32: one past its last page number
C_SEED = 0x0C  # u32: seed of the pattern
C_THRESHOLD = 0x10  # u32: a gap of at least this many ticks is logged
C_RING_SHIFT = 0x14  # u32: tick >> shift is the interval number in the beat ring
C_LOW_PAGES = 0x18  # u32: pages of RAM below the PCI hole; further pages are above 4 GiB
C_PAGING = 0x1C  # u32: nonzero when RAM beyond C_LOW_PAGES exists: enable paging
C_DEVICE = 0x20  # u32: an edu device's PCI configuration address (as for port 0xcf8), or 0
C_DEVICE_BASE = 0x24  # u32: address for its BAR, in the PCI hole
C_DEVICE_PACE = 0x28  # u32: ticks between two polls of the device
C_DEVICE_LATE = 0x2C  # u32: ticks after which an operation without an interrupt is checked

# The device that vCPU 0 drives: it sends a number to it by DMA and reads it back by DMA, for ever.
DEVICE = 0x40000
D_READY = 0x00  # u32: DEVICE_READY, or what was read instead of the device's id
D_STATE = 0x04  # u32: 0 idle, 1 transfer to the device, 2 transfer from the device
D_OPS = 0x08  # u32: completed DMA operations
D_NUMBER = 0x0C  # u32: the number in transfer
D_WRONG = 0x10  # u32: how often another number came back
D_SEEN = 0x14  # u32: the first such number
D_EXPECTED = 0x18  # u32: the number expected instead
D_INTERRUPTS = 0x1C  # u32: interrupts taken
D_AWAITED = 0x20  # u32: interrupts expected from the operations so far, plus surplus ones
D_SILENT = 0x24  # u32: operations that completed without an interrupt
D_SURPLUS = 0x28  # u32: interrupts during an unfinished operation
D_STARTED = 0x2C  # u32: tick at which the operation started
D_POLLED = 0x30  # u32: tick of the last poll
D_OUT = 0x41000  # page that the device reads
D_IN = 0x42000  # page that the device writes
DEVICE_READY = 0x45445520
DEVICE_VECTOR = 0x50
DEVICE_BASE = 0xE0000000

# Page tables for long mode, used only when C_PAGING is set.
PAGE_DIRECTORIES = 0x20000  # four page directories of 2 MiB pages
PAGE_POINTERS = 0x24000  # page-directory-pointer table
PAGE_MAP = 0x25000  # page-map level 4, of which only the first entry is used
WINDOW = 0xC0000000  # one 2 MiB window per vCPU, in the PCI hole

# One slot per vCPU, at SLOTS + (APIC id << SLOT_SHIFT).
SLOTS = 0x100000
SLOT_SHIFT = 15
S_MAGIC = 0x00  # u32: MAGIC when the vCPU has started
S_BEATS = 0x04  # u32: beats so far (wraps)
S_TICK = 0x08  # u32: tick of the last beat (wraps)
S_TOUCHED = 0x0C  # u32: 1 when every page of its share has been written
S_PASSES = 0x10  # u32: complete walks over its share
S_GAPS = 0x14  # u32: gaps logged so far (wraps)
S_LONGEST = 0x18  # u32: longest gap, ticks
S_LONGEST_START = 0x1C  # u32
S_LONGEST_END = 0x20  # u32
S_PAGE = 0x24  # u32: page number to visit next
S_RING_ID = 0x28  # u32: number of the current interval
S_RING_AT = 0x2C  # u32: address of its ring entry
S_ERRORS = 0x30  # u32: words with an unexpected value
S_ERROR_PAGE = 0x34  # u32: page number of the first one
S_ERROR_WORD = 0x38  # u32: index of the word within the page
S_ERROR_SEEN = 0x3C  # u32
S_ERROR_EXPECTED = 0x40  # u32
S_WINDOW = 0x44  # u32: 2 MiB frame that the window currently maps
S_GAP_LOG = 0x1000  # GAP_ENTRIES entries of {start tick, end tick, beat, 0}, u32 each
GAP_ENTRIES = 512
S_STACK = 0x4000  # stack grows down from here
S_RING = 0x4000  # RING_ENTRIES entries of {interval, beats}, u32 each
RING_ENTRIES = 2048

MAGIC = 0x42454154  # "TAEB"
MAX_VCPUS = 255

# A tick is 256 cycles of the guest's TSC: 32 bits, one atomic store, then wrap after minutes.
TICK_SHIFT = 8

PAGE_BYTES = 4096
PAGE_WORDS = PAGE_BYTES // 4
GUEST_WORDS = 4  # words at the start of a page that the guest rewrites; the others never change
FIRST_PAGE = (16 << 20) // PAGE_BYTES  # the working set starts at 16 MiB
PATTERN = 0x9E3779B1  # word n of RAM holds n * PATTERN + seed (mod 2**32)

ROM_BYTES = 0x10000
MINIMUM_RAM_BYTES = 32 << 20


def symbols() -> dict[str, int]:
    """Every integer constant of this module, for the assembler's --defsym."""
    return {k: v for k, v in globals().items() if k.isupper() and isinstance(v, int)}
