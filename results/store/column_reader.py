"""Columns from the store: rows of its table of runs, a chunk at a time, by several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from results.errors import RecordInvalid

from .columns import MISSING, NUMBERS, TEXTS, Coded, Columns, Integers, coded, merged
from .schema import UNIT_SEPARATOR, number_column, text_columns
from .store import Store, open_store

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 20_000
_RUNS_FOR_WORKERS = 150_000  # below, starting a process takes as long as it saves
_MOST_WORKERS = 4


def read_columns(store: Store, sessions: Sequence[str], scenario: str | None = None) -> Columns:
    """The columns of all runs of `sessions`, or of one scenario in them.

    Raises RecordInvalid for a row that is none.
    """
    count, first, last = store.count_runs(sessions)
    workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    if count < _RUNS_FOR_WORKERS or workers < 2:
        return _read(store, sessions, scenario, None)
    # Rows become arrays in Python, which takes one core; others have a share of the rows each.
    import pyarrow.json  # noqa: F401 - here, so that no process of them has to

    edges = [first + (last + 1 - first) * i // workers for i in range(workers + 1)]
    context = multiprocessing.get_context("fork")  # nothing is imported again
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        shares = [
            pool.submit(_read_at, store.path, sessions, scenario, (low, high - 1))
            for low, high in pairwise(edges)
        ]
        return merged([share.result() for share in shares])


def _read_at(
    path: Path, sessions: Sequence[str], scenario: str | None, within: tuple[int, int]
) -> Columns:
    """In another process, which needs a connection of its own."""
    # Millions of tuples that hold no reference to each other: collecting them is all loss.
    gc.disable()
    with open_store(path, create=False) as store:
        return _read(store, sessions, scenario, within)


def _read(
    store: Store, sessions: Sequence[str], scenario: str | None, within: tuple[int, int] | None
) -> Columns:
    """Chunk by chunk: what Python holds at a time does not grow with the number of runs."""
    numbers = [number_column(name, MISSING) for name in NUMBERS]
    wanted = (text_columns(TEXTS), *numbers, "vcpu_blackouts", "shares")
    source = iter(store.columns(wanted, sessions, scenario, within))
    parts: list[Columns] = []
    while chunk := list(islice(source, _CHUNK)):
        try:
            parts.append(_part(chunk))
        except (TypeError, ValueError, OverflowError) as error:  # Arrow's are ValueErrors
            where = str(store.file)
            raise RecordInvalid(where, f"a row of the runs' table is none: {error}") from error
    return merged(parts)


def _part(chunk: Sequence[Sequence[Any]]) -> Columns:
    texts, *numbers, vcpus, shares = zip(*chunk, strict=True)
    table = _decoded(vcpus, shares)
    return Columns(
        _split(texts),
        {n: np.array(v, dtype=np.int64) for n, v in zip(NUMBERS, numbers, strict=True)},
        _shares(table),
        _vcpus(table),
    )


def _split(combinations: Iterable[str]) -> dict[str, Coded]:
    """From all texts of a run as one to each for itself: a session has few combinations."""
    codes, known = coded(list(combinations))
    split = [text.split(UNIT_SEPARATOR, len(TEXTS) - 1) for text in known]
    found = {}
    for i, name in enumerate(TEXTS):
        each, words = coded([texts[i] for texts in split])
        found[name] = (each[codes], words)
    return found


def _decoded(vcpus: Iterable[str | None], shares: Iterable[str | None]) -> pa.Table:
    """A row per run: `vcpus`, a list of int64, and `shares`, a struct of int64 by phase.

    Raises ValueError for text that is no JSON of whole numbers.
    """
    import pyarrow as pa
    from pyarrow import json

    lines = [
        f'{{"vcpus":{each or "[]"},"shares":{share or "{}"}}}'
        for each, share in zip(vcpus, shares, strict=True)
    ]
    text = "\n".join(lines).encode()
    # Arrow infers types by recursion: nesting without end would take the process with it.
    letters = np.frombuffer(text, dtype=np.uint8)
    opened = [np.count_nonzero(letters == ord(bracket)) for bracket in "{["]
    if opened != [2 * len(lines), len(lines)]:
        raise ValueError("the blackouts are no list or the shares no flat object")
    # Names of phases are inferred.
    kinds = pa.schema([("vcpus", pa.list_(pa.int64())), ("shares", pa.struct([]))])
    table = json.read_json(
        pa.py_buffer(text),
        # One block: a row that two blocks share would be parsed twice. No threads: each core has a
        # process of its own.
        read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=json.ParseOptions(explicit_schema=kinds),
    ).combine_chunks()
    if len(table) != len(lines):
        raise ValueError(f"{len(lines)} rows hold {len(table)} objects")
    return table


def _vcpus(table: pa.Table) -> tuple[Integers, ...]:
    """From lists of a few blackouts each to an array for each vCPU."""
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
            raise ValueError(f"the share of {field.name} is a {field.type}")
    names = [field.name for field in shares.type]
    return {name: _numbers(each) for name, each in zip(names, shares.flatten(), strict=True)}


def _numbers(array: pa.Int64Array) -> Integers:
    # By its buffers: fill_null and to_numpy load Arrow's kernels, a third of a second and 40 MB.
    known, values = array.buffers()
    here = slice(array.offset, array.offset + len(array))
    numbers = np.frombuffer(values, dtype=np.int64)[here]
    if known is None:
        return numbers
    bits = np.unpackbits(np.frombuffer(known, dtype=np.uint8), bitorder="little")
    return np.where(bits[here], numbers, MISSING)
