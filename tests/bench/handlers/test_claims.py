"""`pausebench claims` on real guests: verdicts with stored evidence, errors in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from results.claims.document import read_claims
from results.store.store import open_store

ROOT = Path(__file__).parents[3]


def pausebench(*words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == expect, done.stderr[-2000:]
    return done.stdout


def test_list_prints_all_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 24
    assert lines[0].startswith(" 1  least guest pause")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--claim", "13"], "there are 12 claims"),
        (["--claim", "0"], "not an integer from 1"),
        (["--build", "nowhere"], "nowhere"),
        (["--assigned-only"], "--assigned-only needs devices"),
        (["--assigned-only", "--device", "0000:01:00.0", "--claim", "1"], "leave out --claim"),
        (["--device", "0000:ff:1f.7", "--build", "system"], "no PCI device 0000:ff:1f.7"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        status = main(["claims", *words, "--store", str(tmp_path / "out")])
    except SystemExit as error:
        status = int(str(error.code))
    printed = capsys.readouterr().err
    assert (status, printed.count("\n")) == (2, 1)
    assert said in printed


def test_no_claims_are_stored_yet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with open_store(tmp_path):
        pass
    assert main(["claims", "--stored", "last", "--store", str(tmp_path)]) == 2
    assert "run `pausebench claims`" in capsys.readouterr().err


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_claims_that_show_in_transfers(tmp_path: Path) -> None:
    """Claims that show in transfers hold on the system's build, with stored evidence."""
    chosen = [word for n in (2, 3, 4, 5, 9, 10, 11) for word in ("--claim", str(n))]
    words = ["claims", *chosen, "--build", "system", "--no-lab", "--updates", "1"]
    found = json.loads(pausebench(*words, "--json", "--store", str(tmp_path)))
    verdicts = {row["claim"]: row["verdict"] for row in found["claims"]}
    assert verdicts == dict.fromkeys((2, 3, 4, 5, 9, 10, 11), "shown"), found["findings"]
    assert {row["build"] for row in found["claims"]} == {"system"}
    with open_store(tmp_path, create=False) as store:
        for row in found["claims"]:
            assert row["evidence"]
            for run in row["evidence"]:
                store.run(run)
        document = read_claims(tmp_path, found["session"])
        assert document is not None
        assert document.exit_code == 0
    again = json.loads(pausebench("claims", "--stored", "last", "--json", "--store", str(tmp_path)))
    assert again == found
    page = tmp_path / "page.html"
    pausebench("report", found["session"], "--store", str(tmp_path), "-o", str(page))
    text = page.read_text()
    assert "Claims made for cpr-transfer" in text
    assert found["claims"][0]["evidence"][0] in text


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_without_time_nothing_is_tested(tmp_path: Path) -> None:
    words = [
        "claims",
        "--claim",
        "2",
        "--build",
        "system",
        "--limit",
        "1",
        "--store",
        str(tmp_path),
    ]
    found = json.loads(pausebench(*words, "--json"))
    assert found["claims"][0]["verdict"] == "not testable here: no time was left (raise --limit)"
    assert found["notes"]


@pytest.mark.qemu
@pytest.mark.kvm
@pytest.mark.bpf
def test_findings_before_an_interrupt_are_kept(tmp_path: Path) -> None:
    words = ("--claim", "2", "--claim", "12", "--build", "system", "--no-lab")
    argv = [sys.executable, "-m", "bench", "claims", *words, "--store", str(tmp_path)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "plain transfers" in line:  # has ended, and the next step is at work
                process.terminate()  # SIGINT may be ignored where tests run in the background
                break
        rest = process.stderr.read()
        assert process.wait(timeout=120) == 130, rest
    last = rest.strip().splitlines()[-1]
    assert re.match(r"pausebench: interrupted: \d+ updates, kept as session \S+ in ", last), last
    found = json.loads(pausebench("claims", "--stored", "last", "--json", "--store", str(tmp_path)))
    verdicts = {row["claim"]: row["verdict"] for row in found["claims"]}
    assert verdicts == {2: "shown", 12: "not testable here: it was not tested"}
    assert any(note.startswith("interrupted") for note in found["notes"])
