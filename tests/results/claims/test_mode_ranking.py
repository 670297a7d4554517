"""Whether cpr-transfer has the least pause: runs of several modes, some of them failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.claims.mode_ranking import LEAST_BOOTS, least_pause

MS = 1_000_000


@pytest.fixture
def runs_of(make_run):
    """One run a boot: the blackouts in ms, and how much longer the guest's gap is."""

    def make(mode, blackouts, gap=0.2, **fields):
        suffix = "" if mode == "cpr-transfer" else f" mode={mode}"
        return [
            make_run(
                boot=boot,
                scenario=f"anon@{mode}",
                dimensions=f"vcpus=2{suffix}",
                blackout_ns=round(ms * MS),
                guest_gap_ns=round((ms + gap) * MS),
                handover_ns=round((ms + 40) * MS),
                **fields,
            )
            for boot, ms in enumerate(blackouts, 1)
        ]

    return make


OURS = (4.0, 4.1, 4.2, 4.3, 4.4)
LONGER = (80, 82, 84, 86, 88)


def by_mode(found):
    return {pause.mode: pause for pause in found.modes}


def test_shown_against_each_longer_mode_and_all(runs_of):
    runs = [
        *runs_of("precopy", LONGER),
        *runs_of("cpr-transfer", OURS),
        *runs_of("snapshot", LONGER),
    ]
    found = least_pause(runs)
    assert found.least == "shown"
    assert [pause.mode for pause in found.modes] == ["cpr-transfer", "precopy", "snapshot"]
    precopy = by_mode(found)["precopy"]
    assert (precopy.least, precopy.valid, precopy.failed, precopy.boots) == ("shown", 5, 0, 5)
    assert (precopy.blackout_ns, precopy.guest_gap_ns) == (84 * MS, 84 * MS + MS // 5)
    assert precopy.handover_ns == 124 * MS
    assert precopy.interval_ns is not None
    assert "blackout +79.8 ms [" in precopy.detail
    assert "downtime-limit" in precopy.detail
    assert found.detail == "median blackout: cpr-transfer 4.2 ms, precopy 84 ms, snapshot 84 ms"


def test_refuted_by_one_mode_that_is_shorter(runs_of):
    runs = [
        *runs_of("cpr-transfer", OURS),
        *runs_of("snapshot", LONGER),
        *runs_of("postcopy", (1.0, 1.1, 1.2, 1.3, 1.4)),
    ]
    found = least_pause(runs)
    assert {m: p.least for m, p in by_mode(found).items()} == {
        "cpr-transfer": "refuted",
        "snapshot": "shown",
        "postcopy": "refuted",
    }
    assert "refuted against postcopy" in found.detail


def test_undecided_when_the_pauses_do_not_differ(runs_of):
    runs = [*runs_of("cpr-transfer", OURS), *runs_of("postcopy", (3.9, 4.0, 4.6, 4.2, 4.5))]
    found = least_pause(runs)
    assert (found.least, by_mode(found)["postcopy"].least) == ("undecided", "undecided")


def test_a_longer_blackout_shows_nothing_if_the_guest_gap_contradicts_it(runs_of):
    runs = [*runs_of("cpr-transfer", OURS, gap=90), *runs_of("precopy", LONGER)]
    assert least_pause(runs).least == "undecided"


def test_too_few_boots_decide_nothing(runs_of):
    runs = [*runs_of("cpr-transfer", OURS[:3]), *runs_of("precopy", LONGER[:3])]
    found = by_mode(least_pause(runs))["precopy"]
    assert found.least == "undecided"
    assert "fewer than 4 boots" in found.detail


def test_the_fewest_boots_suffice_for_six_modes_of_which_one_is_longer(runs_of):
    alike = ["postcopy", "precopy-multifd", "cpr-exec", "cpr-reboot", "snapshot"]
    runs = [*runs_of("cpr-transfer", OURS[:LEAST_BOOTS]), *runs_of("precopy", LONGER[:LEAST_BOOTS])]
    runs += [run for mode in alike for run in runs_of(mode, OURS[:LEAST_BOOTS])]
    assert by_mode(least_pause(runs))["precopy"].least == "shown"


def test_a_failed_run_is_counted_and_enters_no_figure(runs_of):
    precopy = runs_of("precopy", LONGER)
    broken = replace(precopy[0], update=2, outcome="failed", blackout_ns=1, guest_gap_ns=1)
    runs = [*runs_of("cpr-transfer", OURS), *precopy]
    sound, found = (by_mode(least_pause(r))["precopy"] for r in (runs, [*runs, broken]))
    assert (found.valid, found.failed) == (5, 1)
    assert (found.blackout_ns, found.guest_gap_ns) == (sound.blackout_ns, sound.guest_gap_ns)
    assert "1 failed" in found.detail


def test_a_mode_that_always_fails_decides_nothing_and_gives_the_reason(runs_of):
    failed = runs_of("postcopy", OURS, outcome="failed", reason="Userfaultfd not available")
    found = least_pause([*runs_of("cpr-transfer", OURS), *failed])
    postcopy = by_mode(found)["postcopy"]
    assert (found.least, postcopy.least, postcopy.blackout_ns) == ("undecided", "undecided", None)
    assert postcopy.detail == "5 of 5 runs failed: Userfaultfd not available"


def test_nothing_measured_is_undecided(runs_of):
    assert least_pause([]).least == "undecided"
    assert least_pause(runs_of("precopy", LONGER)).least == "undecided"
