"""The checksums of many rows of runs at once, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .checksums import MULTIPLIER, lists_text, text_word
from .columns import Integers, coded
from .damage import StoreDamaged
from .schema import CHECKSUMS, LISTS, MISSING, NUMBERS, OTHERS, TEXTS, number_column, text_columns

# SQL of what reports read of a run, and its checksums.
FIGURES = (
    text_columns(TEXTS),
    *(number_column(name, MISSING) for name in NUMBERS),
    *LISTS,
    *CHECKSUMS,
)
# With the other columns, as one text.
ROWS = (*FIGURES, text_columns(OTHERS))

_CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Sound rows: the joined texts of row i are `known[codes[i]]`, `lists` are JSON objects."""

    codes: NDArray[np.int32]
    known: tuple[str, ...]
    numbers: dict[str, Integers]
    lists: list[bytes]


def sound_figures(rows: Iterable[Sequence[Any]]) -> Iterator[Figures]:
    """Rows of FIGURES or ROWS, in chunks: what Python holds does not grow with their number.

    Raises StoreDamaged when one is not sound.
    """
    source = iter(rows)
    while chunk := list(islice(source, _CHUNK)):
        try:
            yield _figures(chunk)
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreDamaged(f"a row of runs holds no valid values: {error}") from error


def _figures(chunk: Sequence[Sequence[Any]]) -> Figures:
    columns = list(zip(*chunk, strict=True))
    texts, values = columns[0], columns[1 : 1 + len(NUMBERS)]
    vcpus, shares, others_crc, checksum, *others = columns[1 + len(NUMBERS) :]
    numbers = {n: np.array(v, dtype=np.int64) for n, v in zip(NUMBERS, values, strict=True)}
    codes, known = coded(texts)
    lists = [lists_text(*pair).encode() for pair in zip(vcpus, shares, strict=True)]
    others_word = np.array(others_crc, dtype=np.int64)
    words = [
        _integers(map(text_word, known))[codes],
        *numbers.values(),
        _integers(map(crc32, lists)),
        others_word,
    ]
    sound = np.array_equal(fold_all(words), np.array(checksum, dtype=np.int64))
    if others and sound:
        sound = np.array_equal(others_word, _integers(map(text_word, others[0])))
    if not sound:
        raise StoreDamaged("a row of runs does not match its checksum")
    return Figures(codes, known, numbers, lists)


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


def fold_all(words: Sequence[Integers]) -> Integers:
    """Like results.store.tables.checksums.fold, for many rows at once."""
    value = np.zeros(len(words[0]), dtype=np.uint64)
    for word in words:
        value ^= word.view(np.uint64)
        value *= np.uint64(MULTIPLIER)
        value ^= value >> np.uint64(32)
    return value.view(np.int64)
