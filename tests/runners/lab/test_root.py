"""The lab's root in the cache: selection, protection while in use, and deletion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from results.errors import HostUnfit
from runners.lab import recipe, root
from runners.lab.modules import has_iommufd
from runners.lab.root import LabRoot, clean, current_root, in_use, python_pins, roots, run_tool


@pytest.fixture
def make_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(tmp_path))

    def make(key: str, **changes: object) -> Path:
        place = tmp_path / ".lab" / key
        (place / "root").mkdir(parents=True)
        record = {
            "key": key,
            "kernel": "7.3.4",
            "kernel_package": "7.3.4-1",
            "qemu": "11.1.3",
            "python": "3.13",
            "recipe": recipe.VERSION,
            "python_packages": list(python_pins()),
            "made": f"2026-11-25T00:00:0{len(roots())}Z",
        }
        (place / "lab.json").write_text(json.dumps(record | changes))
        return place

    return make


def test_the_newest_matching_root_is_current(make_root: Callable[..., Path]) -> None:
    assert current_root() is None
    make_root("first")
    make_root("second")
    make_root("other-recipe", recipe=recipe.VERSION + 1)
    make_root("other-python", python_packages=["numpy==0"])
    (make_root("broken") / "lab.json").write_text("{")
    found = current_root()
    assert found is not None
    assert found.key == "second"
    assert len(roots()) == 4


def test_a_root_in_use_is_not_deleted(make_root: Callable[..., Path]) -> None:
    used, idle = make_root("used"), make_root("idle")
    held = next(r for r in roots() if r.key == "used")
    with in_use(held):
        assert [r.key for r in clean()] == ["used"]
    assert used.is_dir()
    assert not idle.exists()
    assert clean() == []
    assert not used.parent.exists()


def test_iommufd_is_detected_by_its_module(make_root: Callable[..., Path]) -> None:
    make_root("one")
    found = current_root()
    assert found is not None
    assert not has_iommufd(found)
    updates = found.tree / "usr/lib/modules/7.3.4/updates"
    updates.mkdir(parents=True)
    (updates / "iommufd.ko").touch()
    assert has_iommufd(found)


def test_a_failed_step_is_reported_with_its_output() -> None:
    with pytest.raises(HostUnfit, match="building the lab failed: sh: no such luck"):
        run_tool(["sh", "-c", "echo no such luck >&2; exit 1"])
    with pytest.raises(HostUnfit, match="no-such-program"):
        run_tool(["no-such-program"])


def test_programs_of_the_root_run_with_its_own_loader() -> None:
    made = LabRoot(Path("/c/k"), "k", "7.3.4", "7.3.4-1", "11", "3.13", 1, (), "")
    argv = made.program("usr/bin/kmod", "-b", "x", as_name="depmod")
    assert argv[0] == "/c/k/root/usr/lib64/ld-linux-x86-64.so.2"
    assert argv[1:3] == ["--argv0", "depmod"]
    assert argv[-3:] == ["/c/k/root/usr/bin/kmod", "-b", "x"]


def test_building_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root.os, "geteuid", lambda: 1000)
    with pytest.raises(HostUnfit, match="run it with sudo"):
        root.build_root(print)
