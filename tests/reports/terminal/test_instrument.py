"""The pages of calibration and of overhead: figures, verdicts and what a command refuses."""

from __future__ import annotations

import pytest

from bench.cli import main
from reports.terminal.calibration import calibration_page
from reports.terminal.overhead import effect_page
from reports.terminal.style import Look
from results.instrument.calibration import Shot, calibrate
from results.instrument.certificates import SCHEMA, Certificate
from results.instrument.overhead import Watched, observer_effect


def certificate(**fields) -> Certificate:
    return Certificate(SCHEMA, "box", "6.12", "system", "abc", "10.0.2", **fields)


def shots(slope: float) -> list[Shot]:
    return [
        Shot(f"r{n}", "anon on kvm", "old", asked, asked, round(80_000 + slope * asked),
             4_000_000 + asked, 4_200_000 + asked)
        for asked in (0, 5_000_000)
        for n in range(4)
    ]  # fmt: skip


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "passed: recovered"), (1.1, "FAILED:")])
def test_calibration_says_what_was_recovered(slope, verdict):
    made = certificate(calibration=calibrate(shots(slope), {"run failed: gone": 2}))
    text = calibration_page(made, "out/certificates/x.json", Look(width=100)).plain
    assert verdict in text
    assert "anon on kvm: old QEMU stopped by SIGSTOP" in text
    assert f"{5 * slope:.2f}" in text
    assert ("off by +500" in text) == (slope != 1.0)
    assert "2 shots lost: run failed: gone" in text


@pytest.mark.parametrize(("cost", "words"), [(0, "within the goal"), (400_000, "beyond the goal")])
def test_overhead_says_whether_the_goal_is_kept(cost, words):
    boots = [
        Watched("anon on kvm", tier, number, 4_000_000 + extra + number, 90_000_000)
        for number in range(1, 13)
        for tier, extra in (("none", 0), ("default", cost))
    ]
    made = certificate(effect=observer_effect(boots, lost=1))
    text = effect_page(made, "x.json", Look(width=120)).plain
    assert words in text
    assert "1 boots are left out" in text


@pytest.mark.parametrize("level", ["0", "-1", "x", "1e9", "nan"])
def test_a_length_that_is_none_is_refused_in_one_line(level, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", f"--level={level}", "--store", str(tmp_path / "o")])
    assert ended.value.code == 2
    assert "no length of a pause" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
