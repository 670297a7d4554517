"""The memory layout: nothing overlaps, and the payload's source agrees with it."""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise

from results.records.scenario import MIB
from runners.payload import layout as at

SOURCE = resources.files("runners.payload").joinpath("payload.S").read_text(encoding="utf-8")


def test_regions_of_guest_ram_do_not_overlap() -> None:
    regions = [
        ("code", at.CODE, 0x8000),
        ("control", at.CONTROL, 0x1000),
        ("page directories", at.PAGE_DIRECTORIES, 4 * at.PAGE_BYTES),
        ("page pointers", at.PAGE_POINTERS, at.PAGE_BYTES),
        ("page map", at.PAGE_MAP, at.PAGE_BYTES),
        ("slots", at.SLOTS, at.MAX_VCPUS << at.SLOT_SHIFT),
        ("working set", at.FIRST_PAGE * at.PAGE_BYTES, 1),
    ]
    for (_, start, size), (name, following, _) in pairwise(regions):
        assert start + size <= following, name
    # 640 KiB to 1 MiB is not RAM
    assert at.PAGE_MAP + at.PAGE_BYTES <= 0xA0000 < at.SLOTS


def test_parts_of_a_slot_do_not_overlap() -> None:
    words = [v for k, v in vars(at).items() if k.startswith("S_") and v < at.S_GAP_LOG]
    assert len(words) == len(set(words))
    assert all(offset % 4 == 0 for offset in words)
    assert max(words) + 4 <= at.S_GAP_LOG
    assert at.S_GAP_LOG + 16 * at.GAP_ENTRIES < at.S_STACK  # the stack grows down towards it
    assert at.S_STACK <= at.S_RING
    assert at.S_RING + 8 * at.RING_ENTRIES <= 1 << at.SLOT_SHIFT


def test_control_words_are_distinct() -> None:
    words = [v for k, v in vars(at).items() if k.startswith("C_")]
    assert sorted(words) == list(range(0, 4 * len(words), 4))


def test_sizes_used_as_masks_are_powers_of_two() -> None:
    for number in (at.GAP_ENTRIES, at.RING_ENTRIES, at.PAGE_WORDS, at.GUEST_WORDS):
        assert number.bit_count() == 1
    assert at.PATTERN % 2 == 1  # otherwise words of one page would repeat


def test_windows_of_all_vcpus_lie_in_the_pci_hole() -> None:
    local_apic = 0xFEE00000
    assert at.WINDOW % (2 * MIB) == 0
    end = at.WINDOW + at.MAX_VCPUS * 2 * MIB
    assert end <= local_apic


def test_start_up_interrupt_can_encode_the_address_of_the_code() -> None:
    assert at.CODE % at.PAGE_BYTES == 0
    assert at.CODE >> 12 < 0x100


def test_smallest_guest_has_a_working_set() -> None:
    assert at.FIRST_PAGE * at.PAGE_BYTES < at.MINIMUM_RAM_BYTES


def test_symbols_are_exactly_the_constants() -> None:
    symbols = at.symbols()
    assert symbols["CODE"] == at.CODE
    assert symbols["S_RING"] == at.S_RING
    assert "MIB" not in symbols
    assert all(isinstance(value, int) and 0 <= value < 1 << 32 for value in symbols.values())


def test_payload_uses_only_defined_symbols() -> None:
    """`as` treats an unknown name as an external symbol and emits zero."""
    code = re.sub(r"/\*.*?\*/", "", SOURCE, flags=re.DOTALL)
    used = set(re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", code))
    own = set(re.findall(r"\.set\s+(\w+)", code))
    assert used - own <= set(at.symbols())
    assert not own & set(at.symbols())
