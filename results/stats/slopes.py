"""How a handover grows with one dimension of the guest: slopes with intervals, pure.

One value per boot, as everywhere: the median of its updates. Slopes are Theil and Sen's with their
95 % interval (Kendall's), which assume no normal scatter, nor the same one everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from warnings import catch_warnings, simplefilter

from results.records.run import Run
from results.records.scenario import Mode

from .intervals import LEAST_BOOTS, median_ns

Dimension = Literal["ram", "vcpus", "devices"]
UNITS: dict[Dimension, str] = {"ram": "GiB", "vcpus": "vCPU", "devices": "device"}
# Metric → the field of a run that holds it.
_FIELDS = {
    "blackout": "blackout_ns",
    "handover": "handover_ns",
    "first_progress": "first_progress_ns",
    "brownout": "least_brownout_ns",
}
METRICS = tuple(_FIELDS)
# A slope needs values to be told from one another, and boots at each of them.
LEAST_VALUES = 3


@dataclass(frozen=True, slots=True)
class Grown:
    """One boot at one value of the dimension (in its unit); metrics and phases in ns."""

    scenario: str
    mode: Mode
    value: float
    metrics: dict[str, int]
    phases: dict[str, int]


@dataclass(frozen=True, slots=True)
class Point:
    """Medians over the boots at one value, ns."""

    scenario: str
    mode: Mode
    value: float
    boots: int
    metrics: dict[str, int]


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
        """Whether it is told from no growth at all."""
        return self.low_ns > 0 or self.high_ns < 0


@dataclass(frozen=True, slots=True)
class Growth:
    """What a sweep says. `failed` runs are counted and in no figure."""

    dimension: Dimension
    points: tuple[Point, ...]
    slopes: tuple[Slope, ...]
    failed: int = 0

    def phases_of(self, scenario: str, mode: Mode) -> tuple[Slope, ...]:
        """Phases that make the blackout grow, steepest first; none where it does not.

        Among ten phases at 95 % one would be named for nothing in a third of all sweeps.
        """
        mine = [s for s in self.slopes if (s.scenario, s.mode) == (scenario, mode)]
        if not any(s.clear for s in mine if s.name == "blackout" and not s.is_phase):
            return ()
        clear = [s for s in mine if s.is_phase and s.clear]
        return tuple(sorted(clear, key=lambda s: -abs(s.slope_ns)))

    @property
    def unit(self) -> str:
        return UNITS[self.dimension]


def boot_of(scenario: str, mode: Mode, value: float, runs: Iterable[Run]) -> Grown | None:
    """One boot by the medians of its valid runs; None without any."""
    valid = [r for r in runs if r.outcome == "completed" and r.blackout_ns is not None]
    if not valid:
        return None
    metrics = {}
    for name, field in _FIELDS.items():
        found = [v for r in valid if (v := getattr(r, field)) is not None]
        if (middle := median_ns(found)) is not None:
            metrics[name] = middle
    names = dict.fromkeys(span.name for r in valid for span in r.spans)
    shares = {n: median_ns(r.phases.get(n, 0) for r in valid) or 0 for n in names}
    phases = {name: share for name, share in shares.items() if mode == "cpr-transfer"}
    return Grown(scenario, mode, value, metrics, phases)


def growth(dimension: Dimension, boots: Sequence[Grown], failed: int = 0) -> Growth:
    """Points and slopes of every scenario and mode."""
    points: list[Point] = []
    slopes: list[Slope] = []
    for scenario, mode in dict.fromkeys((b.scenario, b.mode) for b in boots):
        mine = [b for b in boots if (b.scenario, b.mode) == (scenario, mode)]
        for value in sorted({b.value for b in mine}):
            here = [b for b in mine if b.value == value]
            metrics = {
                name: middle
                for name in METRICS
                if (middle := median_ns(b.metrics[name] for b in here if name in b.metrics))
                is not None
            }
            points.append(Point(scenario, mode, value, len(here), metrics))
        for name in METRICS:
            slopes += _slope(mine, name, is_phase=False)
        for name in dict.fromkeys(name for b in mine for name in b.phases):
            slopes += _slope(mine, name, is_phase=True)
    return Growth(dimension, tuple(points), tuple(slopes), failed)


def _slope(boots: Sequence[Grown], name: str, *, is_phase: bool) -> list[Slope]:
    """The slope of one figure, where there are values enough; an empty list else."""
    pairs = [
        (b.value, (b.phases if is_phase else b.metrics)[name])
        for b in boots
        if name in (b.phases if is_phase else b.metrics)
    ]
    if len({x for x, _ in pairs}) < LEAST_VALUES or len(pairs) < LEAST_BOOTS:
        return []
    if not any(y for _, y in pairs):
        return []
    import numpy as np
    from scipy.stats import theilslopes

    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    with np.errstate(invalid="ignore"), catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of values that are nearly all the same
        slope, _, low, high = theilslopes(y, x, 0.95)
    if not np.isfinite([slope, low, high]).all():
        return []
    first = boots[0]
    return [
        Slope(first.scenario, first.mode, name, is_phase, round(slope), round(low), round(high))
    ]
