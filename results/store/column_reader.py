"""Columns from the store's table of runs: verified rows, in chunks, by several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.store.tables.columns import Coded, Columns, Integers, coded, merged
from results.store.tables.damage import StoreDamaged
from results.store.tables.schema import MISSING, TEXTS, UNIT_SEPARATOR
from results.store.tables.tallies import Tally
from results.store.tables.verification import FIGURES, Figures, sound_figures

from .reader import StoreReader
from .recordings import check_names
from .verified import VerifiedDatabase

if TYPE_CHECKING:
    import pyarrow as pa

_RUNS_FOR_WORKERS = 150_000  # below, starting a process takes as long as it saves
_MOST_WORKERS = 4

Range = tuple[int, int]  # lowest and highest `seq`


def read_columns(
    store: StoreReader, sessions: Sequence[str], scenario: str | None = None
) -> Columns:
    """The columns of all runs of `sessions`, or of one scenario in them.

    Runs whose rows are damaged and cannot be recovered are left out; `store.damages` names them.
    Raises RecordInvalid for a malformed name of a scenario, a build or a phase.
    """
    database = store.database

    def read() -> Columns:
        tally = store.count_runs(sessions, scenario)
        columns = _by_workers(database, sessions, scenario, tally)
        _check_complete(columns, tally)
        return columns

    columns = database.sound(read)
    for what, names in (
        ("scenario name", columns.texts["scenario"][1]),
        ("build label", (*columns.texts["old_build"][1], *columns.texts["new_build"][1])),
        ("phase name", columns.shares),
    ):
        check_names(what, names, str(store.file))
    return columns


def _check_complete(columns: Columns, tally: Tally) -> None:
    """Raises StoreDamaged unless each run that is counted is there, once."""
    seq = np.sort(columns.numbers["seq"], kind="stable")  # sessions may have run at the same time
    if len(seq) != tally.count or not np.all(np.diff(seq) > 0):
        raise StoreDamaged(f"{len(seq)} of {tally.count} runs are there")


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
    """Raises StoreDamaged when a row is not sound."""
    rows = database.columns(FIGURES, sessions, scenario, within)
    return merged([_columns(figures) for figures in sound_figures(rows)])


def _columns(figures: Figures) -> Columns:
    try:
        table = _decoded(figures.lists)
        texts = _split(figures.codes, figures.known)
        return Columns(texts, figures.numbers, _shares(table), _vcpus(table))
    except (ValueError, OverflowError) as error:  # Arrow's are ValueErrors
        raise StoreDamaged(f"a row of runs holds no valid values: {error}") from error


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
