"""The catalogue of builds: adding is atomic, every form of argument resolves, and removal."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from results.errors import BuildUnfit, HostUnfit, RecordInvalid, UsageError
from results.records.scenario import Build
from runners.builds import cache, catalogue
from runners.builds.catalogue import add, find, list_builds, remove, resolve_build

BUILD = Build(
    label="qemu-11.1.3",
    binary="/opt/qemu/bin/qemu-system-x86_64",
    version="11.1.3 (Debian 1:11.1.3+ds-1)",
    build_id="ab12",
    sha256="5ha",
    launcher=("/opt/qemu/bin/qemu-system-x86_64",),
    missing_marks=("load",),
)
PACKAGE_VERSION = "1:11.1.3+ds-1"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    directory = tmp_path / "cache"
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(directory))
    return directory


@pytest.fixture
def fake(monkeypatch):
    """Stand-ins for downloading and examining builds."""

    class Fake:
        def __init__(self):
            self.unpacked: list[str] = []
            self.sha256 = BUILD.sha256
            self.trouble: BaseException | None = None

        def unpack(self, suite, tree, work, packages, progress):
            self.unpacked.append(suite.name)
            tree.mkdir(parents=True)
            (tree / "qemu").write_text("QEMU")
            packages.mkdir(exist_ok=True)
            (packages / "qemu.deb").write_text("fetched")
            progress("fetching")
            if self.trouble is not None:
                raise self.trouble
            return PACKAGE_VERSION

        def discover(self, path, label=""):
            if not Path(path).exists():
                raise BuildUnfit(f"{path}: no such file or directory")
            return replace(BUILD, label=label or BUILD.label, sha256=self.sha256)

    fake = Fake()
    monkeypatch.setattr(catalogue, "unpack", fake.unpack)
    monkeypatch.setattr(catalogue, "discover", fake.discover)
    monkeypatch.setattr(catalogue, "default_build", lambda: replace(BUILD, label="system"))
    return fake


def content(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()} - {".lock"}


# --- add --------------------------------------------------------------------------------------


def test_a_suite_is_unpacked_under_its_name(fake, place, capsys):
    entry = add("debian:trixie-backports")
    assert entry.label == "trixie-backports"
    assert entry.spec == "debian:trixie-backports"
    assert entry.path == str(place / "trixie-backports" / "tree")
    assert entry.package_version == PACKAGE_VERSION
    assert (entry.version, entry.build_id, entry.sha256) == (BUILD.version, "ab12", "5ha")
    assert entry.missing_marks == ("load",)
    assert (Path(entry.path) / "qemu").read_text() == "QEMU"
    assert content(place) == {"trixie-backports"}
    assert list_builds() == (entry,)
    assert find("trixie-backports") == entry
    said = capsys.readouterr()
    assert said.out == ""
    assert "added trixie-backports: QEMU 11.1.3" in said.err


def test_the_record_holds_spec_and_time(fake, place):
    add("debian:sid", "tonight")
    record = json.loads((place / "tonight" / "build.json").read_text())
    assert record["schema"] == cache.SCHEMA
    assert record["spec"] == "debian:sid"
    assert record["added"].endswith("+00:00")
    assert "path" not in record  # relative to the cache, which may move


def test_a_cache_that_was_moved_stays_valid(fake, place, monkeypatch):
    add("debian:sid")
    place.rename(place.with_name("moved"))
    monkeypatch.setenv("PAUSEBENCH_CACHE", str(place.with_name("moved")))
    assert find("sid").path == str(place.with_name("moved") / "sid" / "tree")


def test_a_path_is_added_by_reference(fake, place, tmp_path, monkeypatch):
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    entry = add("build")
    assert (entry.label, entry.spec) == ("qemu-11.1.3", str(tmp_path / "build"))
    assert entry.path == entry.spec
    assert not entry.unpacked
    assert [path.name for path in (place / "qemu-11.1.3").iterdir()] == ["build.json"]
    remove("qemu-11.1.3")
    assert (tmp_path / "build").exists()
    assert content(place) == set()


def test_a_path_added_again_is_examined_again(fake, place, tmp_path):
    add(str(tmp_path), "mine")
    fake.sha256 = "other"
    add(str(tmp_path), "mine")
    assert find("mine").sha256 == "other"
    assert content(place) == {"mine"}


def test_an_existing_suite_is_not_fetched_again(fake):
    first = add("debian:sid")
    lines = []
    assert add("debian:sid", progress=lines.append) == first
    assert fake.unpacked == ["sid"]
    assert "sid already exists" in lines[0]
    assert "build remove sid" in lines[0]


def test_a_label_in_use_is_refused(fake, tmp_path):
    add("debian:sid", "mine")
    with pytest.raises(UsageError, match="`mine` is already in use for debian:sid"):
        add(str(tmp_path), "mine")
    with pytest.raises(UsageError, match="`mine` is already in use for debian:sid"):
        add("debian:trixie", "mine")
    assert find("mine").spec == "debian:sid"


@pytest.mark.parametrize("label", ["", "system", "a b", "a/b", "..", ".new", "x" * 33, "a=b"])
def test_an_invalid_label_is_refused(fake, label, place):
    with pytest.raises(UsageError, match="invalid label"):
        add("debian:sid", label)
    assert not place.exists()


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [HostUnfit("no network"), KeyboardInterrupt()])
def test_a_failure_keeps_only_the_downloads(fake, place, trouble):
    fake.trouble = trouble
    with pytest.raises(type(trouble)):
        add("debian:sid")
    assert content(place) == {".packages"}
    assert list_builds() == ()
    fake.trouble = None
    add("debian:sid")
    assert content(place) == {"sid"}


def test_a_suite_without_cpr_transfer_is_refused(fake, place, monkeypatch):
    def refuse(path, label=""):
        raise BuildUnfit(f"{path}: QEMU 7.2.22 has no cpr-transfer")

    monkeypatch.setattr(catalogue, "discover", refuse)
    with pytest.raises(BuildUnfit, match=r"^debian:bookworm: QEMU 7\.2\.22 has no cpr-transfer"):
        add("debian:bookworm")
    assert content(place) == set()


def test_a_path_without_a_qemu_is_refused_before_anything_is_created(fake, place):
    with pytest.raises(BuildUnfit, match="no such file"):
        add("/nonexistent/qemu")
    assert not place.exists()


def test_sigterm_unwinds(fake, place, monkeypatch):
    def terminated(*rest):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(catalogue, "unpack", terminated)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        add("debian:sid")
    assert signal.getsignal(signal.SIGTERM) is before
    assert content(place) == set()


def test_leftovers_of_a_killed_process_are_removed(fake, place):
    for name in (".new-dead", ".old-dead"):
        (place / name / "tree").mkdir(parents=True)
    add("debian:sid")
    assert content(place) == {"sid"}


def test_an_unwritable_cache_is_refused(fake, place):
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    with pytest.raises(HostUnfit, match=r"cannot be used as the cache .*PAUSEBENCH_CACHE"):
        add("debian:sid")


def test_a_full_disk_is_reported(fake, monkeypatch):
    fake.trouble = OSError(28, "No space left on device")
    with pytest.raises(HostUnfit, match="the disk is full"):
        add("debian:sid")


def test_a_second_process_waits_for_the_lock(fake, place):
    place.mkdir()
    lines = []
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding = threading.Thread(target=add, args=("debian:sid", None, lines.append))
        adding.start()
        deadline = time.monotonic() + 5
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "waiting" in lines[0]
        assert fake.unpacked == []
    adding.join(5)
    assert find("sid")


# --- find -------------------------------------------------------------------------------------


def test_an_empty_catalogue(place):
    assert list_builds() == ()
    with pytest.raises(UsageError, match="unknown build `x`; none was added yet"):
        find("x")
    with pytest.raises(UsageError, match="unknown build `x`"):
        remove("x")
    assert not place.exists()


def test_an_unknown_label_gets_a_suggestion(fake):
    add("debian:trixie-backports")
    with pytest.raises(UsageError, match="did you mean `trixie-backports`"):
        find("trixie-backport")
    with pytest.raises(UsageError, match="expected one of system, trixie-backports"):
        resolve_build("zzz")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "label": "sid"}', "\x00"],
)
def test_a_malformed_record_is_reported_and_can_be_removed(fake, place, text):
    add("debian:sid")
    record = place / "sid" / "build.json"
    record.write_text(text)
    with pytest.raises(RecordInvalid, match=r"sid/build\.json: .*build remove sid"):
        list_builds()
    remove("sid")
    assert list_builds() == ()


def test_every_form_of_build_argument(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qemu").mkdir()
    assert resolve_build("system").label == "system"
    assert resolve_build("./qemu").label == BUILD.label
    assert resolve_build("qemu").label == BUILD.label
    assert resolve_build(f"next={tmp_path}").label == "next"
    assert resolve_build("host=system").label == "host"
    assert resolve_build("debian:sid").label == "sid"
    assert resolve_build("sid").label == "sid"
    assert resolve_build("debian:sid").label == "sid"
    assert resolve_build("tonight=sid").label == "tonight"
    assert resolve_build("tonight=debian:sid=11.1.3").label == "tonight"
    assert fake.unpacked == ["sid", "sid"]  # the newest version and 11.1.3


def test_a_suite_is_found_under_any_label(fake):
    add("debian:sid", "tonight")
    assert resolve_build("debian:sid").label == "tonight"
    assert fake.unpacked == ["sid"]


def test_a_label_takes_precedence_over_a_path(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sid").mkdir()
    add("debian:sid")
    assert resolve_build("sid").label == "sid"
    assert resolve_build("./sid").label == BUILD.label


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x=", "expected LABEL=BUILD"),
        ("a b=/opt", "invalid label"),
        ("debian:", "debian:SUITE"),
    ],
)
def test_a_malformed_build_argument_is_refused(fake, text, words):
    with pytest.raises(UsageError, match=words):
        resolve_build(text)


def test_a_missing_path_is_refused(fake):
    with pytest.raises(BuildUnfit, match="no such file"):
        resolve_build("/nonexistent/qemu")


def test_a_modified_tree_is_refused(fake, tmp_path):
    add("debian:sid")
    add(str(tmp_path), "mine")
    fake.sha256 = "other"
    with pytest.raises(BuildUnfit, match="sid: its QEMU was modified after unpacking"):
        resolve_build("sid")
    assert resolve_build("mine").sha256 == "other"  # a build directory may be rebuilt


# --- a real suite -----------------------------------------------------------------------------


def own_suite() -> str:
    """A suite that the host's mirror certainly has: its own backports, or trixie."""
    release = platform.freedesktop_os_release()
    code = release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""
    return "bookworm-backports" if code == "bookworm" else "trixie"


def lacks_mirror() -> str | None:
    """Why no suite can be downloaded here, according to apt."""
    ask = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)dists/"]
    try:
        output = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False).stdout
        uris = [line.split("|")[1] for line in output.splitlines() if line.startswith("Debian|")]
        main = next((uri for uri in uris if "security" not in uri), None)
        if main is None:
            return "apt has no Debian mirror"
        helper = "/usr/lib/apt/apt-helper"  # uses apt's proxies and credentials
        fetch = [helper, "download-file", f"{main}{own_suite()}/Release", "Release"]
        done = subprocess.run(fetch, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else "the Debian mirror is unreachable"


def host_state() -> dict[str, int]:
    """Modification times of the host's own apt and dpkg state."""
    places = ("/var/lib/dpkg/status", "/var/lib/apt/lists", "/var/cache/apt/archives")
    return {name: Path(name).stat().st_mtime_ns for name in places if Path(name).exists()}


@pytest.mark.slow
@pytest.mark.qemu
def test_a_real_suite_is_unpacked_and_runs(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    if platform.machine() != "x86_64":
        pytest.skip("suites can only be unpacked on x86_64")
    if reason := lacks_mirror():
        pytest.skip(reason)
    before = host_state()
    entry = add(f"debian:{own_suite()}")
    assert host_state() == before
    assert content(place) == {own_suite()}
    build = resolve_build(own_suite())
    assert build.label == own_suite()
    assert "cpr-transfer" in build.cpr_modes
    assert build.missing_marks == ()
    assert build.binary.startswith(str(place))
    assert all(name.startswith(str(place)) for name in build.firmware_dirs)
    assert entry.package_version.split(":")[-1].startswith(build.version.split()[0])
    privileged = [p for p in place.rglob("*") if p.is_file() and p.stat().st_mode & 0o6000]
    assert privileged == []
