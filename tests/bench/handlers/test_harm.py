"""Exit statuses on real guests whose RAM is changed, or whose QEMU is killed, during the update."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.handlers import overhead
from bench.measurement import experiment
from results.records.harm import harm_of
from results.records.scenario import Build
from results.store.store import open_store
from runners.qemu.guest import Guest
from runners.qemu.process import Qemu
from runners.transfer.handover import Hooks, Transferred, update_guest

pytestmark = [pytest.mark.kvm, pytest.mark.qemu, pytest.mark.bpf, pytest.mark.slow]

QEMU = "/usr/bin/qemu-system-x86_64"
PAIR = ("compare", f"good={QEMU}", f"bad={QEMU}", "anon", "--boots", "6", "--updates", "1")
SMALL = ("--ram", "64M", "--accel", "kvm")

Harm = Callable[[Guest, Qemu], None]


def change_ram(guest: Guest, new: Qemu) -> None:
    page = guest.memory.plan.first_page + 3
    guest.memory.words[page * 1024 + 512] ^= 1


def kill(guest: Guest, new: Qemu) -> None:
    new.process.kill()


@pytest.fixture
def harming(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Harm the guest in the first `times` updates to builds with one of these labels."""

    def make(harm: Harm, times: int, *labels: str) -> None:
        left = [harm] * times

        async def update(guest: Guest, build: Build, hooks: Hooks, **options: Any) -> Transferred:
            def resumed(old: Qemu, new: Qemu) -> None:
                hooks.resumed(old, new)
                if left and build.label in labels:
                    left.pop()(guest, new)

            return await update_guest(guest, build, replace(hooks, resumed=resumed), **options)

        monkeypatch.setattr(experiment, "update_guest", update)

    return make


@pytest.mark.parametrize(
    ("harm", "label", "status", "bisect"),
    [
        (change_ram, "bad", 3, 1),
        (change_ram, "good", 3, 125),
        (kill, "bad", 1, 1),
        (kill, "good", 0, 125),  # noted; the three boots of A that are left decide nothing
    ],
)
def test_compare_by_what_happened_to_guests(
    harm: Harm,
    label: str,
    status: int,
    bisect: int,
    harming: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harming(harm, 3, label)
    # Two builds that are the same may differ by chance: only a change of twice the time counts.
    words = (*PAIR, *SMALL, "--relative", "100", "--store", str(tmp_path))
    assert main([*words, "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    (cell,) = document["cells"]
    side = cell["failures_a" if label == "good" else "failures_b"]
    kind = "damaged_boots" if harm is change_ram else "lost_boots"
    assert (side[kind], side["total_boots"], document["exit_code"]) == (3, 6, status)
    with open_store(tmp_path, create=False) as store:
        session = store.session_ids()[-1]
        assert store.session_end(session).exit_code == status
    stored = ("compare", "--stored", f"{session}:good", f"{session}:bad", "--relative", "100")
    assert main([*stored, "--store", str(tmp_path), "--bisect"]) == bisect
    assert f"guest {kind.split('_')[0]}: A" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("run", "anon", "--boots", "2", "--updates", "1"),
        ("matrix", "system", "again=system", "--boots", "1"),
        ("sweep", "vcpus", "--values", "1", "2", "3", "--updates", "1", "--no-precopy"),
        ("calibrate", "anon", "--kind", "main", "--level", "1", "--boots", "1", "--rounds", "8"),
        ("overhead", "anon", "--boots", "1", "--updates", "1"),
    ],
    ids=lambda words: words[0],
)
def test_one_damaged_guest_is_never_exit_status_0(
    words: tuple[str, ...],
    harming: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So few boots judge no overhead, which is exit status 3 too: here damage alone is.
    monkeypatch.setattr(overhead, "boots_needed", lambda: 1)
    monkeypatch.setattr(overhead, "_NOT_JUDGED", 0)
    harming(change_ram, 1, "system")
    assert main([*words, *SMALL, "--store", str(tmp_path)]) == 3
    assert "of guest RAM changed" in " ".join(capsys.readouterr().out.split())
    with open_store(tmp_path, create=False) as store:
        session = store.session_ids()[-1]
        harms = [harm_of(run) for run in store.runs(session=session)]
        assert harms.count("damage") == 1
        assert store.session_end(session).exit_code == 3


def test_a_matrix_in_which_a_guest_is_lost(
    harming: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harming(kill, 1, "system")
    words = ("matrix", "system", "again=system", "--boots", "1", *SMALL, "--store", str(tmp_path))
    assert main([*words]) == 3
    assert "loses guest [1]" in capsys.readouterr().out
