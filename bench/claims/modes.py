"""All modes of update in turns in one session: has cpr-transfer the least guest pause?"""

from __future__ import annotations

import random
from dataclasses import replace

from bench.measurement.experiment import Experiment
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding, Found, pair_name
from results.claims.mode_ranking import LEAST_BOOTS, REFERENCE, Least, ModePause, least_pause
from results.qemu.modes import MODES, PROMISES, known_modes, lacks, named
from results.records.run import Run
from results.records.scenario import Build, Mode, Scenario

_FOUND: dict[Least, Found] = {
    "shown": "shown",
    "refuted": "refuted",
    "undecided": "not testable",
}


# What these carry in the blackout may be device state alone: 3 ms against 50 to 500 of others.
SHORT: tuple[Mode, ...] = ("cpr-transfer", "postcopy", "precopy")
_MORE = 2


async def measure_modes(
    experiment: Experiment,
    old_build: Build,
    new_build: Build,
    boots: int,
    updates: int,
    seed: int,
    scenario: Scenario | None = None,
) -> list[Finding]:
    """Measure every mode that both builds know, in a fresh order each round, and judge claim 1.

    A Finding of topic `mode` for each mode, and one of topic `claim` over all of them. Fewer boots
    than LEAST_BOOTS would decide nothing, so there are never fewer; of an upgrade only a boot's
    first update is one, and modes of long pauses need no more either.
    """
    runs = await experiment.run(plan(old_build, new_build, boots, updates, seed, scenario))
    label = pair_name(old_build.label, new_build.label)
    found = least_pause(runs)
    findings = []
    for mode in MODES:
        pause = next((p for p in found.modes if p.mode == mode), None)
        if pause is None:
            why = lacks(old_build, mode) or lacks(new_build, mode)
            findings.append(Finding("mode", 0, label, mode, "not testable", why))
        else:
            findings.append(_of_mode(pause, label, runs))
    findings.append(
        Finding(
            "claim",
            1,
            label,
            "the pause of every mode against cpr-transfer",
            _FOUND[found.least],
            _said(found.least) + found.detail,
            tuple(run.id for run in runs),
        )
    )
    return findings


def plan(
    old_build: Build,
    new_build: Build,
    boots: int,
    updates: int,
    seed: int,
    scenario: Scenario | None = None,
) -> tuple[Trial, ...]:
    """Boots of all modes in turns, so that a host that drifts drifts through all alike.

    `scenario` is the guest, on a machine that both builds know; None: anon on one of those.
    """
    upgrade = old_build.label != new_build.label
    if scenario is None:
        anon = find_scenario("anon", BUILTIN)
        (scenario,), _ = on_common_machine([anon], (old_build, new_build), None)
    scenarios = [
        resolve(named(replace(scenario, mode=mode))) for mode in known_modes(old_build, new_build)
    ]
    order = random.Random(seed)  # noqa: S311 - a schedule, stored to be repeated
    trials: list[Trial] = []
    turns = [(s, turn) for s in scenarios for turn in range(_turns(s.mode, upgrade=upgrade))]
    for boot in range(1, max(boots, LEAST_BOOTS) + 1):
        order.shuffle(turns)
        trials += [
            Trial(
                each,
                old_build,
                new_build,
                (boot - 1) * _turns(each.mode, upgrade=upgrade) + turn + 1,
                updates if each.mode in SHORT and not upgrade else 1,
                _cell(each, old_build, new_build),
            )
            for each, turn in turns
        ]
    return tuple(trials)


def _turns(mode: Mode, *, upgrade: bool) -> int:
    """Boots of a mode in each round: more where pauses are so short that they lie close.

    Not of an upgrade: it is the builds that are compared with themselves that tell modes apart.
    """
    return _MORE if mode in SHORT and not upgrade else 1


def _cell(scenario: Scenario, old: Build, new: Build) -> str:
    return "+".join(dict.fromkeys((scenario.id, old.label, new.label)))


def _of_mode(pause: ModePause, label: str, runs: list[Run]) -> Finding:
    cells = {run.id for run in runs if run.scenario.partition("@")[2] == _suffix(pause)}
    evidence = tuple(run.id for run in runs if run.id in cells)
    about = PROMISES[pause.mode].about
    if not pause.valid:
        return Finding(
            "mode", 0, label, f"{pause.mode}: {about}", "not testable", pause.detail, evidence,
            quote=pause.reason,
        )  # fmt: skip
    against = "" if pause.mode == REFERENCE else _said(pause.least)
    found: Found = "shown" if pause.mode == REFERENCE else _FOUND[pause.least]
    return Finding(
        "mode", 0, label, f"{pause.mode}: {about}", found, against + pause.detail, evidence
    )


def _suffix(pause: ModePause) -> str:
    return "" if pause.mode == REFERENCE else pause.mode


def _said(least: Least) -> str:
    """What a Finding's words leave open: undecided is a result too."""
    return "undecided: " if least == "undecided" else ""
