"""How an update grows with one dimension of the guest: slopes with intervals.

Each boot counts once, with the median of its updates. Slopes are Theil and Sen's with their 95 %
interval (by Kendall's distribution), which assume neither normal nor uniform scatter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Literal
from warnings import catch_warnings, simplefilter

from results.records.run import Run
from results.records.scenario import Mode

from .intervals import CONFIDENCE, median_ns

Dimension = Literal["ram", "vcpus", "devices"]
UNITS: dict[Dimension, str] = {"ram": "GiB", "vcpus": "vCPU", "devices": "device"}
METRICS = ("blackout", "handover", "first_progress", "brownout")
# A slope takes different values, and boots at each of them.
LEAST_VALUES = 3
_UNENDING = 1 << 62  # ns


@dataclass(frozen=True, slots=True)
class SizedBoot:
    """One boot at one value of the dimension (in its unit); metrics and phases in ns."""

    scenario: str
    mode: Mode
    value: float
    metrics: dict[str, int]
    phases: dict[str, int]
    at_least: tuple[str, ...] = ()  # metrics that are a lower bound: the guest was not back


@dataclass(frozen=True, slots=True)
class SizeMedians:
    """Medians over the boots at one value, ns."""

    scenario: str
    mode: Mode
    value: float
    boots: int
    metrics: dict[str, int]
    at_least: tuple[str, ...] = ()  # metrics of which only a lower bound is known


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth of one metric or phase by unit of the dimension, ns, with its 95 % interval."""

    scenario: str
    mode: Mode
    name: str
    is_phase: bool
    slope_ns: int
    low_ns: int
    high_ns: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low_ns > 0 or self.high_ns < 0


@dataclass(frozen=True, slots=True)
class MissingSlope:
    """A metric that was measured but has no slope, and why."""

    scenario: str
    mode: Mode
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Growth:
    """What a sweep shows. `failed` runs are counted and in no figure."""

    dimension: Dimension
    points: tuple[SizeMedians, ...]
    slopes: tuple[Slope, ...]
    failed: int = 0
    missing: tuple[MissingSlope, ...] = ()

    def phases_of(self, scenario: str, mode: Mode) -> tuple[Slope, ...]:
        """Phases that make the blackout grow, steepest first; empty if it does not grow.

        Of ten phases at 95 % one would be named by chance in a third of all sweeps.
        """
        mine = [s for s in self.slopes if (s.scenario, s.mode) == (scenario, mode)]
        if not any(s.clear for s in mine if s.name == "blackout" and not s.is_phase):
            return ()
        clear = [s for s in mine if s.is_phase and s.clear]
        return tuple(sorted(clear, key=lambda s: -abs(s.slope_ns)))

    @property
    def unit(self) -> str:
        return UNITS[self.dimension]


def boot_of(scenario: str, mode: Mode, value: float, runs: Iterable[Run]) -> SizedBoot | None:
    """One boot by the medians of its valid runs; None without any."""
    valid = [r for r in runs if r.outcome == "completed" and r.blackout_ns is not None]
    if not valid:
        return None
    metrics, at_least = _medians([_lengths(run) for run in valid])
    names = dict.fromkeys(span.name for r in valid for span in r.spans)
    shares = {n: median_ns(r.phases.get(n, 0) for r in valid) or 0 for n in names}
    phases = {name: share for name, share in shares.items() if mode == "cpr-transfer"}
    return SizedBoot(scenario, mode, value, metrics, phases, at_least)


# A metric's value, and whether it is a lower bound.
_Length = tuple[int, bool]


def _lengths(run: Run) -> dict[str, _Length]:
    """The metrics of a run; a brownout that had not ended is as long as was watched, or longer."""
    found: dict[str, _Length] = {
        name: (ns, False) for name in METRICS if (ns := getattr(run, f"{name}_ns")) is not None
    }
    if "brownout" not in found and run.brownout_watched_ns is not None:
        found["brownout"] = (run.brownout_watched_ns, True)
    return found


def _medians(each: Sequence[dict[str, _Length]]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The median of every metric, and the names of those of which it is a lower bound.

    It is exact where it stays the same however long the unended ones took.
    """
    metrics: dict[str, int] = {}
    at_least = []
    for name in METRICS:
        found = [lengths[name] for lengths in each if name in lengths]
        least = median_ns(ns for ns, _ in found)
        if least is None:
            continue
        metrics[name] = least
        if least != median_ns(_UNENDING if unended else ns for ns, unended in found):
            at_least.append(name)
    return metrics, tuple(at_least)


def growth(dimension: Dimension, boots: Sequence[SizedBoot], failed: int = 0) -> Growth:
    """Points and slopes of every scenario and mode."""
    points: list[SizeMedians] = []
    slopes: list[Slope] = []
    missing: list[MissingSlope] = []
    for scenario, mode in dict.fromkeys((b.scenario, b.mode) for b in boots):
        mine = [b for b in boots if (b.scenario, b.mode) == (scenario, mode)]
        points += _points(mine)
        for name in METRICS:
            if why := _why_no_slope(mine, name):
                missing.append(MissingSlope(scenario, mode, name, why))
            else:
                slopes += _slope(mine, name, is_phase=False)
        for name in dict.fromkeys(name for b in mine for name in b.phases):
            slopes += _slope(mine, name, is_phase=True)
    return Growth(dimension, tuple(points), tuple(slopes), failed, tuple(missing))


def _points(boots: Sequence[SizedBoot]) -> list[SizeMedians]:
    points = []
    for value in sorted({boot.value for boot in boots}):
        here = [boot for boot in boots if boot.value == value]
        each = [
            {name: (ns, name in boot.at_least) for name, ns in boot.metrics.items()}
            for boot in here
        ]
        metrics, at_least = _medians(each)
        points.append(
            SizeMedians(here[0].scenario, here[0].mode, value, len(here), metrics, at_least)
        )
    return points


def _why_no_slope(boots: Sequence[SizedBoot], name: str) -> str:
    """Why a metric that was measured has none; empty where it has one, or was not measured."""
    with_it = [boot for boot in boots if name in boot.metrics]
    bounds = sum(name in boot.at_least for boot in with_it)
    if bounds:
        return f"in {bounds} of {len(with_it)} boots it had not ended when watching did"
    if with_it and not has_interval([boot.value for boot in with_it]):
        return f"{len(with_it)} boots are too few for an interval"
    return ""


def boots_needed(values: int) -> int:
    """Boots at each of so many values below which a slope has no 95 % interval."""
    boots = 1
    while not has_interval([value for value in range(values) for _ in range(boots)]):
        boots += 1
    return boots


def has_interval(values: Sequence[float]) -> bool:
    """Whether boots at these values can bound a slope: by Kendall's exact distribution.

    Of all ways to deal the boots' results to the values, one grows with every value and one falls;
    each must be as rare as half of what a 95 % interval leaves out.
    """
    if len(set(values)) < LEAST_VALUES:
        return False
    ways = factorial(len(values))
    for count in Counter(values).values():
        ways //= factorial(count)
    return 1 / ways <= (1 - CONFIDENCE) / 2


def _slope(boots: Sequence[SizedBoot], name: str, *, is_phase: bool) -> list[Slope]:
    """The slope of one figure; empty where the values are too few or all 0."""
    pairs = [
        (b.value, (b.phases if is_phase else b.metrics)[name])
        for b in boots
        if name in (b.phases if is_phase else b.metrics)
    ]
    if not has_interval([x for x, _ in pairs]) or not any(y for _, y in pairs):
        return []
    import numpy as np
    from scipy.stats import theilslopes

    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    with np.errstate(invalid="ignore"), catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of values that are nearly all the same
        slope, _, low, high = theilslopes(y, x, CONFIDENCE)
    if not np.isfinite([slope, low, high]).all():
        return []
    first = boots[0]
    return [
        Slope(first.scenario, first.mode, name, is_phase, round(slope), round(low), round(high))
    ]
