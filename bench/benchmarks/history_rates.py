"""The tables of rates of a history: false changes, steps and drifts, by simulation.

    python -m bench.benchmarks.history_rates [--quick] [--seed N]   Markdown: docs/rates-history.md

Nights are logarithms that scatter by 3 % and resemble the one before by `ar` (an AR(1) process);
what is announced of them, night by night, is the product's own. The quick form takes a minute and
is what a test runs; the long one takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from results.stats.announcements import Announcement, announcements
from results.stats.partition import SegmentCosts, optimal_partition

from .rates import share, table

SEED = 20261128
SD = 0.03
YEAR = 365
ARS = (0.0, 0.3, 0.5)
LEVEL_NIGHTS = 60
STEP_NIGHTS = (8, 15)
WEEKS = 8
# Nights of a year in which a host is off, and by how much.
_OUTLIERS, _OUTLYING = 0.05, (2.0, 2.0, 2.0, 0.7)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many years without a change, and how many series with one, a rate is taken from."""

    years: int
    series: int


QUICK, LONG = Sizes(25, 60), Sizes(300, 400)


@dataclass(frozen=True, slots=True)
class Level:
    """Years of one level: the share with a confirmed change, and those not confirmed, a year."""

    false: float
    provisional: float


@dataclass(frozen=True, slots=True)
class Moved:
    """Series with a change: when it was confirmed, in nights after it began; inf for never.

    `named` are the nights until it was called what it is, `any` until any change was confirmed;
    `wrong` is the share first confirmed as the other kind.
    """

    named: tuple[float, ...]
    any: tuple[float, ...]
    wrong: float

    def within(self, nights: int) -> float:
        """The share that was called what it is within so many nights."""
        return share(each <= nights for each in self.named)

    def any_within(self, nights: int) -> float:
        """The share of which any change was confirmed within so many nights."""
        return share(each <= nights for each in self.any)


def noise(random: np.random.Generator, nights: int, ar: float) -> Floats:
    """Logarithms around 0 with a standard deviation of SD, stationary from the first night on."""
    fresh = random.normal(0.0, SD * (1.0 - ar * ar) ** 0.5, nights)
    values = np.empty(nights)
    values[0] = random.normal(0.0, SD)
    for night in range(1, nights):
        values[night] = ar * values[night - 1] + fresh[night]
    return values


def announced(logs: Floats, nights: int = 0) -> tuple[Announcement, ...]:
    """What is announced night by night; those before `nights` are looked at together."""
    return announcements((4.0 * np.exp(logs)).tolist(), (), nights)


def level(seed: int, years: int, ar: float, *, outliers: bool = False) -> Level:
    """Years in which nothing changes."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(years):
        logs = noise(random, YEAR, ar)
        if outliers:
            off = random.random(YEAR) < _OUTLIERS
            logs[off] += np.log(random.choice(_OUTLYING, int(off.sum())))
        found.append(announced(logs))
    confirmed = [[each for each in year if each.confirmed_on is not None] for year in found]
    others = sum(map(len, found)) - sum(map(len, confirmed))
    return Level(share(map(bool, confirmed)), others / years)


def step(seed: int, series: int, ar: float, percent: float) -> Moved:
    """A step after LEVEL_NIGHTS nights of one level."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(series):
        logs = noise(random, LEVEL_NIGHTS + STEP_NIGHTS[-1], ar)
        logs[LEVEL_NIGHTS:] += log(1.0 + percent / 100.0)
        found.append(announced(logs, LEVEL_NIGHTS - 2))
    return _moved(found, "step", LEVEL_NIGHTS)


def drift(seed: int, series: int, ar: float, percent: float, before: int) -> Moved:
    """A drift of so many percent a week that begins after `before` nights of one level."""
    random = np.random.default_rng(seed)
    nights = 7 * (WEEKS + 2)
    found = []
    for _ in range(series):
        logs = noise(random, before + nights, ar)
        logs[before:] += log(1.0 + percent / 100.0) / 7.0 * np.arange(1, nights + 1)
        found.append(announced(logs, max(0, before - 2)))
    return _moved(found, "drift", before)


def _moved(found: Sequence[Sequence[Announcement]], kind: str, before: int) -> Moved:
    named = [_first(each, before, (kind,)) for each in found]
    anything = [_first(each, before, ("step", "drift")) for each in found]
    wrong = share(one < other for one, other in zip(anything, named, strict=True))
    return Moved(tuple(named), tuple(anything), wrong)


def _first(found: Iterable[Announcement], before: int, kinds: Sequence[str]) -> float:
    """Nights from the first of the change until one of a kind is confirmed."""
    nights = (
        each.confirmed_on - before + 1
        for each in found
        if each.confirmed_on is not None and each.kind in kinds and each.rises
    )
    return min(nights, default=inf)


# -- as Markdown ----------------------------------------------------------------------------------


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _level(seed: int, sizes: Sizes) -> str:
    rows = []
    for ar, outliers in ((0.0, False), (0.3, False), (0.5, False), (0.7, False), (0.0, True)):
        rates = level(seed, sizes.years, ar, outliers=outliers)
        about = "1 night of 20 is off by −30 or +100 %" if outliers else "–"
        rows.append((f"{ar:g}", about, _percent(rates.false), f"{rates.provisional:.1f}"))
    header = ("AR", "outliers", "years with a false change", "withdrawn unconfirmed, a year")
    return _section(
        "A year of one level",
        f"{YEAR} nights each. A false change is any that was confirmed at any time.",
        table(header, rows),
    )


def _step(seed: int, sizes: Sizes) -> str:
    rows = []
    for percent in (10.0, 5.0):
        for ar in ARS:
            rates = step(seed, sizes.series, ar, percent)
            within = [_percent(rates.any_within(nights)) for nights in STEP_NIGHTS]
            rows.append((f"+{percent:g} %", f"{ar:g}", *within, _percent(rates.wrong)))
    header = ("step", "AR", *(f"confirmed within {n} nights" for n in STEP_NIGHTS),
              "called a drift first")  # fmt: skip
    return _section(
        "A step",
        f"After {LEVEL_NIGHTS} nights of one level. No step is confirmed before its fourth night.",
        table(header, rows),
    )


def _drift(seed: int, sizes: Sizes) -> str:
    rows = []
    for before in (LEVEL_NIGHTS, 0):
        for ar in ARS:
            rates = drift(seed, sizes.series, ar, 1.0, before)
            within = [_percent(rates.within(7 * weeks)) for weeks in (6, WEEKS, WEEKS + 2)]
            known = _percent(rates.any_within(7 * WEEKS))
            rows.append((str(before), f"{ar:g}", *within, known, _percent(rates.wrong)))
    header = ("nights before", "AR", *(f"a drift within {w} weeks" for w in (6, WEEKS, WEEKS + 2)),
              f"any change within {WEEKS} weeks", "called a step first")  # fmt: skip
    return _section(
        "A drift",
        "1 % a week. It looks like a step for its first weeks: where one was confirmed before, the "
        "drift withdraws it.",
        table(header, rows),
    )


def partition_ms(nights: int = YEAR, rounds: int = 20) -> float:
    """What one exact division of so many nights takes, ms."""
    values = noise(np.random.default_rng(SEED), nights, 0.3)
    begin = time.perf_counter()
    for _ in range(rounds):
        optimal_partition(SegmentCosts(values, 0.3), 11.5 * SD**2, 3)
    return (time.perf_counter() - begin) / rounds * 1e3


def _section(title: str, about: str, body: str) -> str:
    return f"## {title}\n\n{about}\n\n{body}\n"


SECTIONS: tuple[Callable[[int, Sizes], str], ...] = (_level, _step, _drift)


def main(words: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.benchmarks.history_rates")
    parser.add_argument("--quick", action="store_true", help="some dozen series for each rate")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}")
    args = parser.parse_args(words)
    sizes = QUICK if args.quick else LONG
    for section in SECTIONS:
        print(section(args.seed, sizes), flush=True)
    print(f"One exact division of {YEAR} nights: {partition_ms():.1f} ms.")


if __name__ == "__main__":
    main()
