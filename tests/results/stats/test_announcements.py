"""What is announced stays on record: provisional, confirmed, withdrawn."""

from __future__ import annotations

import numpy as np
import pytest

from results.stats.announcements import FIRST_NIGHTS, announcements


def nights(seed, count, noise=0.03):
    return 4.0 * np.exp(np.random.default_rng(seed).normal(0.0, noise, count))


def stepped(seed, before=30, after=30, percent=30.0):
    values = nights(seed, before + after)
    values[before:] *= 1.0 + percent / 100.0
    return values


def confirmed(values):
    return [each for each in announcements(values.tolist()) if each.state == "confirmed"]


@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_provisional_until_three_nights_have_seen_it(seed):
    values = stepped(seed).tolist()
    (change,) = confirmed(stepped(seed))
    assert change.at == 30
    assert change.found_on >= 31  # a level has at least three nights, but its start is found later
    assert change.confirmed_on >= change.found_on + 2
    assert change.percent == pytest.approx(30, abs=6)
    for night in range(change.found_on, change.confirmed_on):
        (early,) = [e for e in announcements(values[: night + 1]) if e.found_on == change.found_on]
        assert early.state == "provisional"
        assert early.found == night - change.found_on + 1


@pytest.mark.parametrize("seed", range(5))
def test_night_by_night_is_as_all_at_once(seed):
    """As the store keeps it: what is known goes on, whatever number of nights comes at a time."""
    values = stepped(seed, percent=10.0)
    values[45:] *= 0.8
    values = values.tolist()
    known, seen = (), 0
    for count in (3, 8, 29, 33, 34, 35, 50, 60):
        known = announcements(values[:count], known, seen)
        seen = count
    assert known == announcements(values)
    assert announcements(values, known, 60) == known


def test_what_was_announced_is_never_removed():
    """Whatever comes later: what stood on the page once stays on it, with its last state."""
    random = np.random.default_rng(2)
    for _ in range(20):
        values = stepped(int(random.integers(1 << 30)), 20, 40, random.choice([5.0, 10.0]))
        values[random.integers(60, size=4)] *= random.choice([0.5, 2.0], 4)
        known, counts = (), []
        for count in range(1, 61):
            now = announcements(values[:count].tolist(), known, count - 1)
            assert [each.found_on for each in now[: len(known)]] == [e.found_on for e in known]
            for old, new in zip(known, now, strict=False):
                if old.confirmed_on is not None:
                    assert new.confirmed_on == old.confirmed_on
                if old.withdrawn_on is not None:
                    assert new == old
            known = now
            counts.append(len(now))
        assert counts == sorted(counts)


def test_what_three_nights_no_longer_find_is_withdrawn():
    values = nights(4, 60)
    values[30:35] *= 1.25
    found = announcements(values.tolist())
    assert any(each.at == 30 for each in found)
    values = nights(4, 60)
    values[30:33] *= 1.12
    seen = announcements(values[:33].tolist())
    later = announcements(values.tolist())
    for each in seen:
        kept = next(one for one in later if one.found_on == each.found_on)
        assert kept.state in ("withdrawn", "confirmed")


def drifting(seed):
    """A drift of 1 % a week from the 41st of 140 nights on."""
    values = nights(seed, 140)
    values[40:] *= 1.01 ** (np.arange(1, 101) / 7.0)
    return announcements(values.tolist())


@pytest.mark.parametrize("seed", [6, 28])
def test_a_drift_is_called_one(seed):
    (drift,) = [each for each in drifting(seed) if each.state == "confirmed"]
    assert (drift.kind, drift.until, drift.rises) == ("drift", 139, True)
    assert drift.percent == pytest.approx(15, abs=4)


def test_a_drift_takes_back_the_step_it_looked_like():
    step, drift = drifting(28)
    assert (step.kind, step.state, step.became) == ("step", "withdrawn", "drift")
    assert step.confirmed_on is not None
    assert step.withdrawn_on == drift.confirmed_on


@pytest.mark.parametrize("values", [[], [4.0] * (FIRST_NIGHTS - 1), [4.0] * 40, [0.0] * 9])
def test_nothing_to_announce(values):
    assert announcements(values) == ()
