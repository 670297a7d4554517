"""Doubts about a result: why it may be wrong, and what would settle each.

Pure, over the runs of one scenario on one pair of builds. A doubt changes no number and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from results.comparison.plan import MOST_BOOTS
from results.judgement.witnesses import TOLERANCE_NS
from results.records.observations import HostState
from results.records.run import Run
from results.stats.intervals import (
    LEAST_BOOTS,
    boot_medians,
    interval_over_boots,
    median_ns,
)

from .accelerator import under_tcg
from .testimony import silent_guests, skipped_calls, slow_starts

Figures = dict[str, int | float | str]

# Boots that an exact interval of a median takes.
_EXACT_BOOTS = 6
# An interval wider than this share of the median to each side cannot show a change of that size.
_WIDE = 0.10
_SIGNIFICANT = 0.01
_DRIFT = 0.05
# The dip test has little power with fewer values.
_LEAST_FOR_DIP = 20
# A share of runs with a weak witness that is no reason to doubt the others.
_FEW_RUNS = 0.10
# Shares of all CPU time.
_FOREIGN = 0.05
_STOLEN = 0.01
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason to doubt a result, and what would settle it.

    The wording may change; `kind` and `figures` (the numbers in it) are for programs. Names carry
    their unit, times are in ns.
    """

    kind: str
    text: str
    settle: str
    figures: Figures

    @property
    def line(self) -> str:
        return f"doubt: {self.text}; {self.settle}"


@dataclass(frozen=True, slots=True)
class SideDoubt:
    """A doubt about one scenario on one side of a comparison."""

    side: str  # A or B
    scenario: str
    builds: str
    doubt: Doubt

    @property
    def line(self) -> str:
        return f"{self.side}, {self.scenario} on {self.builds}: {self.doubt.line}"


def doubts_of_sides(runs_a: Iterable[Run], runs_b: Iterable[Run]) -> tuple[SideDoubt, ...]:
    """Doubts about every scenario of a comparison, A's first."""
    found = []
    for side, runs in (("A", runs_a), ("B", runs_b)):
        cells: dict[tuple[str, str, str], list[Run]] = {}
        for run in runs:
            cells.setdefault((run.scenario, run.old_build, run.new_build), []).append(run)
        for (scenario, old, new), mine in cells.items():
            builds = old if old == new else f"{old} → {new}"
            found += [SideDoubt(side, scenario, builds, doubt) for doubt in doubts_of(mine)]
    return tuple(found)


def doubts_of(runs: Iterable[Run]) -> tuple[Doubt, ...]:
    """Doubts about the runs of one scenario on one pair of builds, in the order of measuring."""
    known = list(runs)
    valid = [run for run in known if run.outcome == "completed" and run.blackout_ns is not None]
    medians = boot_medians(valid)
    found = (
        _emulated(known),
        _failed(known),
        _few(medians),
        _wide(medians),
        _drift(medians),
        _two_kinds([run.blackout_ns for run in valid if run.blackout_ns is not None]),
        _noisy([run.host for run in valid]),
        _shared([run.host for run in valid]),
        _strangers([run.host for run in valid]),
        _close(valid),
        _silent(valid),
        _skipped(valid),
        _slow_start(valid),
    )
    return tuple(doubt for doubt in found if doubt is not None)


def _emulated(runs: Sequence[Run]) -> Doubt | None:
    emulated = sum(under_tcg(run.dimensions) for run in runs)
    if not emulated:
        return None
    return Doubt(
        "tcg",
        f"{emulated} of {len(runs)} runs were measured under TCG, whose blackouts are not "
        "those of KVM",
        "`pausebench doctor` shows whether KVM can be used",
        {"emulated": emulated, "runs": len(runs)},
    )


def _failed(runs: Sequence[Run]) -> Doubt | None:
    failed = sum(run.outcome == "failed" for run in runs)
    if not failed:
        return None
    return Doubt(
        "failed",
        f"{failed} of {len(runs)} runs failed and are in no figure; they may be the slow ones",
        "`pausebench show` prints the reason of each",
        {"failed": failed, "runs": len(runs)},
    )


def _few(medians: Sequence[int]) -> Doubt | None:
    if not medians or len(medians) >= _EXACT_BOOTS:
        return None
    if len(medians) < LEAST_BOOTS:
        boots = "one boot is" if len(medians) == 1 else f"{len(medians)} boots are"
        text = f"{boots} too few for an interval"
    else:
        text = f"the interval over {len(medians)} boots assumes a distribution"
    return Doubt(
        "few-boots",
        text,
        f"--boots {_EXACT_BOOTS} gives one that assumes none",
        {"boots": len(medians), "boots_needed": _EXACT_BOOTS},
    )


def _wide(medians: Sequence[int]) -> Doubt | None:
    bounds, _ = interval_over_boots(medians)
    middle = median_ns(medians)
    if bounds is None or not middle:
        return None
    reach = (bounds[1] - bounds[0]) / 2 / middle
    if reach <= _WIDE:
        return None
    # The width falls with the root of the number of boots.
    boots = max(_EXACT_BOOTS, math.ceil(len(medians) * (reach / _WIDE) ** 2))
    return Doubt(
        "wide",
        f"the interval is ± {reach * 100:.0f} % wide: it hides smaller changes",
        f"about --boots {boots} would do for {_WIDE * 100:.0f} %"
        if boots <= MOST_BOOTS
        else f"{_WIDE * 100:.0f} % cannot be resolved on this host as it is",
        {"reach_percent": reach * 100, "boots_needed": boots, "wanted_percent": _WIDE * 100},
    )


def _drift(medians: Sequence[int]) -> Doubt | None:
    """Kendall's rank correlation of boot medians with their order, exact for few boots."""
    if len(medians) < _EXACT_BOOTS:
        return None
    from scipy.stats import kendalltau, theilslopes

    order = list(range(len(medians)))
    if not kendalltau(order, medians).pvalue <= _SIGNIFICANT:
        return None
    slope = float(theilslopes([float(m) for m in medians], order)[0])
    grown = slope * (len(medians) - 1) / median(medians)
    if abs(grown) < _DRIFT:
        return None
    return Doubt(
        "drift",
        f"the blackout drifted by {grown * 100:+.0f} % from the first boot to the last",
        "let the host settle and measure again; compare builds interleaved, with `compare`",
        {"drift_percent": grown * 100},
    )


def _two_kinds(blackouts: Sequence[int]) -> Doubt | None:
    """Hartigan's dip test: a single median misrepresents two kinds of update."""
    if len(blackouts) < _LEAST_FOR_DIP:
        return None
    import numpy as np
    from diptest import diptest

    _, p = diptest(np.array(blackouts, dtype=np.float64))
    if p > _SIGNIFICANT:
        return None
    return Doubt(
        "two-kinds",
        f"the blackouts fall into two groups or more (dip test, p {p:.2g})",
        "compare one of each with `pausebench show`, and see the report's run order",
        {"p": float(p)},
    )


def _noisy(hosts: Sequence[HostState]) -> Doubt | None:
    """Load of other processes and steal, as shares of all CPU time during the updates."""
    known = [h for h in hosts if h.window_ns and h.cpus and h.foreign_ns is not None]
    if not known:
        return None
    total = sum((h.window_ns or 0) * (h.cpus or 1) for h in known)
    foreign = sum(h.foreign_ns or 0 for h in known) / total
    stolen = sum(h.steal_ns for h in known) / total
    if foreign <= _FOREIGN and stolen <= _STOLEN:
        return None
    parts = []
    if foreign > _FOREIGN:
        parts.append(f"other processes used {foreign * 100:.0f} % of the CPUs")
    if stolen > _STOLEN:
        parts.append(f"the hypervisor stole {stolen * 100:.1f} % of the CPU time")
    return Doubt(
        "noisy-host",
        " and ".join(parts),
        "measure on a quiet host",
        {"foreign_percent": foreign * 100, "stolen_percent": stolen * 100},
    )


def _shared(hosts: Sequence[HostState]) -> Doubt | None:
    """Other sessions that measured on the host at the same time."""
    names = dict.fromkeys(name for host in hosts for name in host.others)
    if not names:
        return None
    shared = sum(bool(host.others) for host in hosts)
    return Doubt(
        "shared-host",
        f"in {shared} of {len(hosts)} runs another session measured on this host: "
        f"{_some(list(names))}",
        "measure without --share, which waits for the other",
        {"shared": shared, "runs": len(hosts)},
    )


def _strangers(hosts: Sequence[HostState]) -> Doubt | None:
    """Processes of the probed binaries that are not of this session."""
    pids = dict.fromkeys(pid for host in hosts for pid in host.strangers)
    if not pids:
        return None
    beside = sum(bool(host.strangers) for host in hosts)
    return Doubt(
        "probed-strangers",
        f"in {beside} of {len(hosts)} runs other processes ran the probed binary "
        f"(pid {_some([str(pid) for pid in pids])}): the probes sit in it, count none of their "
        "events, and slow each of their calls to a probed function",
        "measure a copy of the binary: --build copy=PATH",
        {"beside": beside, "runs": len(hosts), "processes": len(pids)},
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _close(runs: Sequence[Run]) -> Doubt | None:
    """Witnesses that barely agree: they differ by more than half of the tolerance."""
    close = 0
    for run in runs:
        blackout = run.blackout_ns or 0
        inner = [v for v in (run.witnesses.uprobe, run.witnesses.qmp) if v is not None]
        over = max((value - blackout for value in inner), default=-TOLERANCE_NS)
        short = blackout - run.guest_gap_ns if run.guest_gap_ns is not None else -TOLERANCE_NS
        # A guest whose clock freezes sees its pause no better than to its logging threshold.
        if run.guest_clock == "freezes":
            short = -TOLERANCE_NS
        close += max(over, short) > TOLERANCE_NS // 2
    if not close:
        return None
    return Doubt(
        "close-witnesses",
        f"in {close} of {len(runs)} runs a witness used more than half of its tolerance "
        f"({TOLERANCE_NS // 1000} µs)",
        "`pausebench calibrate` shows whether the probes are right on this host",
        {"close": close, "runs": len(runs), "tolerance_ns": TOLERANCE_NS},
    )


def _silent(runs: Sequence[Run]) -> Doubt | None:
    silent = silent_guests(runs)
    if silent <= _FEW_RUNS * len(runs):
        return None
    return Doubt(
        "guest-silent",
        f"in {silent} of {len(runs)} runs the guest did not testify: nothing checks their "
        "blackouts from inside",
        "`pausebench show` prints the warnings of a run",
        {"silent": silent, "runs": len(runs)},
    )


def _skipped(runs: Sequence[Run]) -> Doubt | None:
    calls = skipped_calls(runs)
    if len(calls) <= _FEW_RUNS * len(runs):
        return None
    return Doubt(
        "probes-skipped",
        f"in {len(calls)} of {len(runs)} runs the kernel skipped probe calls, up to "
        f"{max(calls):,} in one: entries and exits of the guest may be among them",
        "stop other tracing on the host; `pausebench calibrate` shows whether the probes are right",
        {"skipped": len(calls), "runs": len(runs), "most_calls": max(calls)},
    )


def _slow_start(runs: Sequence[Run]) -> Doubt | None:
    """First progress far above the usual, by the longest one."""
    slow = slow_starts(runs)
    if not slow:
        return None
    worst = max(slow, key=lambda start: start.progress_ns)
    return Doubt(
        "slow-start",
        f"in {len(slow)} of {len(runs)} runs the guest's first beat came late after its first "
        f"entry, up to {worst.progress_ns / 1e6:.2f} ms where {worst.usual_ns / 1e6:.2f} ms are "
        "usual: their blackouts may be too short by as much",
        "see the worst of them with `pausebench show`, and measure on a quiet host",
        {
            "slow": len(slow),
            "runs": len(runs),
            "longest_ns": worst.progress_ns,
            "usual_ns": worst.usual_ns,
        },
    )
