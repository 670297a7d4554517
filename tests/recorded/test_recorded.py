"""What an earlier version said of recorded sessions is what this one says of them.

`stores.tar.xz` holds stores that an earlier version recorded on real guests: every mode, VFIO in
the lab, streams of a Linux guest, plugged devices, refusals, upgrades, calibration, and recordings
that were broken on purpose afterwards. Host names, paths and kernel command lines are scrubbed.
`expected.tar.xz` holds that version's answers (outputs.py), taken after that.

Fields may be added. Sentences may be reworded, so they are compared by their key: the code where
there is one, and the figures. An answer that changed on purpose stands in `changes.json` with its
reason; `python tests/recorded/test_recorded.py "REASON"` adds what differs now, to be read before
it is committed.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHANGES = HERE / "changes.json"
STORES = (
    "allclaims", "broken", "budget", "builds", "calibrate", "compare", "modes", "overhead",
    "sweep", "transfer", "vfio",
)  # fmt: skip
GONE = "(gone)"
# Fields that hold sentences, wherever they stand.
SENTENCES = frozenset({
    "reason", "disagreements", "warnings", "troubles", "text", "settle", "sentence", "notes",
    "certificates", "complaint", "changed", "doubts",
})  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def unpack(archive: str, target: Path) -> None:
    """Unpack one of the archives; raw evidence is compressed as a store keeps it."""
    with tarfile.open(HERE / archive) as tar:
        tar.extractall(target)  # ours; `filter` came with Python 3.11.4
    for path in target.glob("*/raw/*/*.json"):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), 1, mtime=0))
        path.unlink()


def answers(directory: Path) -> dict[str, Any]:
    """Store → command line → answer, of a directory of outputs."""
    return {store: json.loads((directory / f"{store}.json").read_text()) for store in STORES}


def answers_now(scratch: Path) -> dict[str, Any]:
    unpack("stores.tar.xz", scratch / "stores")
    script = str(HERE / "outputs.py")
    argv = [sys.executable, script, str(scratch / "stores"), str(scratch / "now")]
    subprocess.run(argv, cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT)})
    return answers(scratch / "now")


def key(sentence: str) -> tuple[str, ...]:
    """What stays of a sentence when it is worded otherwise: its figures."""
    return tuple(sorted(_NUMBER.findall(sentence)))


def differences(was: Any, now: Any, path: str, field: str = "") -> dict[str, Any]:
    """Path → the answer now, wherever it is not the answer of then."""
    if isinstance(was, dict) and isinstance(now, dict):
        found = {}
        for name, value in was.items():
            found |= differences(value, now.get(name, GONE), f"{path}.{name}", name)
        return found
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        found = {}
        for at, (one, other) in enumerate(zip(was, now, strict=True)):
            found |= differences(one, other, f"{path}[{at}]", field)
        return found
    if json.dumps(was) == json.dumps(now):  # 5 is not 5.0
        return {}
    if (
        field in SENTENCES
        and isinstance(was, str)
        and isinstance(now, str)
        and key(was) == key(now)
    ):
        return {}
    return {path: now}


def changed_on_purpose() -> dict[str, Any]:
    """Path → new answer of every change recorded with its reason; later ones win."""
    merged: dict[str, Any] = {}
    for change in json.loads(CHANGES.read_text()) if CHANGES.exists() else []:
        assert change["reason"]
        merged |= change["answers"]
    return merged


@pytest.fixture(scope="module")
def then(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("then")
    unpack("expected.tar.xz", scratch)
    return answers(scratch)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers_now(tmp_path_factory.mktemp("now"))


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_recorded_sessions_give_the_answers_of_then(store, then, now):
    assert len(then[store]) > 3
    found = differences(then[store], now[store], store)
    accepted = {p: v for p, v in changed_on_purpose().items() if p.startswith(f"{store}.")}
    new = {path: value for path, value in found.items() if accepted.get(path, GONE) != value}
    stale = sorted(accepted.keys() - found.keys())
    assert (list(new.items())[:5], stale[:5]) == ([], [])


def test_a_number_that_changed_is_a_difference():
    was = {"runs": [{"blackout_ns": 5, "reason": "3 pages changed"}], "status": 0}
    assert differences(was, json.loads(json.dumps(was)), "s") == {}
    worded = {"runs": [{"blackout_ns": 5, "reason": "pages changed: 3", "more": 1}], "status": 0}
    assert differences(was, worded, "s") == {}
    other = {"runs": [{"blackout_ns": 6, "reason": "4 pages changed"}], "status": 0}
    assert differences(was, other, "s") == {
        "s.runs[0].blackout_ns": 6,
        "s.runs[0].reason": "4 pages changed",
    }
    assert differences(was, {"runs": []}, "s") == {"s.runs": [], "s.status": GONE}


def accept(reason: str) -> None:
    """Add to changes.json what differs now and is not there yet."""
    with tempfile.TemporaryDirectory() as scratch:
        unpack("expected.tar.xz", Path(scratch, "then"))
        was, is_now = answers(Path(scratch, "then")), answers_now(Path(scratch))
    found = {k: v for s in STORES for k, v in differences(was[s], is_now[s], s).items()}
    known = changed_on_purpose()
    new = {k: v for k, v in found.items() if known.get(k, GONE) != v}
    changes = json.loads(CHANGES.read_text()) if CHANGES.exists() else []
    for change in changes:
        change["answers"] = {k: v for k, v in change["answers"].items() if k in found}
    if new:
        changes.append({"reason": reason, "answers": new})
    kept = [change for change in changes if change["answers"]]
    CHANGES.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(new)} answers added")


if __name__ == "__main__":
    accept(sys.argv[1])
