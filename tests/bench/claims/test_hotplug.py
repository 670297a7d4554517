"""Names and ids after hot-plug and unplug, on real guests of the system's build."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bench.claims.hotplug import matching_pages, pattern
from bench.claims.hotplug_cases import KINDS, cases
from results.claims.hotplug import ANSWER
from results.store.store import open_store

WHAT = {kind.name: kind.what for kind in KINDS}

pytestmark = [pytest.mark.qemu, pytest.mark.kvm, pytest.mark.bpf]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every case once."""
    out = tmp_path_factory.mktemp("hotplug")
    words = ("claims", "--claim", "12", "--build", "system", "--no-lab", "--json")
    argv = [sys.executable, "-m", "bench", *words, "--store", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 3), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["store"] = out
    found["status"] = done.returncode
    return found


def of_test(document: dict[str, Any], text: str) -> dict[str, Any]:
    return next(f for f in document["findings"] if text in f["test"])


def test_every_case_has_a_stored_run(document: dict[str, Any]) -> None:
    tests = {f["test"]: f for f in document["findings"]}
    with open_store(document["store"], create=False) as store:
        for case in cases():
            found = tests[case.test]
            assert found["evidence"], found
            seen = store.run(found["evidence"][0]).plugging
            assert seen is not None
            assert len(seen.plugged) >= 2


@pytest.mark.parametrize("kind", ["dimm", "dimm-memfd", "backend"])
def test_memory_of_the_second_survives(document: dict[str, Any], kind: str) -> None:
    found = of_test(
        document, f"{WHAT[kind]}: two plugged, the first unplugged, new QEMU with only the s"
    )
    assert found["found"] == "shown", found
    assert "2048 of 2048 pages kept (2048 in the same frames)" in found["detail"]
    assert "old dropped one 0" in found["detail"]


@pytest.mark.parametrize("kind", ["net-norom", "blk", "port"])
def test_devices_without_memory_survive(document: dict[str, Any], kind: str) -> None:
    found = of_test(
        document, f"{WHAT[kind]}: two plugged, the first unplugged, new QEMU with only the s"
    )
    assert found["found"] == "shown", found


def test_another_id_for_memory_is_refused_and_old_keeps_running(document: dict[str, Any]) -> None:
    found = of_test(document, f"{WHAT['dimm']}: the second has another id")
    assert found["found"] == "shown", found
    assert found["quote"]
    with open_store(document["store"], create=False) as store:
        seen = store.run(found["evidence"][0]).plugging
    assert seen is not None
    assert seen.beats


def test_the_answer_decides_the_claim(document: dict[str, Any]) -> None:
    (row,) = document["claims"]
    found = of_test(document, ANSWER)
    assert row["verdict"] == found["found"]
    assert document["status"] == (3 if found["found"] == "refuted" else 0)
    assert row["evidence"]


def test_changed_pages_are_counted() -> None:
    full = pattern(1)
    assert matching_pages(full, full) == 2048
    assert matching_pages(b"\1" + full[1:], full) == 2047
    assert matching_pages(pattern(2), full) == 0
    assert matching_pages(full[:4096], full) == 0
