"""Sessions on simulated hosts, judged by what judges real ones: how often are verdicts wrong?

Only the runs are made up. Boots of a side differ by `between`, updates of a boot by `within`, the
host drifts by `drift` from the first boot to the last, nights lie `nights` apart (all standard
deviations or shares of the blackout). From the boots' medians on, everything is the product's own:
strata, shift, intervals, p, thresholds, noise floors, verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from results.comparison.noise_floor import NoiseFloor, aa_floor, nights_floor
from results.comparison.plan import NIGHTLY_COMPARISONS, SELF_CHECK_BOOTS, level
from results.comparison.verdict import (
    Cell,
    Thresholds,
    judge_cells,
    measure_against,
    measure_shift,
)
from results.stats.boots import BOOTS_PER_STRATUM, joined
from results.stats.intervals import median_ns
from results.stats.shift import Stratum, blind_half_width, estimate_shift

PAUSE_NS = 2_400_000
CELLS = 8
_BLOCK = 2
# Nights whose boots are the stable stretch that a night is compared with.
_STRETCH = 3
# Nights before those, whose medians tell how far nights lie apart.
_KNOWN_NIGHTS = 60
_CHECKED_NIGHTS = 20

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Host:
    """How a simulated host scatters, as shares of the blackout."""

    between: float
    within: float = 0.07
    drift: float = 0.04
    nights: float = 0.0

    def boots(
        self, random: np.random.Generator, count: int, boots: int, updates: int, level: Floats
    ) -> Integers:
        """Medians of consecutive boots, (count, boots) in ns, of `count` nights at `level`."""
        middle = level[:, None] + np.linspace(0.0, self.drift, boots)
        middle = middle + random.normal(0.0, self.between, (count, boots))
        each = middle[..., None] + random.normal(0.0, self.within, (count, boots, updates))
        return np.rint(PAUSE_NS * np.median(each, axis=-1)).astype(np.int64)

    def levels(self, random: np.random.Generator, count: int) -> Floats:
        """Where the host stands in each of `count` nights."""
        return 1.0 + random.normal(0.0, self.nights, count) if self.nights else np.ones(count)

    def sides(
        self,
        random: np.random.Generator,
        count: int,
        boots: int,
        updates: int,
        change: float = 0.0,
    ) -> tuple[Integers, Integers]:
        """A's and B's boots of `count` sessions in blocks of A B B A or B A A B, (count, boots)."""
        levels = self.levels(random, count)
        mixed = self.boots(random, count, 2 * boots, updates, levels)
        # Half a block at the end of an odd number of boots: A B or B A.
        first = random.random((count, -(-boots // _BLOCK))) < 0.5
        order = np.where(first[..., None], [True, False, False, True], [False, True, True, False])
        is_b = order.reshape(count, -1)[:, : 2 * boots]
        a, b = (mixed[side].reshape(count, boots) for side in (~is_b, is_b))
        return a, b + round(PAUSE_NS * change)


def blocks(a: Sequence[int], b: Sequence[int], boots: int = BOOTS_PER_STRATUM) -> list[Stratum]:
    """The strata that boots in their order give, as results.stats.boots.strata makes them."""
    steps = range(0, len(a), _BLOCK)
    return joined([(a[i : i + _BLOCK], b[i : i + _BLOCK]) for i in steps], boots)


def measured(
    strata: Sequence[Stratum], cells: int, comparisons: int = 1, floor: NoiseFloor | None = None
) -> Cell:
    """One cell of `cells`, not judged yet, with the default thresholds."""
    a, b = ([value for stratum in strata for value in stratum[side]] for side in (0, 1))
    cell = Cell(
        "cell",
        "blackout",
        median_a_ns=median_ns(a),
        median_b_ns=median_ns(b),
        n_a=len(a),
        n_b=len(b),
    )
    cell = measure_shift(cell, strata, "blocks", level(cells, comparisons))
    return measure_against(cell, Thresholds(), floor.at(min(len(a), len(b))) if floor else 0)


def judged_alone(cell: Cell, cells: int, comparisons: int = 1) -> Cell:
    """The cell as one of `cells` of which no other shows anything."""
    others = [Cell("other", "blackout")] * (cells - 1)
    return judge_cells([cell, *others], comparisons)[0]


def sessions(
    random: np.random.Generator,
    host: Host,
    count: int,
    boots: int,
    updates: int,
    change: float = 0.0,
    cells: int = 1,
    comparisons: int = 1,
    per_stratum: int = BOOTS_PER_STRATUM,
    *,
    checked: bool = False,
) -> list[Cell]:
    """`count` comparisons in which B is slower by `change`, each as one of `cells`.

    `checked`: on a host that has a noise floor by its self-checks.
    """
    a, b = host.sides(random, count, boots, updates, change)
    found = []
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        floor = self_checked(random, host, updates) if checked else None
        cell = measured(blocks(one, other, per_stratum), cells, comparisons, floor)
        found.append(judged_alone(cell, cells, comparisons))
    return found


def night(
    random: np.random.Generator, host: Host, boots: int, updates: int, cells: int = CELLS
) -> list[tuple[Cell, ...]]:
    """A night without a change: its cells against the baseline, the last stretch and the anchor."""
    a, b = host.sides(random, cells, boots, updates)
    before = [
        host.boots(random, _STRETCH + 1, boots, updates, host.levels(random, _STRETCH + 1))
        for _ in range(cells)
    ]
    floors = [_nights_apart(random, host, boots, updates, cells) for _ in range(cells)]
    kinds: list[list[Cell]] = [[], [], []]
    for i, floor in enumerate(floors):
        tonight = b[i].tolist()
        stretch, anchor = before[i][:_STRETCH].ravel().tolist(), before[i][_STRETCH].tolist()
        strata: tuple[list[Stratum], ...] = (
            blocks(a[i].tolist(), tonight),
            [(stretch, tonight)],
            [(anchor, tonight)],
        )
        own = self_checked(random, host, updates)
        for kind, each, noise in zip(kinds, strata, (own, floor, floor), strict=True):
            kind.append(measured(each, cells, NIGHTLY_COMPARISONS, noise))
    return [judge_cells(kind, NIGHTLY_COMPARISONS) for kind in kinds]


def self_checked(random: np.random.Generator, host: Host, updates: int) -> NoiseFloor | None:
    """The noise floor by the self-checks of some nights."""
    a, b = host.sides(random, _CHECKED_NIGHTS, SELF_CHECK_BOOTS, updates)
    shifts = [
        estimate_shift(blocks(*night)).shift_ns or 0
        for night in zip(a.tolist(), b.tolist(), strict=True)
    ]
    return aa_floor([[(SELF_CHECK_BOOTS, shift)] for shift in shifts])


def _nights_apart(
    random: np.random.Generator, host: Host, boots: int, updates: int, cells: int
) -> NoiseFloor | None:
    """From the medians of many nights, which scatter by the host's nights and by their boots."""
    scatter = np.hypot(host.between, 1.25 * host.within / np.sqrt(updates))
    spread = np.hypot(host.nights, 1.25 * scatter / np.sqrt(boots))
    medians = PAUSE_NS * (1.0 + random.normal(0.0, spread, _KNOWN_NIGHTS))
    confidence = 1.0 - level(cells, NIGHTLY_COMPARISONS)
    return nights_floor(np.rint(medians).astype(np.int64).tolist(), confidence)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A comparison that went on until it was narrow, judged as the only cell."""

    cell: Cell
    boots: int


def until_narrow(
    random: np.random.Generator,
    host: Host,
    count: int,
    updates: int,
    percent: float,
    least: int,
    most: int,
    change: float = 0.0,
) -> list[Stopped]:
    """As bench.studies.ab_blocks.measure_blocks stops: a look after each block from `least` on."""
    a, b = host.sides(random, count, most, updates, change)
    found = []
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        for boots in range(least, most + 1, _BLOCK):
            strata = blocks(one[:boots], other[:boots])
            half = blind_half_width(strata)
            middle = median_ns([*one[:boots], *other[:boots]]) or 0
            if half is not None and half <= middle * percent / 100.0:
                break
        found.append(Stopped(judged_alone(measured(strata, 1), 1), boots))
    return found


def older_rule(cell: Cell) -> bool:
    """Whether the rule before would have called a regression: all of [low, high] beyond it."""
    before = replace(Thresholds(), relative=0.05, absolute_ns=200_000)
    assert cell.median_a_ns is not None
    return cell.low_ns is not None and cell.low_ns > before.size_ns(cell.median_a_ns)
