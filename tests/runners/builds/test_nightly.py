"""What a build of a nightly job means tonight: the newest of a directory, a suite of the day."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from results.errors import BuildUnfit, UsageError
from results.records.scenario import Build
from runners.builds import catalogue, nightly
from runners.builds.catalogue import list_builds
from runners.builds.nightly import build_of_tonight

BUILD = Build(
    label="",
    binary="/opt/qemu",
    version="11.1.3 (Debian 1:11.1.3+ds-1)",
    build_id="ab12",
    sha256="5ha",
    launcher=("/opt/qemu",),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def told():
    return []


@pytest.fixture
def looked_at(monkeypatch):
    """Names that were looked into as builds, in order; one that begins with `bad` is none."""
    names = []

    def discover(path, label=""):
        names.append(Path(path).name)
        if names[-1].startswith("bad"):
            raise BuildUnfit(f"{path}: holds no QEMU")
        return replace(BUILD, label=label, binary=str(path))

    monkeypatch.setattr(nightly, "discover", discover)
    monkeypatch.setattr(catalogue, "discover", discover)
    return names


def entries(directory, *names):
    """Entries of a directory, changed an hour after one another."""
    for hour, name in enumerate(names):
        (directory / name).mkdir(parents=True)
        os.utime(directory / name, (hour * 3600, hour * 3600))


# --- newest:DIRECTORY -------------------------------------------------------------------------


def test_the_entry_changed_last_is_the_build_of_tonight(tmp_path, looked_at, told):
    entries(tmp_path / "builds", "c-first", "b-last")
    os.utime(tmp_path / "builds/c-first", (9 * 3600, 9 * 3600))
    build = build_of_tonight("newest:builds", "next", "20260307", tmp_path, told.append)
    assert (build.label, build.binary) == ("next", str(tmp_path / "builds/c-first"))
    assert looked_at == ["c-first"]
    assert told == ["next is c-first, QEMU 11.1.3"]


def test_what_is_no_build_is_told_and_passed_over_for_the_next(tmp_path, looked_at, told):
    entries(tmp_path / "builds", "oldest", "good", "bad-half-copied", ".being-copied")
    build = build_of_tonight("newest:builds", "next", "20260307", tmp_path, told.append)
    assert Path(build.binary).name == "good"
    assert looked_at == ["bad-half-copied", "good"]
    assert told[0].startswith("bad-half-copied is passed over: ")


def test_only_so_many_are_tried(tmp_path, looked_at, told):
    entries(tmp_path / "builds", "good", *(f"bad-{number}" for number in range(10)))
    with pytest.raises(BuildUnfit, match="none of the newest entries"):
        build_of_tonight("newest:builds", "next", "20260307", tmp_path, told.append)
    assert looked_at == [f"bad-{number}" for number in reversed(range(10))]


def test_an_empty_directory_holds_no_build(tmp_path, looked_at, told):
    (tmp_path / "builds").mkdir()
    with pytest.raises(BuildUnfit, match="none of the newest entries"):
        build_of_tonight(f"newest:{tmp_path}/builds", "next", "20260307", Path("/"), told.append)


def test_a_directory_that_is_not_there(tmp_path, looked_at, told):
    with pytest.raises(UsageError, match=r"cannot look into .*builds: No such file"):
        build_of_tonight("newest:builds", "next", "20260307", tmp_path, told.append)


# --- debian:SUITE -----------------------------------------------------------------------------


@pytest.fixture
def unpacked(monkeypatch, looked_at):
    """Suites that were fetched, in order."""
    suites = []

    def unpack(suite, tree, work, packages, progress):
        suites.append(suite.name)
        tree.mkdir(parents=True)
        packages.mkdir(exist_ok=True)
        return "1:11.1.3+ds-1"

    monkeypatch.setattr(catalogue, "unpack", unpack)
    return suites


def labels():
    return [entry.label for entry in list_builds()]


def test_a_suite_is_fetched_once_a_day(tmp_path, unpacked, told):
    for _ in range(2):
        build = build_of_tonight("debian:sid", "next", "20260307", tmp_path, told.append)
        assert build.label == "next"
    assert unpacked == ["sid"]
    assert labels() == ["sid.20260307"]


def test_the_last_three_days_of_a_suite_are_kept(tmp_path, cache, unpacked, told):
    for day in range(1, 6):
        build_of_tonight("debian:sid", "next", f"2026030{day}", tmp_path, told.append)
    assert unpacked == ["sid"] * 5
    assert labels() == ["sid.20260303", "sid.20260304", "sid.20260305"]
    assert not (cache / "sid.20260302").exists()


def test_builds_of_another_name_are_not_forgotten(tmp_path, unpacked, told):
    catalogue.add("debian:sid", "sid", told.append)
    catalogue.add("debian:sid", "sid.mine", told.append)
    catalogue.add("debian:sid", "old-sid.20250101", told.append)
    for day in range(1, 6):
        build_of_tonight("debian:trixie", "old", f"2026030{day}", tmp_path, told.append)
    for day in range(1, 5):
        build_of_tonight("debian:sid", "next", f"2026030{day}", tmp_path, told.append)
    assert labels() == [
        *("old-sid.20250101", "sid", "sid.20260302", "sid.20260303", "sid.20260304", "sid.mine"),
        *("trixie.20260303", "trixie.20260304", "trixie.20260305"),
    ]


def test_a_night_before_the_kept_ones_keeps_its_own_build(tmp_path, unpacked, told):
    for day in (3, 4, 5, 1):  # a host whose clock was set back
        build = build_of_tonight("debian:sid", "next", f"2026030{day}", tmp_path, told.append)
    assert Path(build.binary).is_dir()
    assert labels() == ["sid.20260301", "sid.20260303", "sid.20260304", "sid.20260305"]


# --- other names ------------------------------------------------------------------------------


def test_a_path_is_relative_to_the_configuration(tmp_path, looked_at, told):
    build = build_of_tonight("./qemu", "next", "20260307", tmp_path, told.append)
    assert (build.label, build.binary) == ("next", str(tmp_path / "qemu"))


def test_a_label_of_the_catalogue_is_called_as_the_job_calls_it(tmp_path, unpacked, told):
    catalogue.add("debian:sid", "stable", told.append)
    build = build_of_tonight("stable", "old", "20260307", tmp_path, told.append)
    assert build.label == "old"
    assert Path(build.binary) == tmp_path / "cache/stable/tree"
