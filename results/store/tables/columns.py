"""Many runs as columns: what reports count, sort and draw, without a record in memory.

A run is one position in each array. Times are int64 ns, `MISSING` where a value is unknown. The
columns of a million runs take some 300 MB; their records would take ten times as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.records.run import SCHEMA, Run, Span, Witnesses

from .rows import figures_of, shares_of
from .schema import MISSING as MISSING
from .schema import NUMBERS, TEXTS, TIMES
from .schema import WITNESSES as WITNESSES

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Coded = tuple[NDArray[np.int32], tuple[str, ...]]  # texts: the word of run i is words[codes[i]]


@dataclass(frozen=True, slots=True)
class Columns:
    """Runs in the order in which they were stored.

    `shares` are the shares of the blackout by phase, MISSING where the phase was not seen; `vcpus`
    are the blackouts by vCPU.
    """

    texts: dict[str, Coded]
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
        """Only the chosen runs."""
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
        """(scenario, dimensions, old, new build) and positions of its runs, in first-seen order."""
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
        """A number per run that identifies its boot: equal within one boot of one session."""
        codes, _ = self.texts["session"]
        return (codes.astype(np.int64) << 32) | self.numbers["boot"]

    def boot_medians(self, name: str = "blackout_ns") -> tuple[Integers, Integers]:
        """(boots, their medians of `name`) of all boots with a valid run, in first-seen order."""
        values, boots = self.values(name), self.boots()
        kept = np.flatnonzero(self.completed & (values != MISSING))
        return medians_by(boots[kept], values[kept])


def medians_by(groups: Integers, values: Integers) -> tuple[Integers, Integers]:
    """Median of each group, in first-seen order; of an even count the mean of two, rounded down."""
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
    """Like results.stats.intervals.median_ns, for an array."""
    if not len(values):
        return None
    middle = len(values) // 2
    if len(values) % 2:
        return int(np.partition(values, middle)[middle])
    low, high = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1]
    return (int(low) + int(high)) // 2


# -- from records and back -------------------------------------------------------------------


def columns_of(runs: Iterable[Run]) -> Columns:
    """The columns of records in memory, as they would be read from the store."""
    known = list(runs)
    rows = [{"seq": seq, **figures_of(run)} for seq, run in enumerate(known, 1)]
    shares = [shares_of(run) for run in known]
    phases = dict.fromkeys(name for each in shares for name in each)
    vcpus = [run.vcpu_blackouts_ns for run in known]
    return Columns(
        {name: coded([row[name] or "" for row in rows]) for name in TEXTS},
        {name: integers([row[name] for row in rows]) for name in NUMBERS},
        {name: integers([each.get(name) for each in shares]) for name in phases},
        tuple(
            integers([each[i] if i < len(each) else None for each in vcpus])
            for i in range(max(map(len, vcpus), default=0))
        ),
    )


def coded(texts: Sequence[str]) -> Coded:
    """The texts as codes, and the word of each code in first-seen order."""
    words: dict[str, int] = {}
    codes = [words.setdefault(text, len(words)) for text in texts]
    return np.array(codes, dtype=np.int32), tuple(words)


def integers(values: Sequence[int | None]) -> Integers:
    """An array of the values, MISSING for None."""
    return np.array([MISSING if value is None else value for value in values], dtype=np.int64)


def merged(parts: Sequence[Columns]) -> Columns:
    """All runs of `parts`, in that order."""
    nothing = [np.full(len(part), MISSING, dtype=np.int64) for part in parts]
    phases = dict.fromkeys(name for part in parts for name in part.shares)
    vcpus = max((len(part.vcpus) for part in parts), default=0)
    return Columns(
        {name: _merged_texts([part.texts[name] for part in parts]) for name in TEXTS},
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


def _merged_texts(parts: Sequence[Coded]) -> Coded:
    words: dict[str, int] = {}
    codes = []
    for own, known in parts:
        new = [words.setdefault(word, len(words)) for word in known]
        codes.append(np.array(new, dtype=np.int32)[own] if new else own)
    return _joined(codes, np.int32), tuple(words)


def _joined(parts: list[Any], kind: Any = np.int64) -> Any:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


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
