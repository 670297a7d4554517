"""Suites: arguments, versions, apt's output and errors, and set-uid bits in unpacked trees."""

import hashlib
import stat

import pytest

from results.errors import HostUnfit, UsageError
from runners.debian import private_apt, suites
from runners.debian.private_apt import Package, PrivateApt, classify_failure, matches, parse_uris
from runners.debian.suites import Suite, base_suite, choose_version, parse_suite

MADISON = """\
qemu-system-x86 | 1:11.1.3+ds-1~bpo13+1 | http://m.example/debian trixie-backports/main amd64 Packages
qemu-system-x86 | 1:10.0.13+ds-0+deb13u1 | http://m.example/debian trixie/main amd64 Packages
"""  # noqa: E501


@pytest.mark.parametrize(
    ("spec", "suite", "label"),
    [
        ("debian:trixie-backports", Suite("trixie-backports"), "trixie-backports"),
        ("debian:sid", Suite("sid"), "sid"),
        ("debian:trixie=10.0.13", Suite("trixie", "10.0.13"), "trixie-10.0.13"),
        ("debian:sid=1:11.1.3+ds-1", Suite("sid", "1:11.1.3+ds-1"), "sid-11.1.3-ds-1"),
    ],
)
def test_a_suite_and_its_label(spec, suite, label):
    assert parse_suite(spec) == suite
    assert suite.label == label


@pytest.mark.parametrize("spec", ["/opt/qemu", "system", "trixie", "a=b", ""])
def test_other_arguments_are_not_suites(spec):
    assert parse_suite(spec) is None


@pytest.mark.parametrize(
    "spec",
    ["debian:", "debian:Trixie", "debian:a b", "debian:../etc", "debian:sid=", "debian:sid=1 2"],
)
def test_a_malformed_suite_is_refused(spec):
    with pytest.raises(UsageError, match="expected debian:SUITE"):
        parse_suite(spec)


def test_the_base_of_a_suite():
    assert base_suite("trixie-backports") == "trixie"
    assert base_suite("bookworm-backports-sloppy") == "bookworm"
    assert base_suite("trixie-security") == "trixie"
    assert base_suite("experimental") == "sid"
    assert base_suite("trixie") is None
    assert base_suite("sid") is None


def test_the_version_is_that_of_the_suite_and_not_of_its_base():
    assert choose_version(MADISON, Suite("trixie-backports")) == "1:11.1.3+ds-1~bpo13+1"
    assert choose_version(MADISON, Suite("trixie")) == "1:10.0.13+ds-0+deb13u1"


@pytest.mark.parametrize("version", ["10.0.13", "10.0.13+ds-0+deb13u1", "1:10.0.13+ds-0+deb13u1"])
def test_a_version_may_be_that_of_qemu_or_of_the_package(version):
    assert choose_version(MADISON, Suite("trixie", version)) == "1:10.0.13+ds-0+deb13u1"


def test_a_version_missing_from_the_suite_is_refused():
    with pytest.raises(UsageError, match=r"trixie=10\.0\.1: the suite has only 1:10\.0\.13"):
        choose_version(MADISON, Suite("trixie", "10.0.1"))
    with pytest.raises(UsageError, match="bullseye: the suite has no qemu-system-x86"):
        choose_version(MADISON, Suite("bullseye"))


def test_uris_are_parsed():
    text = (
        "'http://m.example/x/libc6_2.41-12%2bdeb13u5_amd64.deb' libc6_2.41-12+deb13u5_amd64.deb "
        "2850108 SHA256:ab12\n"
        "'file:/srv/debian/seabios.deb' seabios_1.17_all.deb 7 \n"
    )
    first, second = parse_uris(text)
    assert first.name == "libc6_2.41-12+deb13u5_amd64.deb"
    assert (first.size_bytes, first.checksum) == (2850108, "SHA256:ab12")
    assert (second.uri, second.checksum) == ("file:/srv/debian/seabios.deb", "")


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (
            "Err:1 http://m.example trixie InRelease\n  Could not resolve 'm.example'",
            HostUnfit,
            "mirror of this host's apt sources is unreachable",
        ),
        (
            "E: Failed to fetch http://m.example/ Could not connect to m.example:80 (192.0.2.1).",
            HostUnfit,
            "unreachable",
        ),
        (
            "Err:3 http://m.example nosuch Release\n  404  Not Found\n"
            "E: The repository 'http://m.example nosuch Release' does not have a Release file.",
            UsageError,
            "no such suite",
        ),
        (
            "W: GPG error: http://m.example trixie InRelease: The following signatures couldn't be "
            "verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n"
            "E: The repository 'http://m.example trixie InRelease' is not signed.",
            HostUnfit,
            "install a debian-archive-keyring package",
        ),
        ("E: Write error - write (28: No space left on device)", HostUnfit, "the disk is full"),
        ("E: You don't have enough free space in /c/.", HostUnfit, "the disk is full"),
        ("Reading…\nE: Unmet dependencies.\n", HostUnfit, "apt failed: E: Unmet dependencies."),
        ("", HostUnfit, "apt failed: no output"),
    ],
)
def test_apt_errors_are_classified(message, kind, words):
    error = classify_failure("debian:trixie", message)
    assert type(error) is kind
    assert words in str(error)
    assert str(error).startswith("debian:trixie: ")
    assert "m.example" not in str(error).replace("E: ", "")


def test_an_incomplete_or_corrupt_package_does_not_match(tmp_path):
    path = tmp_path / "a.deb"
    path.write_bytes(b"right")
    checksum = f"SHA256:{hashlib.sha256(b'right').hexdigest()}"
    assert matches(Package("", "a.deb", 5, checksum), path)
    assert matches(Package("", "a.deb", 5, "MD5Sum:0"), path)
    assert not matches(Package("", "a.deb", 6, checksum), path)
    path.write_bytes(b"wrong")
    assert not matches(Package("", "a.deb", 5, checksum), path)
    assert not matches(Package("", "b.deb", 5, checksum), tmp_path / "b.deb")


def test_corrupt_packages_are_fetched_again(tmp_path, monkeypatch):
    packages = tmp_path / "packages"
    asked = []
    monkeypatch.setattr(private_apt, "_run", lambda argv: asked.append(argv) or (0, "", ""))
    apt = PrivateApt("debian:sid", "", tmp_path / "work", packages)
    for name in ("good", "bad"):
        (packages / name).write_bytes(b"12345")
    apt.fetch([Package("", "good", 5, ""), Package("", "bad", 4, "")], "install", "qemu")
    assert (packages / "good").exists()
    assert not (packages / "bad").exists()
    assert asked[0][-3:] == ["--download-only", "install", "qemu"]
    with pytest.raises(HostUnfit, match="debian:sid: bad is incomplete or corrupt"):
        apt.unpack(Package("", "bad", 4, ""), tmp_path / "tree")


def test_an_empty_package_list_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(private_apt, "_run", lambda argv: (0, "", ""))
    apt = PrivateApt("debian:sid", "", tmp_path / "work", tmp_path / "packages")
    with pytest.raises(HostUnfit, match="lists no packages"):
        apt.needed("install", "qemu")


def test_a_host_without_apt_is_unfit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    apt = PrivateApt("debian:sid", "", tmp_path / "work", tmp_path / "packages")
    with pytest.raises(HostUnfit, match=r"apt-get is missing: .* add the path of an"):
        apt.run("apt-get", "update")


def test_set_uid_bits_are_cleared(tmp_path):
    for name, mode in (("passwd", 0o4755), ("chage", 0o2755), ("qemu", 0o755), ("data", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("/usr/bin/passwd")
    suites._drop_set_id_bits(tmp_path)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.iterdir()}
    expected = {"passwd": 0o755, "chage": 0o755, "qemu": 0o755, "data": 0o644}
    assert {name: modes[name] for name in expected} == expected
