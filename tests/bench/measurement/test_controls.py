"""The controls are caught by the real checks, and reveal a check that sees nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bench.measurement.controls
from bench.measurement.controls import run_controls
from results.errors import HostUnfit
from results.judgement.proof import CONTROLS, judge_proof
from results.records.evidence import Accounts, Control, Evidence, Frames, Proof, SameFile
from results.records.scenario import MIB, Scenario

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="page frames are shown to root only")

SCENARIO = Scenario("anon", "anon")


def caught(controls: tuple[Control, ...]) -> dict[str, bool]:
    return {control.name: control.caught for control in controls}


def by(controls: tuple[Control, ...], name: str) -> str:
    return next(control.by for control in controls if control.name == name)


def proof(controls: tuple[Control, ...]) -> Proof:
    """Of a transfer in which everything else held."""
    own = {"RssAnon": 11 * MIB}
    evidence = Evidence(
        frames=Frames(pages=1, compared=1, old_address=1, new_address=2),
        files=(SameFile("ram0", 0, 3, 4, True),),
        accounts=(Accounts("resumed", {"old": own, "new": own}),),
        controls=controls,
    )
    return judge_proof(evidence, SCENARIO)


@pytest.fixture(scope="module")
def sound() -> tuple[Control, ...]:
    return run_controls()


def test_all_four_are_caught(sound: tuple[Control, ...]) -> None:
    assert caught(sound) == dict.fromkeys(CONTROLS, True)
    assert proof(sound).verdict == "held"


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("private copy", ("RAM in place: 512 of 512 pages", "first page 0x0 ", "frame 0x")),
        ("replaced page", ("RAM in place: 1 of 512 pages", "first page 0x100 ", "0x100000")),
        ("swapped descriptor", ("descriptors: another open file", "control id 0")),
        ("pins let go", ("pins: VmPin of the holder is 0 KiB at `resumed`", "2048 KiB")),
    ],
)
def test_each_is_caught_by_its_own_check(
    sound: tuple[Control, ...], name: str, evidence: tuple[str, ...]
) -> None:
    for words in evidence:
        assert words in by(sound, name)


def test_they_leave_no_process_behind(sound: tuple[Control, ...]) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    argvs = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
    assert not [
        argv for argv in argvs if b"runners.pins.tampered_mapping" in argv or b"pinholder" in argv
    ]


def blind_frames(*args: Any) -> Frames:
    real: Frames = REAL_COMPARE(*args)
    return replace(real, differing=0, first=())


def blind_kcmp(*args: Any) -> SameFile:
    return SameFile("control", 0, 3, 3, True)


def blind_accounts(point: Any, pids: dict[str, int]) -> Accounts:
    return Accounts(point, {"holder": {"VmPin": 2 * MIB}}, {}, 512)


REAL_COMPARE = bench.measurement.controls.compare_views


@pytest.mark.parametrize(
    ("check", "blind", "slipped"),
    [
        ("compare_views", blind_frames, ["private copy", "replaced page"]),
        ("compare_descriptor", blind_kcmp, ["swapped descriptor"]),
        ("read_accounts", blind_accounts, ["pins let go"]),
    ],
)
def test_a_blind_check_misses_its_controls_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, check: str, blind: Callable[..., Any], slipped: list[str]
) -> None:
    monkeypatch.setattr(bench.measurement.controls, check, blind)
    controls = run_controls()
    assert caught(controls) == {name: name not in slipped for name in CONTROLS}
    assert (proof(controls).verdict, proof(controls).reason) == (
        "unproven",
        f"control not caught: {', '.join(slipped)}",
    )


def test_a_check_that_always_fails_catches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calling everything broken would catch every control; the faultless case must pass too."""

    def paranoid(*args: Any) -> Frames:
        return replace(REAL_COMPARE(*args), differing=1, first=((7, 1, 2),))

    monkeypatch.setattr(bench.measurement.controls, "compare_views", paranoid)
    controls = run_controls()
    assert not caught(controls)["private copy"]
    assert "the same check fails without the fault" in by(controls, "private copy")


def test_a_page_that_the_kernel_moved_once_does_not_fail_a_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Frames] = []

    def compacted(*args: Any) -> Frames:
        seen: Frames = REAL_COMPARE(*args)
        looks.append(seen)
        return replace(seen, differing=1, first=((7, 1, 2),)) if len(looks) == 1 else seen

    monkeypatch.setattr(bench.measurement.controls, "compare_views", compacted)
    controls = run_controls()
    assert caught(controls) == dict.fromkeys(CONTROLS, True)
    assert len(looks) == 6, "the first control was carried out twice"


def test_a_check_of_some_pages_only_misses_the_replaced_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hasty(units: Any, unit: int, touched: int, old: Any, new: Any) -> Frames:
        def half(view: Any) -> Any:
            return replace(view, frames=view.frames[:200])

        return REAL_COMPARE(units[:200], unit, 200, half(old), half(new))

    monkeypatch.setattr(bench.measurement.controls, "compare_views", hasty)
    controls = run_controls()
    assert caught(controls)["private copy"]
    assert not caught(controls)["replaced page"]


def test_a_control_that_cannot_run_has_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any) -> None:
        raise HostUnfit("guest RAM could not be pinned: io_uring is disabled")

    monkeypatch.setattr(bench.measurement.controls, "PinHolder", refuse)
    monkeypatch.setattr(
        bench.measurement.controls.sys, "executable", "/bin/true"
    )  # a double that just ends
    controls = run_controls()
    assert caught(controls) == dict.fromkeys(CONTROLS, False)
    assert "could not be carried out" in by(controls, "private copy")
    assert "io_uring is disabled" in by(controls, "pins let go")
    assert proof(controls).verdict == "unproven"


def test_hidden_frames_miss_the_controls_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hidden(*args: Any) -> None:
        raise PermissionError("the kernel hides page frames: CAP_SYS_ADMIN is needed")

    monkeypatch.setattr("bench.measurement.evidence.read_frames", hidden)
    controls = run_controls()
    assert [name for name, was in caught(controls).items() if not was] == [
        "private copy",
        "replaced page",
    ]
    assert "CAP_SYS_ADMIN" in by(controls, "private copy")
