"""How nights of one level scatter: by how much, and how much each resembles the one before.

All values are logarithms, so that the scatter is a share of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What is known before a host has shown its own noise: medians of nights scatter by 3 %, and each
# resembles the one before by 0.45. It weighs as much as so many nights that the host has shown.
# Without it, estimates of 10 to 50 nights are so often too small that they alone would bring more
# false alarms than are allowed (docs/rates-history.md).
TYPICAL_SD = 0.03
_TYPICAL_AR = 0.45
_SD_WEIGHT = 20.0
_AR_WEIGHT = 60.0
# Below this a level that is repeated to the digit would make every tremor a change.
_LEAST_SD = 0.01
_MOST_AR = 0.9
# Residuals beyond so many robust standard deviations count as if they were just there.
_CLIPPED = 3.0
# A normal variable's median absolute deviation, in standard deviations.
_MAD = 0.6745
_OUTLYING = 4.0
_NEIGHBOURS = 3


class Settled(Protocol):
    """A change that is known: the level moves from night `at` on, a drift's until `until`."""

    @property
    def at(self) -> int: ...
    @property
    def until(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviation of nights of one level, and the correlation of one with the next."""

    sd: float
    ar: float

    @property
    def fresh_variance(self) -> float:
        """Variance of what a night brings that the one before did not tell."""
        return self.sd**2 * (1.0 - self.ar**2)


def night_noise(logs: Floats, settled: Sequence[Settled] = ()) -> Noise:
    """Noise about a straight line and the settled changes, with what is known beforehand.

    Differences of neighbouring nights, which need no line, miss what swings over several nights.
    """
    residuals, fitted = _residuals(logs, settled)
    size = len(logs)
    ar, variance = _TYPICAL_AR, TYPICAL_SD**2
    # Fewer say nothing once a line is fitted.
    if size > 2 * fitted + 2 and (power := float(residuals @ residuals)) > 0.0:
        seen = float(residuals[1:] @ residuals[:-1]) / power * size / (size - 1)
        # A fitted level hides correlation. Source: Marriott and Pope, Biometrika 41 (1954) 390.
        seen = (size * seen + fitted) / (size - fitted - 2)
        seen = min(0.95, max(-0.5, seen))
        alike = max(1.0, (1.0 + seen) / (1.0 - seen))
        variance = power / (size - min(size / 2.0, fitted * alike))
        ar = (size * seen + _AR_WEIGHT * _TYPICAL_AR) / (size + _AR_WEIGHT)
        ar = min(_MOST_AR, max(0.0, ar))
        # So many nights without correlation would tell as much of the variance.
        weight = size * (1.0 - ar * ar) / (1.0 + ar * ar)
        variance = (weight * variance + _SD_WEIGHT * TYPICAL_SD**2) / (weight + _SD_WEIGHT)
    return Noise(max(_LEAST_SD, variance**0.5), ar)


def _residuals(logs: Floats, settled: Sequence[Settled]) -> tuple[Floats, int]:
    """What a line and the settled changes leave, outliers clipped; and how much was fitted."""
    size = len(logs)
    nights = np.arange(size, dtype=np.float64)
    columns = [np.ones(size), nights - (size - 1) / 2.0]
    for change in settled:
        if 0 < change.at < size:
            length = max(0, change.until - change.at) + 1
            columns.append(np.clip((nights - change.at + 1) / length, 0.0, 1.0))
    basis, _ = np.linalg.qr(np.column_stack(columns))
    clipped, residuals = logs, logs
    for _ in range(2):
        level = basis @ (basis.T @ clipped)
        most = _CLIPPED * float(np.median(np.abs(logs - level))) / _MAD
        residuals = np.clip(logs - level, -most, most)
        clipped = level + residuals
    return residuals, len(columns)


def without_outliers(logs: Floats, sd: float) -> Floats:
    """Nights that lie off both the three before and the three after, put on the nearer of both.

    A night at which a new level begins lies off those before alone, and stays.
    """
    size = len(logs)
    kept = logs.copy()
    after = _medians_of_next(logs)
    most = _OUTLYING * sd
    suspects = np.flatnonzero(~(np.abs(logs - after) <= most))  # the last has none after it
    for night in suspects.tolist():
        # Those before as they were put: two outliers side by side are no level.
        before = kept[max(0, night - _NEIGHBOURS) : night]
        off_before = logs[night] - np.median(before) if night else np.inf
        off_after = logs[night] - after[night] if night < size - 1 else np.inf
        both = night == 0 or night == size - 1 or off_before * off_after > 0
        if both and abs(off_before) > most and abs(off_after) > most:
            kept[night] -= off_before if abs(off_before) < abs(off_after) else off_after
    return kept


def _medians_of_next(logs: Floats) -> Floats:
    """The median of up to three nights after each; NaN for the last."""
    size = len(logs)
    after = np.full(size, np.nan)
    if size > _NEIGHBOURS:
        windows = np.lib.stride_tricks.sliding_window_view(logs[1:], _NEIGHBOURS)
        after[: len(windows)] = np.median(windows, axis=1)
    for night in range(max(0, size - _NEIGHBOURS), size - 1):
        after[night] = np.median(logs[night + 1 :])
    return after
