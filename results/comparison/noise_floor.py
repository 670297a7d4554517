"""How far a build seems to lie from itself on this host, and how often a verdict was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from results.records.run import Run
from results.stats.intervals import CONFIDENCE

from .verdict import Verdict


def noise_floor(shifts_ns: Sequence[int], confidence: float = CONFIDENCE) -> int | None:
    """Size below which the next A/A shift stays with 95 % probability, ns, rounded up.

    `shifts_ns` are the shifts of A/A comparisons of one cell on one host, each with as many boots
    as the comparison that the floor is for. From 19 on it is an order statistic of their sizes and
    needs no distribution: the next of n + 1 equals is above the k-th smallest with probability
    1 - k / (n + 1). With fewer it is Student's t on their root mean square, whose mean is known to
    be 0 (12.7 times the size of a single one), and never below the largest seen. None without any.
    """
    sizes = sorted(abs(shift) for shift in shifts_ns)
    n = len(sizes)
    if not n:
        return None
    rank = math.ceil(confidence * (n + 1) - 1e-9)
    if rank <= n:
        return sizes[rank - 1]
    # Half a second to import: only when few are there.
    from scipy.special import stdtrit

    spread = math.sqrt(math.fsum(size**2 for size in sizes) / n)
    return max(sizes[-1], math.ceil(float(stdtrit(n, (1.0 + confidence) / 2.0)) * spread))


def noise_floors(
    runs: Iterable[Run], known: Callable[[str], Iterable[tuple[int, int]]]
) -> dict[str, int]:
    """The A/A noise floor of each scenario in `runs`, ns, from comparisons with no more boots.

    `known` tells (boots of each side, shift in ns) of a host's A/A comparisons by dimensions.
    """
    boots: dict[tuple[str, str], set[int]] = {}
    for run in runs:
        boots.setdefault((run.scenario, run.dimensions), set()).add(run.boot)
    floors = {}
    for (scenario, dimensions), seen in boots.items():
        shifts = [shift for count, shift in known(dimensions) if count <= len(seen)]
        # A single A/A says little: its floor would be 12.7 times what it saw.
        floor = noise_floor(shifts) if len(shifts) >= 3 else None
        if floor is not None:
            floors[scenario] = floor
    return floors


def false_alarms(verdicts: Iterable[Verdict]) -> tuple[int, int]:
    """Of A/A verdicts, how many claim a change, and how many there are."""
    given = list(verdicts)
    return sum(verdict in ("regressed", "improved") for verdict in given), len(given)
