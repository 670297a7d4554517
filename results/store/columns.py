"""Many runs as columns: what reports count, sort and draw, without a record in memory.

A run is one position in every array. Times are int64 ns, `MISSING` where a value is not known. Of
a million runs the columns take some 200 MB; their records would take ten times that.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from results.errors import RecordInvalid
from results.records.run import SCHEMA, Run, Span, Witnesses

from .schema import UNIT_SEPARATOR, number_column, text_columns

if TYPE_CHECKING:
    from .store import Store

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

MISSING = int(np.iinfo(np.int64).min)

TEXTS = (
    "session",
    "scenario",
    "dimensions",
    "outcome",
    "old_build",
    "new_build",
    "proof",
    "reason",  # the last: it may hold anything, the separator too
)
TIMES = (
    "started_unix_ns",
    "blackout_ns",
    "first_progress_ns",
    "guest_gap_ns",
    "clock_step_ns",
    "skew_ns",
    "dark_ns",
    "handover_ns",
    "residual_ns",
    "brownout_ns",
    "brownout_watched_ns",
)
WITNESSES = ("kvm_entry_ns", "uprobe_ns", "qmp_ns", "qemu_ns", "guest_ns")
NUMBERS = ("seq", "boot", "update", *TIMES, *WITNESSES)
_LISTS = ("vcpu_blackouts", "shares")

_CHUNK = 20_000
_DIGITS = b"0123456789"
_DIGITS_ONLY = bytes(byte if byte in _DIGITS else ord(" ") for byte in range(256))
_NAME = re.compile(rb'"([a-z_]+)":')
_PLAIN = re.compile(rb'\{"[a-z_]+":(?:,"[a-z_]+":)*\}')  # digits taken away
_RUNS_FOR_WORKERS = 150_000  # below, starting a process takes as long as it saves
_MOST_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Columns:
    """Runs in the order in which they were stored.

    `texts` are (codes, words): the word of run i is words[codes[i]]. `shares` is each phase's
    share of the blackout, MISSING where the phase was not seen; `vcpus` each vCPU's blackout.
    """

    texts: dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]
    numbers: dict[str, Integers]
    shares: dict[str, Integers]
    vcpus: tuple[Integers, ...]

    def __len__(self) -> int:
        return len(self.numbers["seq"])

    def is_text(self, name: str, word: str) -> Flags:
        """Where the text `name` is `word`."""
        codes, words = self.texts[name]
        return codes == words.index(word) if word in words else np.zeros(len(self), dtype=np.bool_)

    def words(self, name: str) -> list[str]:
        """The text `name` of every run."""
        codes, words = self.texts[name]
        return [words[code] for code in codes.tolist()]

    def where(self, chosen: Flags | Integers) -> Columns:
        """The chosen runs alone."""
        return Columns(
            {name: (codes[chosen], words) for name, (codes, words) in self.texts.items()},
            {name: values[chosen] for name, values in self.numbers.items()},
            {name: values[chosen] for name, values in self.shares.items()},
            tuple(values[chosen] for values in self.vcpus),
        )

    @property
    def completed(self) -> Flags:
        """Where the run is valid."""
        return self.is_text("outcome", "completed")

    def known(self, name: str) -> Integers:
        """The known values of `name` of all valid runs: a number or a phase."""
        values = self.values(name)
        known: Integers = values[self.completed & (values != MISSING)]
        return known

    def values(self, name: str) -> Integers:
        """The number `name`, or the share of the phase `name`."""
        return self.numbers[name] if name in self.numbers else self.shares[name]

    def cells(self) -> list[tuple[tuple[str, str, str, str], Integers]]:
        """(scenario, dimensions, old, new build) and its runs' positions, first seen first."""
        key = np.zeros(len(self), dtype=np.int64)
        for name in ("scenario", "dimensions", "old_build", "new_build"):
            codes, words = self.texts[name]
            key = key * max(1, len(words)) + codes
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        by_cell = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
        found = []
        for i in np.argsort(first).tolist():
            at = int(first[i])
            names = [self.word(name, at) for name in ("scenario", "dimensions")]
            builds = [self.word(name, at) for name in ("old_build", "new_build")]
            found.append(((names[0], names[1], builds[0], builds[1]), by_cell[i]))
        return found if len(self) else []

    def word(self, name: str, at: int) -> str:
        codes, words = self.texts[name]
        return words[int(codes[at])]

    def boots(self) -> Integers:
        """A number for every run that tells its boot: equal within one boot of one session."""
        codes, _ = self.texts["session"]
        return (codes.astype(np.int64) << 32) | self.numbers["boot"]

    def boot_medians(self, name: str = "blackout_ns") -> tuple[Integers, Integers]:
        """(boots, their medians of `name`) of all boots with a valid run, in first-seen order."""
        values, boots = self.values(name), self.boots()
        kept = np.flatnonzero(self.completed & (values != MISSING))
        return medians_by(boots[kept], values[kept])


def medians_by(groups: Integers, values: Integers) -> tuple[Integers, Integers]:
    """Each group's median in first-seen order; of an even count the middle two's mean, floored."""
    if not len(values):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    names, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((values, inverse))
    sizes = np.bincount(inverse)
    starts = np.cumsum(sizes) - sizes
    low = values[order[starts + (sizes - 1) // 2]]
    high = values[order[starts + sizes // 2]]
    seen = np.argsort(first, kind="stable")
    return names[seen], ((low + high) // 2)[seen]


def median_of(values: Integers) -> int | None:
    """As results.stats.intervals.median_ns, of an array."""
    if not len(values):
        return None
    middle = len(values) // 2
    if len(values) % 2:
        return int(np.partition(values, middle)[middle])
    low, high = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1]
    return (int(low) + int(high)) // 2


# -- from the store, and from records -------------------------------------------------------


def read_columns(store: Store, sessions: Sequence[str], scenario: str | None = None) -> Columns:
    """The columns of all runs of `sessions`, or of one scenario in them.

    Raises RecordInvalid for a row that is none.
    """
    count, first, last = store.count_runs(sessions)
    workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    if count < _RUNS_FOR_WORKERS or workers < 2:
        return _read(store, sessions, scenario, None)
    # Rows become arrays in Python, which takes one core; others have a share of the rows each.
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
    from .store import open_store

    with open_store(path, create=False) as store:
        return _read(store, sessions, scenario, within)


def _read(
    store: Store, sessions: Sequence[str], scenario: str | None, within: tuple[int, int] | None
) -> Columns:
    numbers = [number_column(name, MISSING) for name in NUMBERS]
    wanted = (text_columns(TEXTS), *numbers, *_LISTS)
    return _collect(store.columns(wanted, sessions, scenario, within), str(store.file))


def merged(parts: Sequence[Columns]) -> Columns:
    """All runs of `parts`, one part after the other."""
    texts = {}
    for name in TEXTS:
        words: dict[str, int] = {}
        codes = []
        for part in parts:
            own, known = part.texts[name]
            new = [words.setdefault(word, len(words)) for word in known]
            codes.append(np.array(new, dtype=np.int32)[own] if new else own)
        texts[name] = (_joined(codes, np.int32), tuple(words))
    nothing = [np.full(len(part), MISSING, dtype=np.int64) for part in parts]
    phases = dict.fromkeys(name for part in parts for name in part.shares)
    vcpus = max((len(part.vcpus) for part in parts), default=0)
    return Columns(
        texts,
        {name: _joined([part.numbers[name] for part in parts]) for name in NUMBERS},
        {
            name: _joined([p.shares.get(name, n) for p, n in zip(parts, nothing, strict=True)])
            for name in phases
        },
        tuple(
            _joined([p.vcpus[i] if i < len(p.vcpus) else n
                     for p, n in zip(parts, nothing, strict=True)])
            for i in range(vcpus)
        ),
    )  # fmt: skip


def columns_of(runs: Iterable[Run]) -> Columns:
    """The columns of records in memory."""
    return _collect((_row(number, run) for number, run in enumerate(runs, 1)), "runs")


def _row(seq: int, run: Run) -> tuple[Any, ...]:
    """As the store gives it."""
    own: dict[str, Any] = {
        "seq": seq,
        "proof": run.proof.verdict if run.proof is not None else "",
        **{name: getattr(run.witnesses, name.removesuffix("_ns")) for name in WITNESSES},
    }
    texts = [own[n] if n in own else getattr(run, n) for n in TEXTS]
    numbers = [own[n] if n in own else getattr(run, n) for n in NUMBERS]
    return (
        UNIT_SEPARATOR.join(texts),
        *(MISSING if number is None else number for number in numbers),
        msgspec.json.encode(run.vcpu_blackouts_ns).decode(),
        msgspec.json.encode({s.name: s.blackout_ns for s in run.spans}).decode(),
    )


def _collect(rows: Iterable[Sequence[Any]], where: str) -> Columns:
    """Chunk by chunk: what Python holds at a time does not grow with the number of runs."""
    parts: list[Columns] = []
    source = iter(rows)
    while chunk := list(islice(source, _CHUNK)):
        try:
            parts.append(_part(chunk))
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise RecordInvalid(where, f"a row of the runs' table is none: {error}") from error
    return merged(parts)


def _texts(
    codes: NDArray[np.int32], combinations: Iterable[str]
) -> dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]:
    """From one number per combination of texts to one per text."""
    split = [text.split(UNIT_SEPARATOR, len(TEXTS) - 1) for text in combinations]
    found = {}
    for i, name in enumerate(TEXTS):
        words: dict[str, int] = {}
        each = [words.setdefault(texts[i], len(words)) for texts in split]
        found[name] = (np.array(each, dtype=np.int32)[codes], tuple(words))
    return found


def _part(chunk: Sequence[Sequence[Any]]) -> Columns:
    texts, *numbers, vcpu_texts, share_texts = zip(*chunk, strict=True)
    known: dict[str, int] = {}
    codes = np.array([known.setdefault(t, len(known)) for t in texts], dtype=np.int32)
    vcpus = _decoded(vcpu_texts, "[]", list[list[int | None]])
    most = max(map(len, vcpus), default=0)
    return Columns(
        _texts(codes, known),
        {n: np.array(v, dtype=np.int64) for n, v in zip(NUMBERS, numbers, strict=True)},
        _shares([(text or "{}").encode() for text in share_texts]),
        tuple(
            _integers([each[i] if i < len(each) else None for each in vcpus]) for i in range(most)
        ),
    )


def _shares(texts: Sequence[bytes]) -> dict[str, Integers]:
    """Shares of the phases by name, from JSON objects of whole numbers.

    A session's runs have a few sets of phases. Objects of one set differ in digits alone, so their
    digits are read as one stream, five times as fast as object by object.
    """
    layouts: dict[bytes, list[int]] = {}
    for i, text in enumerate(texts):
        layouts.setdefault(text.translate(None, _DIGITS), []).append(i)
    found: dict[str, Integers] = {}
    for layout, rows in layouts.items():
        mine = [texts[i] for i in rows]
        joined = b" ".join(mine)
        names = [name.decode() for name in _NAME.findall(layout)]
        if _PLAIN.fullmatch(layout) and _has_numbers(joined, len(rows) * len(names)):
            values = np.fromstring(joined.translate(_DIGITS_ONLY), dtype=np.int64, sep=" ")
            columns = list(values.reshape(len(rows), -1).T)
        else:
            decoded = msgspec.json.decode(b"[" + b",".join(mine) + b"]", type=list[dict[str, int]])
            names = list(dict.fromkeys(chain.from_iterable(decoded)))
            columns = [_integers([share.get(name) for share in decoded]) for name in names]
        at = np.array(rows)
        for name, column in zip(names, columns, strict=True):
            whole = found.setdefault(name, np.full(len(texts), MISSING, dtype=np.int64))
            whole[at] = column
    return found


def _has_numbers(text: bytes, count: int) -> bool:
    """Whether all digits are `count` numbers that fit, each behind a colon and before , or }."""
    letters = np.frombuffer(text, dtype=np.uint8)
    digit = (letters >= ord("0")) & (letters <= ord("9"))
    edges = np.flatnonzero(np.diff(digit))  # the text begins and ends with a brace
    before, last = edges[::2], edges[1::2]
    if len(before) != count or not len(before):
        return False
    after = letters[last + 1]
    closed = (after == ord(",")) | (after == ord("}"))
    return bool((letters[before] == ord(":")).all() and closed.all() and (last - before).max() < 19)


def _decoded(texts: Sequence[str | None], empty: str, kind: Any) -> Any:
    return msgspec.json.decode(f"[{','.join([text or empty for text in texts])}]", type=kind)


def _integers(values: Sequence[int | None]) -> Integers:
    return np.array([MISSING if value is None else value for value in values], dtype=np.int64)


def _joined(parts: list[Any], kind: Any = np.int64) -> Any:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


# -- as records again, for what judges records ----------------------------------------------


def lean_runs(columns: Columns) -> list[Run]:
    """Runs with the fields that comparisons read; spans have their name and share only."""
    texts = {name: columns.words(name) for name in TEXTS}
    numbers = {
        name: [None if v == MISSING else v for v in columns.numbers[name].tolist()]
        for name in ("boot", "update", *TIMES, *WITNESSES)
    }
    shares = {name: values.tolist() for name, values in columns.shares.items()}
    return [_lean(i, texts, numbers, shares) for i in range(len(columns))]


def _lean(
    i: int,
    texts: dict[str, list[str]],
    numbers: dict[str, list[Any]],
    shares: dict[str, list[int]],
) -> Run:
    times = {name: numbers[name][i] for name in TIMES if name != "started_unix_ns"}
    return Run(
        schema=SCHEMA,
        id=f"#{i}",
        session=texts["session"][i],
        scenario=texts["scenario"][i],
        dimensions=texts["dimensions"][i],
        boot=numbers["boot"][i],
        update=numbers["update"][i],
        started_unix_ns=numbers["started_unix_ns"][i],
        outcome="completed" if texts["outcome"][i] == "completed" else "failed",
        reason=texts["reason"][i],
        old_build=texts["old_build"][i],
        new_build=texts["new_build"][i],
        old_pid=0,
        new_pid=0,
        witnesses=Witnesses(times["blackout_ns"], *(numbers[name][i] for name in WITNESSES)),
        spans=tuple(
            Span(name, "", 0, 0, values[i])
            for name, values in shares.items()
            if values[i] != MISSING
        ),
        **times,
    )
