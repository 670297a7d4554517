"""Builds of a nightly job: the newest of a directory, and a suite fetched once a day."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from results.errors import BuildUnfit, UsageError
from results.records.scenario import Build
from runners.builds import catalogue, nightly
from runners.builds.catalogue import list_builds
from runners.builds.nightly import resolve_nightly_build

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
def lines():
    return []


@pytest.fixture
def examined(monkeypatch):
    """Names that were examined as builds, in order; those that start with `bad` are refused."""
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
    """Create entries in a directory, each modified an hour after the previous one."""
    for hour, name in enumerate(names):
        (directory / name).mkdir(parents=True)
        os.utime(directory / name, (hour * 3600, hour * 3600))


# --- newest:DIRECTORY -------------------------------------------------------------------------


def test_the_entry_modified_last_is_chosen(tmp_path, examined, lines):
    entries(tmp_path / "builds", "c-first", "b-last")
    os.utime(tmp_path / "builds/c-first", (9 * 3600, 9 * 3600))
    build = resolve_nightly_build("newest:builds", "next", "20260307", tmp_path, lines.append)
    assert (build.label, build.binary) == ("next", str(tmp_path / "builds/c-first"))
    assert examined == ["c-first"]
    assert lines == ["next is c-first, QEMU 11.1.3"]


def test_unusable_entries_are_reported_and_skipped(tmp_path, examined, lines):
    entries(tmp_path / "builds", "oldest", "good", "bad-half-copied", ".being-copied")
    build = resolve_nightly_build("newest:builds", "next", "20260307", tmp_path, lines.append)
    assert Path(build.binary).name == "good"
    assert examined == ["bad-half-copied", "good"]
    assert lines[0].startswith("skipping bad-half-copied: ")


def test_the_number_of_tried_entries_is_limited(tmp_path, examined, lines):
    entries(tmp_path / "builds", "good", *(f"bad-{number}" for number in range(10)))
    with pytest.raises(BuildUnfit, match="none of the newest entries"):
        resolve_nightly_build("newest:builds", "next", "20260307", tmp_path, lines.append)
    assert examined == [f"bad-{number}" for number in reversed(range(10))]


def test_an_empty_directory_is_refused(tmp_path, examined, lines):
    (tmp_path / "builds").mkdir()
    with pytest.raises(BuildUnfit, match="none of the newest entries"):
        resolve_nightly_build(
            f"newest:{tmp_path}/builds", "next", "20260307", Path("/"), lines.append
        )


def test_a_missing_directory_is_refused(tmp_path, examined, lines):
    with pytest.raises(UsageError, match=r"cannot list .*builds: No such file"):
        resolve_nightly_build("newest:builds", "next", "20260307", tmp_path, lines.append)


# --- debian:SUITE -----------------------------------------------------------------------------


@pytest.fixture
def unpacked(monkeypatch, examined):
    """Suites that were downloaded, in order."""
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


def test_a_suite_is_fetched_once_a_day(tmp_path, unpacked, lines):
    for _ in range(2):
        build = resolve_nightly_build("debian:sid", "next", "20260307", tmp_path, lines.append)
        assert build.label == "next"
    assert unpacked == ["sid"]
    assert labels() == ["sid.20260307"]


def test_the_last_three_daily_builds_of_a_suite_are_kept(tmp_path, cache, unpacked, lines):
    for day in range(1, 6):
        resolve_nightly_build("debian:sid", "next", f"2026030{day}", tmp_path, lines.append)
    assert unpacked == ["sid"] * 5
    assert labels() == ["sid.20260303", "sid.20260304", "sid.20260305"]
    assert not (cache / "sid.20260302").exists()


def test_builds_with_other_labels_are_not_removed(tmp_path, unpacked, lines):
    catalogue.add("debian:sid", "sid", lines.append)
    catalogue.add("debian:sid", "sid.mine", lines.append)
    catalogue.add("debian:sid", "old-sid.20250101", lines.append)
    for day in range(1, 6):
        resolve_nightly_build("debian:trixie", "old", f"2026030{day}", tmp_path, lines.append)
    for day in range(1, 5):
        resolve_nightly_build("debian:sid", "next", f"2026030{day}", tmp_path, lines.append)
    assert labels() == [
        *("old-sid.20250101", "sid", "sid.20260302", "sid.20260303", "sid.20260304", "sid.mine"),
        *("trixie.20260303", "trixie.20260304", "trixie.20260305"),
    ]


def test_a_build_of_an_earlier_day_is_not_removed_at_once(tmp_path, unpacked, lines):
    for day in (3, 4, 5, 1):  # a host whose clock was set back
        build = resolve_nightly_build("debian:sid", "next", f"2026030{day}", tmp_path, lines.append)
    assert Path(build.binary).is_dir()
    assert labels() == ["sid.20260301", "sid.20260303", "sid.20260304", "sid.20260305"]


# --- other names ------------------------------------------------------------------------------


def test_a_path_is_relative_to_the_configuration(tmp_path, examined, lines):
    build = resolve_nightly_build("./qemu", "next", "20260307", tmp_path, lines.append)
    assert (build.label, build.binary) == ("next", str(tmp_path / "qemu"))


def test_a_build_of_the_catalogue_gets_the_label_of_the_job(tmp_path, unpacked, lines):
    catalogue.add("debian:sid", "stable", lines.append)
    build = resolve_nightly_build("stable", "old", "20260307", tmp_path, lines.append)
    assert build.label == "old"
    assert Path(build.binary) == tmp_path / "cache/stable/tree"
