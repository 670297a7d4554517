"""The tables of rates: alarms, power, coverage and what `--precision` does, by simulation.

    python -m bench.benchmarks.rates [--quick] [--seed N]      Markdown, as in docs/rates.md

The quick form takes less than a minute and is what a test runs; the long one takes half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from results.comparison.noise_floor import false_alarms
from results.comparison.plan import (
    COMPARE_BOOTS,
    COMPARE_UPDATES,
    NIGHTLY_BOOTS,
    NIGHTLY_COMPARISONS,
    NIGHTLY_UPDATES,
)
from results.comparison.verdict import Cell

from .simulated import CELLS, PAUSE_NS, Host, night, older_rule, sessions, until_narrow

SEED = 20261126
SPREADS = (0.03, 0.05, 0.08)
# A boot of a guest and an update of it on this kind of host, s.
_BOOT_S, _UPDATE_S = 0.65, 0.1
# Later sessions trace one boot in eight and judge the plain ones alone.
PLAIN_BOOTS = NIGHTLY_BOOTS * 7 // 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many sessions and nights a rate is taken from."""

    sessions: int
    nights: int


QUICK, LONG = Sizes(300, 150), Sizes(4_000, 2_000)


@dataclass(frozen=True, slots=True)
class Nightly:
    """What the nightly defaults do on one host; all are shares.

    Alarms are claims of a change where there is none, over the three comparisons of a cell.
    """

    host: Host
    alarms_cell: float
    alarms_night: float
    found_5: float
    found_10: float
    older_5: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """What stopping at a width does on one host; all but `boots` and `half` are shares.

    `half` is the half-width reached, as a share of the blackout; `held`: intervals at 95 % that
    hold the true shift.
    """

    host: Host
    percent: float
    change: float
    boots: float
    half: float
    claims: float
    held: float


def cell_seconds(boots: int, updates: int) -> float:
    """What measuring both sides of one cell takes, s."""
    return 2 * boots * (_BOOT_S + _UPDATE_S * updates)


def share(flags: Iterable[bool]) -> float:
    """How many of all are true."""
    given = list(flags)
    return sum(given) / len(given)


def regressed(cells: Iterable[Cell]) -> float:
    """The share of cells that are called a regression."""
    return share(cell.verdict == "regressed" for cell in cells)


def held(cells: Iterable[Cell], change: float) -> float:
    """The share of intervals at 95 % that hold the true shift."""
    true = round(PAUSE_NS * change)
    return share(
        cell.low_ns is not None and cell.high_ns is not None and cell.low_ns <= true <= cell.high_ns
        for cell in cells
    )


def nightly(seed: int, sizes: Sizes, host: Host) -> Nightly:
    """Rates of the nightly defaults, on the plain boots of each side."""
    random = np.random.default_rng(seed)
    size = (PLAIN_BOOTS, NIGHTLY_UPDATES)
    cells: list[bool] = []
    nights: list[bool] = []
    for _ in range(sizes.nights):
        kinds = night(random, host, *size)
        each = [false_alarms(c.verdict for c in cell)[0] > 0 for cell in zip(*kinds, strict=True)]
        cells += each
        nights.append(any(each))
    found_5, found_10 = (
        sessions(
            random, host, sizes.sessions, *size, change, CELLS, NIGHTLY_COMPARISONS, checked=True
        )
        for change in (0.05, 0.10)
    )
    return Nightly(
        host,
        share(cells),
        share(nights),
        regressed(found_5),
        regressed(found_10),
        share(map(older_rule, found_5)),
    )


def stopping(seed: int, sizes: Sizes, host: Host, percent: float, change: float) -> Stopping:
    """Rates of `compare --precision PERCENT`, from 6 to 80 boots of each side."""
    random = np.random.default_rng(seed)
    found = until_narrow(random, host, sizes.sessions, COMPARE_UPDATES, percent, 6, 80, change)
    cells = [each.cell for each in found]
    halves = [(cell.half_width_ns or 0) / PAUSE_NS for cell in cells]
    claims = share(cell.verdict in ("regressed", "improved") for cell in cells)
    boots = sum(each.boots for each in found) / len(found)
    return Stopping(
        host, percent, change, boots, sum(halves) / len(halves), claims, held(cells, change)
    )


# -- as Markdown ----------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(value: float, digits: int = 1) -> str:
    return f"{value * 100:.{digits}f} %"


def _nightly(seed: int, sizes: Sizes) -> str:
    hosts = [Host(spread, nights=apart) for spread in SPREADS for apart in (0.0, 0.03)]
    found = [nightly(seed + i, sizes, host) for i, host in enumerate(hosts)]
    rows = [
        (
            _percent(rates.host.between, 0),
            _percent(rates.host.nights, 0),
            _percent(rates.alarms_cell, 2),
            _percent(rates.alarms_night),
            _percent(rates.found_5),
            _percent(rates.found_10),
            _percent(rates.older_5),
        )
        for rates in found
    ]
    header = ("between boots", "between nights", "alarms per cell", f"alarms per night of {CELLS}",
              "+5 % found", "+10 % found", "+5 % by the older rule")  # fmt: skip
    seconds = cell_seconds(NIGHTLY_BOOTS, NIGHTLY_UPDATES)
    return _section(
        "A night",
        f"{NIGHTLY_BOOTS} boots of each side, {NIGHTLY_UPDATES} updates a boot: {seconds:.0f} s a "
        f"cell. One boot in eight is left out, as if it were traced: {PLAIN_BOOTS} count. Each of "
        f"the {CELLS} cells is compared with the baseline of the night, with the last stable "
        "stretch (three nights here) and with one night as the anchor, and an alarm of any of them "
        "counts. The older rule asked for the whole 95 % interval beyond 5 % and 0.2 ms.",
        table(header, rows),
    )


def _choice(seed: int, sizes: Sizes) -> str:
    rows = []
    for boots, updates in ((6, 5), (12, 4), (24, 2), (24, 4), (24, 8), (48, 4), (63, 4), (100, 2)):
        random = np.random.default_rng(seed)
        found = [
            _percent(regressed(sessions(random, Host(s), sizes.sessions, boots, updates, c)), 0)
            for s in SPREADS
            for c in (0.05, 0.10)
        ]
        calm = sessions(random, Host(0.05), sizes.sessions, boots, updates)
        alarms = share(cell.verdict in ("regressed", "improved") for cell in calm)
        took = f"{cell_seconds(boots, updates):.0f} s"
        rows.append((f"{boots} × {updates}", took, _percent(alarms, 2), *found))
    header = ("boots × updates", "a cell takes", "alarms at 5 %",
              *(f"+{c} % at {s * 100:.0f} %" for s in SPREADS for c in (5, 10)))  # fmt: skip
    return _section(
        "Boots and updates",
        "Found by `compare` of one scenario, by the spread between boots. Its default is "
        f"{COMPARE_BOOTS} × {COMPARE_UPDATES}.",
        table(header, rows),
    )


def _strata(seed: int, sizes: Sizes) -> str:
    rows = []
    for drift in (0.0, 0.04, 0.30):
        found = []
        for boots in (2, 4, 8, 16, PLAIN_BOOTS):
            random = np.random.default_rng(seed)
            host = Host(0.05, drift=drift)
            cells = sessions(random, host, sizes.sessions, PLAIN_BOOTS, NIGHTLY_UPDATES, 0.05,
                             CELLS, NIGHTLY_COMPARISONS, boots)  # fmt: skip
            found.append(_percent(regressed(cells), 0))
        rows.append((_percent(drift, 0), *found))
    return _section(
        "Strata",
        "+5 % found at 5 % between boots, by the boots of each side that a stratum has, on hosts "
        "that drift by so much from the first boot to the last. 8 is the rule.",
        table(("drift", "2", "4", "8", "16", "all"), rows),
    )


def _coverage(seed: int, sizes: Sizes) -> str:
    rows = []
    for boots in (4, 6, 12, COMPARE_BOOTS, NIGHTLY_BOOTS):
        random = np.random.default_rng(seed)
        found = [
            _percent(held(sessions(random, Host(s), sizes.sessions, boots, 4, c), c))
            for s in SPREADS
            for c in (0.0, 0.10)
        ]
        rows.append((str(boots), *found))
    header = ("boots", *(f"+{c} % at {s * 100:.0f} %" for s in SPREADS for c in (0, 10)))
    return _section(
        "Intervals",
        "Intervals of the shift at 95 % that hold the true one, by the true shift and the spread "
        "between boots.",
        table(header, rows),
    )


def _precision(seed: int, sizes: Sizes) -> str:
    found = [
        stopping(seed, sizes, Host(spread), percent, change)
        for spread in (0.03, 0.05)
        for percent in (5.0, 3.0, 2.0)
        for change in (0.0, 0.05)
    ]
    rows = [
        (
            _percent(rates.host.between, 0),
            f"{rates.percent:g} %",
            _percent(rates.change, 0),
            f"{rates.boots:.0f}",
            f"± {_percent(rates.half)}",
            _percent(rates.claims),
            _percent(rates.held),
        )
        for rates in found
    ]
    header = ("between boots", "`--precision`", "true change", "boots", "reached",
              "called a change", "intervals that hold it")  # fmt: skip
    return _section(
        "Stopping at a width",
        "From 6 boots of each side to 80, with a look after every block of A B B A. What is looked "
        "at is the width that the interval would have if all boots were of one build: it does not "
        "know which are A's, so it cannot pick those intervals that are narrow by chance. A true "
        "change makes it go on longer than it need.",
        table(header, rows),
    )


def _section(title: str, about: str, body: str) -> str:
    return f"## {title}\n\n{about}\n\n{body}\n"


SECTIONS: tuple[Callable[[int, Sizes], str], ...] = (
    _nightly,
    _choice,
    _strata,
    _coverage,
    _precision,
)


def main(words: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.benchmarks.rates")
    parser.add_argument("--quick", action="store_true", help="some hundred sessions for each rate")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}")
    args = parser.parse_args(words)
    sizes = QUICK if args.quick else LONG
    for section in SECTIONS:
        print(section(args.seed, sizes), flush=True)


if __name__ == "__main__":
    main()
