"""Columns from the store's table of runs: verified rows, in chunks, by several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .checksums import MULTIPLIER, lists_text, text_word
from .columns import Coded, Columns, Integers, coded, merged
from .damage import StoreDamaged
from .reader import StoreReader
from .schema import (
    CHECKSUMS,
    LISTS,
    MISSING,
    NUMBERS,
    TEXTS,
    UNIT_SEPARATOR,
    number_column,
    text_columns,
)
from .tallies import Tally
from .verified import VerifiedDatabase

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 20_000
_RUNS_FOR_WORKERS = 150_000  # below, starting a process takes as long as it saves
_MOST_WORKERS = 4

Range = tuple[int, int]  # lowest and highest `seq`


def read_columns(
    store: StoreReader, sessions: Sequence[str], scenario: str | None = None
) -> Columns:
    """The columns of all runs of `sessions`, or of one scenario in them.

    Runs whose rows are damaged and cannot be recovered are left out; `store.damages` names them.
    """
    database = store.database

    def read() -> Columns:
        tally = store.count_runs(sessions, scenario)
        columns = _by_workers(database, sessions, scenario, tally)
        _check_complete(columns, tally)
        return columns

    return database.sound(read)


def _check_complete(columns: Columns, tally: Tally) -> None:
    """Raises StoreDamaged unless each run that is counted is there, once."""
    seq = columns.numbers["seq"]
    found = len(seq) if np.all(np.diff(seq) > 0) else len(np.unique(seq))
    if not found == len(seq) == tally.count:
        raise StoreDamaged(f"{found} of {tally.count} runs are there")


def _by_workers(
    database: VerifiedDatabase, sessions: Sequence[str], scenario: str | None, tally: Tally
) -> Columns:
    workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    if tally.count < _RUNS_FOR_WORKERS or workers < 2 or database.recovered:
        return _read(database, sessions, scenario, (tally.first, tally.last))
    # Rows become arrays in Python, which takes one core; processes read a share of the rows each.
    import pyarrow.json  # noqa: F401 - here, so that no process of them has to

    edges = [
        tally.first + (tally.last + 1 - tally.first) * i // workers for i in range(workers + 1)
    ]
    context = multiprocessing.get_context("fork")  # nothing is imported again
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        shares = [
            pool.submit(_read_at, database.file, sessions, scenario, (low, high - 1))
            for low, high in pairwise(edges)
        ]
        return merged([share.result() for share in shares])


def _read_at(file: Path, sessions: Sequence[str], scenario: str | None, within: Range) -> Columns:
    """In another process, which needs a connection of its own."""
    # Millions of tuples without references to each other: collecting garbage finds none.
    gc.disable()
    with closing(VerifiedDatabase(file)) as database:
        return _read(database, sessions, scenario, within)


def _read(
    database: VerifiedDatabase, sessions: Sequence[str], scenario: str | None, within: Range
) -> Columns:
    """Chunk by chunk: what Python holds at a time does not grow with the number of runs.

    Raises StoreDamaged when a row is not sound.
    """
    numbers = [number_column(name, MISSING) for name in NUMBERS]
    wanted = (text_columns(TEXTS), *numbers, *LISTS, *CHECKSUMS)
    source = iter(database.columns(wanted, sessions, scenario, within))
    parts: list[Columns] = []
    while chunk := list(islice(source, _CHUNK)):
        try:
            parts.append(_part(chunk))
        except (TypeError, ValueError, OverflowError) as error:  # Arrow's are ValueErrors
            raise StoreDamaged(f"a row of runs holds no valid values: {error}") from error
    return merged(parts)


def _part(chunk: Sequence[Sequence[Any]]) -> Columns:
    texts, *columns, vcpus, shares, others, sums = zip(*chunk, strict=True)
    numbers = {n: np.array(v, dtype=np.int64) for n, v in zip(NUMBERS, columns, strict=True)}
    codes, known = coded(list(texts))
    lines = [lists_text(*pair).encode() for pair in zip(vcpus, shares, strict=True)]
    words = [
        np.fromiter(map(text_word, known), dtype=np.int64)[codes],
        *numbers.values(),
        np.fromiter(map(crc32, lines), dtype=np.int64, count=len(lines)),
        np.array(others, dtype=np.int64),
    ]
    if not np.array_equal(_fold(words), np.array(sums, dtype=np.int64)):
        raise StoreDamaged("a row of runs does not match its checksum")
    table = _decoded(lines)
    return Columns(_split(codes, known), numbers, _shares(table), _vcpus(table))


def _fold(words: Sequence[Integers]) -> Integers:
    """As results.store.checksums.fold, of many rows at once."""
    value = np.zeros(len(words[0]), dtype=np.uint64)
    for word in words:
        value ^= word.view(np.uint64)
        value *= np.uint64(MULTIPLIER)
        value ^= value >> np.uint64(32)
    return value.view(np.int64)


def _split(codes: NDArray[np.int32], known: Sequence[str]) -> dict[str, Coded]:
    """From the joined texts of each run to a column per text: a session has few combinations."""
    split = [text.split(UNIT_SEPARATOR, len(TEXTS) - 1) for text in known]
    found = {}
    for i, name in enumerate(TEXTS):
        each, words = coded([texts[i] for texts in split])
        found[name] = (each[codes], words)
    return found


def _decoded(lines: Sequence[bytes]) -> pa.Table:
    """From JSON a row per run: `vcpus`, a list of int64; `shares`, a struct of int64 by phase.

    Raises ValueError for anything else.
    """
    import pyarrow as pa
    from pyarrow import json

    text = b"\n".join(lines)
    # Arrow infers types by recursion: unlimited nesting would overflow the stack.
    letters = np.frombuffer(text, dtype=np.uint8)
    opened = [np.count_nonzero(letters == ord(bracket)) for bracket in "{["]
    if opened != [2 * len(lines), len(lines)]:
        raise ValueError("the blackouts are not a list or the shares not a flat object")
    # Names of phases are inferred.
    kinds = pa.schema([("vcpus", pa.list_(pa.int64())), ("shares", pa.struct([]))])
    table = json.read_json(
        pa.py_buffer(text),
        # One block: a row on the edge of two would be parsed twice. No threads: each core has a
        # process of its own.
        read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=json.ParseOptions(explicit_schema=kinds),
    ).combine_chunks()
    if len(table) != len(lines):
        raise ValueError(f"{len(lines)} rows hold {len(table)} objects")
    return table


def _vcpus(table: pa.Table) -> tuple[Integers, ...]:
    """From a list of blackouts per run to an array per vCPU."""
    lists = table["vcpus"].chunk(0)
    edges = np.frombuffer(lists.buffers()[1], dtype=np.int32)[: len(lists) + 1]
    values, counts = _numbers(lists.values), np.diff(edges)
    found = []
    for number in range(int(counts.max(initial=0))):
        column = np.full(len(counts), MISSING, dtype=np.int64)
        has = counts > number
        column[has] = values[edges[:-1][has] + number]
        found.append(column)
    return tuple(found)


def _shares(table: pa.Table) -> dict[str, Integers]:
    shares = table["shares"].chunk(0)
    for field in shares.type:
        if field.type != "int64":
            raise ValueError(f"the share of {field.name} is of type {field.type}")
    names = [field.name for field in shares.type]
    return {name: _numbers(each) for name, each in zip(names, shares.flatten(), strict=True)}


def _numbers(array: pa.Int64Array) -> Integers:
    # From its buffers: fill_null and to_numpy load Arrow's kernels, a third of a second and 40 MB.
    known, values = array.buffers()
    here = slice(array.offset, array.offset + len(array))
    numbers = np.frombuffer(values, dtype=np.int64)[here]
    if known is None:
        return numbers
    bits = np.unpackbits(np.frombuffer(known, dtype=np.uint8), bitorder="little")
    return np.where(bits[here], numbers, MISSING)
