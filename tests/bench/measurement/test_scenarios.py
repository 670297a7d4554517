"""Scenarios: the built-in ones, and those of valid and invalid TOML files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from bench.measurement.scenarios import BUILTIN, changed, find_scenario, load_scenarios
from results.errors import UsageError
from results.records.scenario import GIB, MIB, Backend, Scenario
from runners.qemu.command_line import check_scenario


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- the named ones -------------------------------------------------------------------------------


def test_there_is_a_scenario_for_every_backend() -> None:
    names = [s.id for s in BUILTIN]
    assert names[:5] == ["anon", "memfd", "shm", "hugetlb-2m", "hugetlbfs"]
    assert len(set(names)) == len(names)
    assert {s.backend for s in BUILTIN} == set(get_args(Backend))
    for scenario in BUILTIN:
        assert scenario.about
        named = replace(scenario, devices="0000:01:00.0" if scenario.vfio else "")
        check_scenario(named, memory_bytes=GIB, cpus=1)


def test_devices_are_for_vfio_scenarios_only() -> None:
    vfio = find_scenario("vfio-type1", BUILTIN)
    with pytest.raises(
        UsageError, match=r"choose the PCI device to assign, e.g. --device 0000:01:00\.0"
    ):
        check_scenario(vfio, memory_bytes=GIB, cpus=1)
    with pytest.raises(UsageError, match="under TCG old QEMU crashes"):
        check_scenario(replace(vfio, devices="0000:01:00.0", accel="tcg"), memory_bytes=GIB, cpus=1)
    many = ",".join(f"0000:{bus:02x}:00.0" for bus in range(9))
    with pytest.raises(UsageError, match="9 devices: use at most 8"):
        check_scenario(replace(vfio, devices=many), memory_bytes=GIB, cpus=1)
    anon = replace(find_scenario("anon", BUILTIN), devices="0000:01:00.0")
    with pytest.raises(UsageError, match="assigns no device"):
        check_scenario(anon, memory_bytes=GIB, cpus=1)


def test_scenario_is_found_by_its_name() -> None:
    assert find_scenario("shm", BUILTIN).backend == "shm"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("memfb", "did you mean `memfd`?"),
        ("hugetlb", "did you mean `hugetlb"),
        ("Anon", "did you mean `anon`?"),
        ("xyz", "known: anon, memfd, shm, hugetlb-2m, hugetlbfs"),
        ("", "known: anon"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_scenario(name, BUILTIN)
    assert str(caught.value).startswith(f"unknown scenario `{name}`; ")
    assert hint in str(caught.value)
    assert "pausebench list" in str(caught.value)


def test_only_requested_fields_are_changed() -> None:
    anon = BUILTIN[0]
    assert changed(anon, {"vcpus": None, "ram_bytes": None}) == anon
    assert changed(anon, {"vcpus": 4, "mem_lock": None}) == replace(anon, vcpus=4)
    assert changed(anon, {"mem_lock": False}) == anon
    assert changed(anon, {"touched": 0.0}).touched == 0.0


# -- a TOML file ----------------------------------------------------------------------------------


def test_scenario_like_a_built_in_one_changes_only_what_differs(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [scenario.big]
        like = "hugetlb-2m"
        about = "Größer"
        ram = "8G"
        touched = 1
        vcpus = 4

        [scenario."pc-10.0"]
        like = "anon"
        machine = "pc-q35-10.0"
        return_path = true
        """,
    )
    big, pc = load_scenarios(path)
    assert big == Scenario(
        "big", "hugetlb-memfd", "Größer", ram_bytes=8 * GIB, touched=1.0, vcpus=4
    )
    assert isinstance(big.touched, float)
    expected = replace(BUILTIN[0], id="pc-10.0", machine="pc-q35-10.0", return_path=True)
    assert pc == expected
    assert find_scenario("big", (*BUILTIN, big, pc)) == big


def test_a_scenario_without_like_starts_from_the_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[scenario.mine]\nbackend = "shm"\nram_bytes = 67108864\naccel = "tcg"\n'
    )
    assert load_scenarios(path) == (Scenario("mine", "shm", ram_bytes=64 * MIB, accel="tcg"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "expected tables [scenario.NAME]", id="empty"),
        pytest.param("[scenario]\n", "expected tables [scenario.NAME]", id="no-scenario"),
        pytest.param("scenario = 3\n", "expected tables [scenario.NAME]", id="number"),
        pytest.param(
            '[[scenario]]\nlike = "anon"\n', "expected tables [scenario.NAME]", id="array"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\n[run]\nboots = 3\n', "[scenario.NAME] only", id="more"
        ),
        pytest.param("[scenario.a\n", "cannot be read as TOML", id="syntax"),
        pytest.param("[scenario]\na = 3\n", "[scenario.a]: expected a table", id="no-table"),
        pytest.param(
            "[scenario.a]\nvcpus = 2\n", "[scenario.a]: needs `like`", id="neither-like-nor-backend"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nvpcus = 2\n', "unknown key `vpcus`", id="unknown-key"
        ),
        pytest.param('[scenario.a]\nlike = "anon"\nid = "b"\n', "unknown key `id`", id="id"),
        pytest.param(
            '[scenario.a]\nbackend = "file"\n', "backend must be one of anon, memfd", id="backend"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\naccel = "xen"\n',
            "accel must be one of auto, kvm",
            id="accel",
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nvcpus = "2"\n', "vcpus must be int, not '2'", id="text"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nvcpus = 2.0\n', "vcpus must be int, not 2.0", id="float"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nvcpus = true\n', "vcpus must be int, not True", id="bool"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nmem_lock = 1\n', "mem_lock must be bool, not 1", id="lock"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\ntouched = "all"\n', "touched must be float", id="touched"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nmachine = 35\n', "machine must be str", id="machine"
        ),
        pytest.param(
            '[scenario."A b"]\nlike = "anon"\n', "[scenario.A b]: a name has lower-case", id="name"
        ),
        pytest.param(
            f'[scenario.{"a" * 65}]\nlike = "anon"\n', "a name has lower-case", id="long-name"
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\ntouched = true\n',
            "touched must be float, not True",
            id="touched-bool",
        ),
        pytest.param(
            '[scenario.a]\nlike = "anon"\nram = "1X"\n',
            "ram: invalid size `1X`",
            id="ram",
        ),
        pytest.param(
            '[scenario.anon]\nlike = "memfd"\n',
            "[scenario.anon]: is a built-in scenario; choose another name",
            id="built-in",
        ),
        pytest.param(
            '[scenario.a]\nlike = "anom"\n',
            "like: unknown scenario `anom`; did you mean `anon`?",
            id="like",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_file_and_key(
    tmp_path: Path, text: str, words: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_scenarios(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert words in said
    assert "\n" not in said


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml: cannot be read as TOML: .*No such file"):
        load_scenarios(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_scenarios(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.toml: cannot be read as TOML"):
        load_scenarios(binary)
