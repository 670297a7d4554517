"""Whether cpr-transfer has the least pause: modes interleaved in one session, judged one by one.

Pure. A mode counts as longer when both its blackout (KVM_RUN bracket) and the guest's own gap are
`regressed` against cpr-transfer by results.comparison.verdict, over guest boots and adjusted for
the number of modes. It refutes the claim when either is `improved` and the other not `regressed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from results.comparison.compare import compare
from results.comparison.verdict import Cell, Thresholds
from results.qemu.modes import mode_of
from results.records.modes import PROMISES
from results.records.run import Run
from results.records.scenario import Mode
from results.stats.boots import boot_values, medians
from results.stats.intervals import interval_over_boots, median_ns

Least = Literal["shown", "refuted", "undecided"]

REFERENCE: Mode = "cpr-transfer"
# Per mode: with 4 even the clearest shift has p = 0.03, not enough for six modes at once.
LEAST_BOOTS = 5


@dataclass(frozen=True, slots=True)
class ModePause:
    """One mode against cpr-transfer: ns, medians over boots; cells are None for cpr-transfer.

    `least`: whether cpr-transfer pauses less than this mode; for cpr-transfer itself, than all.
    """

    mode: Mode
    boots: int
    valid: int
    failed: int
    blackout_ns: int | None
    interval_ns: tuple[int, int] | None
    guest_gap_ns: int | None
    handover_ns: int | None
    least: Least
    blackout: Cell | None = None
    guest_gap: Cell | None = None
    reason: str = ""  # of the first failed run

    @property
    def detail(self) -> str:
        """One line with the figures, and what the pause grows with."""
        if self.blackout_ns is None:
            return f"{self.failed} of {self.failed} runs failed: {self.reason}"
        text = f"blackout {_ms(self.blackout_ns)} ms"
        if self.interval_ns is not None:
            text += f" [{_ms(self.interval_ns[0])}, {_ms(self.interval_ns[1])}]"
        text += f", guest gap {_ms(self.guest_gap_ns)}, handover {_ms(self.handover_ns)} ms"
        for name, cell in (("blackout", self.blackout), ("gap", self.guest_gap)):
            text += f"; {name} {_shift(cell)}" if cell is not None else ""
        text += f"; {self.valid} runs of {self.boots} boots"
        text += f", {self.failed} failed" if self.failed else ""
        return f"{text}; grows with {PROMISES[self.mode].depends}"


@dataclass(frozen=True, slots=True)
class LeastPause:
    """All modes of one pair of builds, cpr-transfer first, and the verdict over all of them."""

    modes: tuple[ModePause, ...]
    least: Least

    @property
    def detail(self) -> str:
        """One line: the pause of every mode, and the modes that do not have a longer one."""
        found = [f"{m.mode} {_ms(m.blackout_ns)} ms" for m in self.modes if m.blackout_ns]
        text = f"median blackout: {', '.join(found) or 'none'}"
        for word in ("refuted", "undecided"):
            names = [m.mode for m in self.modes if m.least == word and m.mode != REFERENCE]
            text += f"; {word} against {', '.join(names)}" if names else ""
        return text


def least_pause(runs: Iterable[Run], thresholds: Thresholds | None = None) -> LeastPause:
    """Judge the runs of one session on one pair of builds. UsageError for several pairs."""
    by_mode: dict[Mode, list[Run]] = {REFERENCE: []}
    for run in runs:
        by_mode.setdefault(mode_of(run.dimensions), []).append(run)
    others = {mode: mine for mode, mine in by_mode.items() if mode != REFERENCE}
    cells = {
        metric: {cell.scenario: cell for cell in _cells(by_mode[REFERENCE], others, metric, limits)}
        for limits in (thresholds or Thresholds(),)
        for metric in ("blackout", "guest_gap")
    }
    found = []
    for mode, mine in others.items():
        blackout, gap = (cells[metric].get(mode) for metric in ("blackout", "guest_gap"))
        found.append(_pause(mode, mine, _least(blackout, gap), blackout, gap))
    together = _together([pause.least for pause in found])
    return LeastPause((_pause(REFERENCE, by_mode[REFERENCE], together), *found), together)


def _cells(
    reference: Sequence[Run],
    others: dict[Mode, list[Run]],
    metric: str,
    thresholds: Thresholds,
) -> tuple[Cell, ...]:
    """Every mode against cpr-transfer in one comparison, which adjusts for their number."""
    ours = [replace(run, scenario=mode) for mode in others for run in reference]
    theirs = [replace(run, scenario=mode) for mode, mine in others.items() for run in mine]
    return compare(ours, theirs, thresholds, metric=metric).cells


def _least(blackout: Cell | None, gap: Cell | None) -> Least:
    verdicts = {cell.verdict for cell in (blackout, gap) if cell is not None}
    if blackout is None or gap is None:
        return "undecided"
    if verdicts == {"regressed"}:
        return "shown"
    return "refuted" if "improved" in verdicts and "regressed" not in verdicts else "undecided"


def _together(each: Sequence[Least]) -> Least:
    if "refuted" in each:
        return "refuted"
    return "shown" if each and set(each) == {"shown"} else "undecided"


def _pause(
    mode: Mode,
    runs: Sequence[Run],
    least: Least,
    blackout: Cell | None = None,
    gap: Cell | None = None,
) -> ModePause:
    failed = [run for run in runs if run.outcome != "completed"]
    each = medians(boot_values(runs, "blackout"))
    return ModePause(
        mode=mode,
        boots=len({(run.session, run.boot) for run in runs}),
        valid=len(runs) - len(failed),
        failed=len(failed),
        blackout_ns=median_ns(each),
        interval_ns=interval_over_boots(each)[0],
        guest_gap_ns=median_ns(medians(boot_values(runs, "guest_gap"))),
        handover_ns=median_ns(medians(boot_values(runs, "handover"))),
        least=least,
        blackout=blackout,
        guest_gap=gap,
        reason=failed[0].reason if failed else "it was not run",
    )


def _ms(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3g}"


def _shift(cell: Cell) -> str:
    if cell.shift_ns is None:
        return f"not compared ({cell.reason})"
    text = f"{cell.shift_ns / 1e6:+.3g} ms"
    if cell.low_ns is not None and cell.high_ns is not None:
        text += f" [{cell.low_ns / 1e6:+.3g}, {cell.high_ns / 1e6:+.3g}]"
    return text + (f" ({cell.reason})" if cell.low_ns is None else "")
