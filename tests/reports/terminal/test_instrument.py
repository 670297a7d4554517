"""The pages of calibrate and overhead: figures, verdicts and refused arguments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import main
from reports.terminal.calibration import calibration_page
from reports.terminal.overhead import effect_page
from reports.terminal.style import Look
from results.instrument.calibration import calibrate
from results.instrument.certificates import SCHEMA, Certificate
from results.instrument.overhead import TierBoot, observer_effect
from results.instrument.shots import LostShot, Shot

FILE = Path("out/certificates/x.json")


def certificate(**fields) -> Certificate:
    return Certificate(SCHEMA, "box", "6.12", "system", "abc", "10.0.2", **fields)


def shots(slope: float, count: int = 20) -> list[Shot]:
    return [
        Shot(f"r{n}", "anon on kvm", "old", asked, asked, round(80_000 + slope * asked),
             4_000_000 + asked, 4_200_000 + asked, 3_900_000 + asked)
        for asked in (0, 5_000_000)
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "passed: recovered"), (1.1, "FAILED:")])
def test_calibration_says_what_was_recovered(slope, verdict):
    gone = [LostShot("anon on kvm", "old", 5_000_000, "run failed: gone")] * 2
    made = certificate(calibration=calibrate(shots(slope), gone))
    text = calibration_page(made, FILE, Look(width=100)).plain
    assert verdict in text
    assert "anon on kvm: old QEMU stopped by SIGSTOP" in text
    assert f"{5 * slope:.2f}" in text
    assert ("off by +500" in text) == (slope != 1.0)
    assert "2 lost: run failed: gone" in text
    assert f"certificate: {FILE}" in text


def test_calibration_says_what_bounds_a_constant_offset():
    made = certificate(calibration=calibrate(shots(1.0)))
    text = " ".join(calibration_page(made, FILE, Look(width=100)).plain.split())
    assert "A constant offset of every blackout cancels out above." in text
    assert "too short: at most 0.200 ms, by the guest's own gap around the blackout" in text
    assert "too long: at most 0.100 ms, by QEMU's own functions inside it (uprobes)" in text
    bare = calibrate([replace(s, guest_gap_ns=None, uprobe_ns=None) for s in shots(1.0)])
    text = " ".join(calibration_page(certificate(calibration=bare), FILE, Look()).plain.split())
    assert "too short: not bounded, as the guest did not testify" in text


def test_a_calibration_that_cannot_be_judged_claims_nothing():
    text = calibration_page(certificate(calibration=calibrate(shots(1.0, 2))), None, Look()).plain
    assert "NOT JUDGED: nothing was measured that could be checked" in text
    assert "× injected" not in text
    assert "no certificate was stored" in text
    assert "too few to check the whole blackout" in " ".join(text.split())


@pytest.mark.parametrize(("cost", "words"), [(0, "within the goal"), (400_000, "beyond the goal")])
def test_overhead_says_whether_the_goal_is_met(cost, words):
    boots = [
        TierBoot("anon on kvm", tier, number, 4_000_000 + extra + number, 90_000_000)
        for number in range(1, 13)
        for tier, extra in (("none", 0), ("default", cost))
    ]
    made = certificate(effect=observer_effect(boots, lost=1))
    text = effect_page(made, FILE, Look(width=120)).plain
    assert words in text
    assert "1 boots are left out" in text


def test_an_overhead_without_an_interval_is_not_stored():
    boots = [
        TierBoot("anon on kvm", tier, number, 4_000_000, 90_000_000)
        for number in range(1, 4)
        for tier in ("none", "default")
    ]
    text = effect_page(certificate(effect=observer_effect(boots)), None, Look(width=120)).plain
    assert "NOT JUDGED: too few boots gave a value; nothing was stored" in text


@pytest.mark.parametrize("level", ["0", "-1", "x", "1e9", "nan"])
def test_an_invalid_length_of_pause_is_refused_in_one_line(level, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", f"--level={level}", "--store", str(tmp_path / "o")])
    assert ended.value.code == 2
    assert "invalid pause" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
