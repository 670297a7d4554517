"""`pausebench matrix` on real guests: the system's build to itself, under two labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli import main
from results.store.store import open_store
from runners.builds.discover import default_build

WORDS = ["matrix", "system", "again=system", "--boots", "1", "--ram", "64M"]
TRIES = 4  # a busy host may spoil a measurement of a guest that came through whole


@pytest.mark.bpf
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("accel", [pytest.param("kvm", marks=pytest.mark.kvm), "tcg"])
def test_every_pair_has_its_blackout(
    accel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(TRIES):
        assert main([*WORDS, "--accel", accel, "--store", str(tmp_path), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        if all(cell["valid"] for cell in document["cells"]):
            break
    assert document["exit_code"] == 0
    version = default_build().version
    assert document["builds"] == [
        {"label": "system", "version": version},
        {"label": "again", "version": version},
    ]
    pairs = [(old, new) for old in ("system", "again") for new in ("system", "again")]
    assert [(cell["old"], cell["new"]) for cell in document["cells"]] == pairs
    for cell in document["cells"]:
        assert (cell["runs"], cell["valid"], cell["reason"]) == (1, 1, "")
        assert cell["blackout_ns"] > 0
    with open_store(tmp_path, create=False) as store:
        runs = store.runs(session=document["session"])
        assert sorted((run.old_build, run.new_build) for run in runs) == sorted(pairs)
        assert {run.id.split(".")[1] for run in runs} == {f"anon+{a}-to-{b}" for a, b in pairs}
        assert store.session_end(document["session"]).exit_code == 0


@pytest.mark.bpf
@pytest.mark.qemu
@pytest.mark.slow
def test_the_table_names_both_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--accel", "tcg", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "system" in out
    assert "again" in out
    assert str(tmp_path) in out  # where it is kept
