"""Where the payload keeps what in guest RAM: the one definition for guest and host.

Every constant here is handed to the assembler as a symbol (`payload.S` defines none of its own),
so that the guest and the host cannot disagree. Offsets are file offsets of the RAM backend, which
equal guest physical addresses below the PCI hole.
"""

from __future__ import annotations

# The payload copies itself here: an address that a start-up IPI can name (page number << 12).
CODE = 0x8000

# Control block, written by the host before the guest starts and read by every vCPU.
CONTROL = 0x10000
C_VCPUS = 0x00  # u32: number of vCPUs, the stride of the page walk
C_FIRST_PAGE = 0x04  # u32: first page number of the working set
C_END_PAGE = 0x08  # u32: one past its last page number
C_SEED = 0x0C  # u32: seed of the pattern
C_THRESHOLD = 0x10  # u32: a gap of at least this many ticks is logged
C_RING_SHIFT = 0x14  # u32: tick >> shift numbers the interval of the beat ring
C_LOW_PAGES = 0x18  # u32: pages of RAM below the PCI hole; pages beyond lie above 4 GiB
C_PAGING = 0x1C  # u32: not zero: RAM beyond C_LOW_PAGES exists, switch paging on
C_DEVICE = 0x20  # u32: address of an edu device's PCI configuration (as port 0xcf8 has it), or 0
C_DEVICE_BASE = 0x24  # u32: where its BAR goes, in the PCI hole
C_DEVICE_PACE = 0x28  # u32: ticks between two looks at it
C_DEVICE_LATE = 0x2C  # u32: ticks after which an operation without an interrupt is looked into

# The device that vCPU 0 drives: a number goes to it by DMA, and back by DMA, for ever.
DEVICE = 0x40000
D_READY = 0x00  # u32: DEVICE_READY, or what was found in place of the device
D_STATE = 0x04  # u32: 0 idle, 1 on the way to the device, 2 on the way back
D_OPS = 0x08  # u32: DMA operations that have ended
D_NUMBER = 0x0C  # u32: the number on its way
D_WRONG = 0x10  # u32: another number came back
D_SEEN = 0x14  # u32: the first of those
D_EXPECTED = 0x18  # u32: instead of this one
D_INTERRUPTS = 0x1C  # u32: interrupts taken
D_AWAITED = 0x20  # u32: interrupts that operations started so far cause, and those out of turn
D_SILENT = 0x24  # u32: operations that ended without an interrupt
D_SURPLUS = 0x28  # u32: interrupts while an operation was still on its way
D_STARTED = 0x2C  # u32: tick at which the operation began
D_LOOKED = 0x30  # u32: tick of the last look
D_OUT = 0x41000  # page that the device reads
D_IN = 0x42000  # page that the device writes
DEVICE_READY = 0x45445520
DEVICE_VECTOR = 0x50
DEVICE_BASE = 0xE0000000

# Page tables of long mode, only used when C_PAGING is set.
PAGE_DIRECTORIES = 0x20000  # four page directories of 2 MiB pages
PAGE_POINTERS = 0x24000  # page-directory-pointer table
PAGE_MAP = 0x25000  # page-map level 4, its first entry only
WINDOW = 0xC0000000  # one 2 MiB window a vCPU, in the PCI hole

# One slot a vCPU, at SLOTS + (APIC id << SLOT_SHIFT).
SLOTS = 0x100000
SLOT_SHIFT = 15
S_MAGIC = 0x00  # u32: MAGIC once the vCPU runs
S_BEATS = 0x04  # u32: beats so far (wraps)
S_TICK = 0x08  # u32: tick of the last beat (wraps)
S_TOUCHED = 0x0C  # u32: 1 once every page of its share was written
S_PASSES = 0x10  # u32: full walks over its share
S_GAPS = 0x14  # u32: gaps logged so far (wraps)
S_LONGEST = 0x18  # u32: longest gap, ticks
S_LONGEST_START = 0x1C  # u32
S_LONGEST_END = 0x20  # u32
S_PAGE = 0x24  # u32: page number to visit next
S_RING_ID = 0x28  # u32: interval that the ring counts in
S_RING_AT = 0x2C  # u32: address of its ring entry
S_ERRORS = 0x30  # u32: words that were not what had been written
S_ERROR_PAGE = 0x34  # u32: page number of the first
S_ERROR_WORD = 0x38  # u32: index of the word within the page
S_ERROR_SEEN = 0x3C  # u32
S_ERROR_EXPECTED = 0x40  # u32
S_WINDOW = 0x44  # u32: 2 MiB frame that the window shows now
S_GAP_LOG = 0x1000  # GAP_ENTRIES entries of {start tick, end tick, beat, 0}, u32 each
GAP_ENTRIES = 512
S_STACK = 0x4000  # stack grows down from here
S_RING = 0x4000  # RING_ENTRIES entries of {interval, beats}, u32 each
RING_ENTRIES = 2048

MAGIC = 0x42454154  # "TAEB"
MAX_VCPUS = 255

# A tick is 256 cycles of the guest's TSC: 32 bits then last for minutes and stay one atomic store.
TICK_SHIFT = 8

PAGE_BYTES = 4096
PAGE_WORDS = PAGE_BYTES // 4
GUEST_WORDS = 4  # words at a page's start that the guest rewrites; the rest never changes
FIRST_PAGE = (16 << 20) // PAGE_BYTES  # the working set starts at 16 MiB
PATTERN = 0x9E3779B1  # word n of RAM holds n * PATTERN + seed (mod 2**32)

ROM_BYTES = 0x10000
MINIMUM_RAM_BYTES = 32 << 20


def symbols() -> dict[str, int]:
    """Every integer constant of this module, for the assembler's --defsym."""
    return {k: v for k, v in globals().items() if k.isupper() and isinstance(v, int)}
