"""All modes of update interleaved in one session: does cpr-transfer have the least pause?"""

from __future__ import annotations

import random
from dataclasses import replace

from bench.measurement.experiment import Experiment
from bench.measurement.scenarios import BUILTIN, find_scenario, on_common_machine, resolve
from bench.measurement.schedule import Trial
from results.claims.catalogue import Finding, Found, pair_name
from results.claims.mode_ranking import LEAST_BOOTS, REFERENCE, Least, ModePause, least_pause
from results.qemu.modes import known_modes, lacks, named
from results.records.modes import MODES, PROMISES
from results.records.run import Run
from results.records.scenario import Build, Mode, Scenario

_FOUND: dict[Least, Found] = {
    "shown": "shown",
    "refuted": "refuted",
    "undecided": "not testable",
}


# These may transfer only device state in the blackout: 3 ms against 50 to 500 of the others.
SHORT: tuple[Mode, ...] = ("cpr-transfer", "postcopy", "precopy")
_BOOTS_OF_SHORT = 2


async def measure_modes(
    experiment: Experiment,
    old_build: Build,
    new_build: Build,
    boots: int,
    updates: int,
    seed: int,
    scenario: Scenario | None = None,
) -> list[Finding]:
    """Measure every mode that both builds have, in a new order each round, and judge claim 1.

    A Finding of topic `mode` for each mode, and one of topic `claim` over all of them. There are
    never fewer boots than LEAST_BOOTS, which would decide nothing. An upgrade, and a mode with a
    long pause, gets one update per boot.
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
            _prefix(found.least) + found.detail,
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
    """Boots of all modes interleaved, so that a drift of the host affects all modes alike.

    `scenario` is the guest, on a machine type that both builds have; None: anon on such a one.
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
    round_ = [(s, n) for s in scenarios for n in range(_per_round(s.mode, upgrade=upgrade))]
    for boot in range(1, max(boots, LEAST_BOOTS) + 1):
        order.shuffle(round_)
        trials += [
            Trial(
                each,
                old_build,
                new_build,
                (boot - 1) * _per_round(each.mode, upgrade=upgrade) + number + 1,
                updates if each.mode in SHORT and not upgrade else 1,
                _cell(each, old_build, new_build),
            )
            for each, number in round_
        ]
    return tuple(trials)


def _per_round(mode: Mode, *, upgrade: bool) -> int:
    """Boots of a mode in each round: more where pauses are short and close to each other.

    An upgrade gets no more: modes are distinguished by the updates of each build to itself.
    """
    return _BOOTS_OF_SHORT if mode in SHORT and not upgrade else 1


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
    prefix = "" if pause.mode == REFERENCE else _prefix(pause.least)
    found: Found = "shown" if pause.mode == REFERENCE else _FOUND[pause.least]
    return Finding(
        "mode", 0, label, f"{pause.mode}: {about}", found, prefix + pause.detail, evidence
    )


def _suffix(pause: ModePause) -> str:
    return "" if pause.mode == REFERENCE else pause.mode


def _prefix(least: Least) -> str:
    """A Finding cannot be undecided: it is `not testable`, and its text is more precise."""
    return "undecided: " if least == "undecided" else ""
