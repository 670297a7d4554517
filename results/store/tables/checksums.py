"""The checksum of a row, by which a damaged one is noticed when it is read.

It is meant for faults of disks and memory, not against forgery: whoever can write the file can
write a checksum too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from zlib import crc32

from sqlalchemy import Table, Text

from .schema import CHECKSUMS, LISTS, MISSING, NUMBERS, OTHERS, RUNS, TEXTS, UNIT_SEPARATOR

# Golden ratio of 2^64: odd, so that no step loses a bit of what came before.
MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def text_word(text: str) -> int:
    """CRC-32 of a text."""
    return crc32(text.encode("utf-8", "surrogatepass"))


def fold(words: Iterable[int]) -> int:
    """One signed 64-bit integer from 64-bit integers, changed by a change of any of them."""
    value = 0
    for word in words:
        value = ((value ^ (word & _MASK)) * MULTIPLIER) & _MASK
        value ^= value >> 32
    return value - (1 << 64) if value >> 63 else value


def lists_text(vcpu_blackouts: str | None, shares: str | None) -> str:
    """The JSON columns of a run as one object."""
    return f'{{"vcpus":{vcpu_blackouts or "[]"},"shares":{shares or "{}"}}}'


def checksums(table: Table, row: Mapping[str, Any]) -> dict[str, int]:
    """The columns of a row that are derived from its others, `seq` included.

    Raises TypeError for a value that its column never holds.
    """
    if table is not RUNS:
        return {"checksum": fold(_words(table, row))}
    others = text_word(UNIT_SEPARATOR.join(_as_sql_text(row[name]) for name in OTHERS))
    return {"others_crc": others, "checksum": fold((*_words_of_run(row), others))}


def sealed(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its checksums. Raises TypeError as `checksums` does."""
    return {**row, **checksums(table, row)}


def is_sound(table: Table, row: Mapping[str, Any]) -> bool:
    """Whether a row is as it was written."""
    try:
        return all(row[name] == value for name, value in checksums(table, row).items())
    except TypeError:
        return False


def _words(table: Table, row: Mapping[str, Any]) -> Iterable[int]:
    yield text_word(table.name)
    for name, is_text in _layout(table):
        yield text_word(_text(row[name])) if is_text else _number(row[name])


@cache
def _layout(table: Table) -> tuple[tuple[str, bool], ...]:
    """Names of the columns that are covered, and whether each holds texts."""
    covered = (column for column in table.columns if column.name not in CHECKSUMS)
    return tuple((column.name, isinstance(column.type, Text)) for column in covered)


def _words_of_run(row: Mapping[str, Any]) -> Iterable[int]:
    """As reports read them: results.store.column_reader computes those of many rows at once."""
    yield text_word(UNIT_SEPARATOR.join(_text(row[name]) for name in TEXTS))
    for name in NUMBERS:
        yield _number(row[name])
    yield text_word(lists_text(*(_text(row[name]) for name in LISTS)))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in a text column")
    return value


def _number(value: object) -> int:
    if value is None:
        return MISSING
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} in a column of integers")
    return value


def _as_sql_text(value: object) -> str:
    return str(value) if isinstance(value, int) else _text(value)
