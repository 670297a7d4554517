"""The host's Debian mirror, from apt's source files in both formats."""

import pytest

from results.errors import HostUnfit
from runners.debian import sources
from runners.debian.sources import Source, choose_mirror, host_mirror, parse_lines, parse_stanzas

MIRROR = "http://mirror.example/debian/"
SECURITY = "http://mirror.example/debian-security/"
TARGETS = f"""\
Other|stable|main|http://other.example/apt/|$(SIGNED_BY)
Debian|bookworm-security|main|{SECURITY}|$(SIGNED_BY)
Debian|bookworm|contrib|{MIRROR}|$(SIGNED_BY)
Debian|bookworm|main|{MIRROR}|$(SIGNED_BY)
"""
STANZAS = f"""\
# the mirror
Types: deb deb-src
URIs: {MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/debian.gpg

Types: deb-src
URIs: {MIRROR}
Suites: sid
Components: main

Enabled: no
Types: deb
URIs: {MIRROR}
Suites: bullseye
Components: main

Types: deb
URIs: {SECURITY}
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w
 -----END PGP PUBLIC KEY BLOCK-----
"""


@pytest.fixture
def host(monkeypatch):
    """A host whose apt-get prints `targets` and whose source files contain `written`."""

    def be(targets="", written=(), release=None):
        monkeypatch.setattr(
            sources, "_output_of", lambda *argv: targets if argv[0] == "apt-get" else ""
        )
        monkeypatch.setattr(sources, "_configured_sources", lambda: tuple(written))
        monkeypatch.setattr(
            sources.platform, "freedesktop_os_release", lambda: release or {"ID": "other"}
        )

    return be


def test_one_line_sources_are_parsed():
    text = (
        f"deb {MIRROR} bookworm main contrib # ours\n"
        "# deb http://commented.example/ bookworm main\n"
        f"deb-src {MIRROR} bookworm main\n"
        f"  deb [ arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg ] {MIRROR} sid main\n"
        f"deb [signed-by=ABCDEF0123] {MIRROR} trixie main\n"
    )
    assert tuple(parse_lines(text)) == (
        Source(MIRROR, "bookworm", ("main", "contrib")),
        Source(MIRROR, "sid", ("main",), ("/keys/a.gpg", "/keys/b.gpg")),
        Source(MIRROR, "trixie", ("main",)),
    )


def test_deb822_sources_are_parsed():
    assert tuple(parse_stanzas(STANZAS)) == (
        Source(MIRROR, "bookworm", ("main", "contrib"), ("/keys/debian.gpg",)),
        Source(MIRROR, "bookworm-updates", ("main", "contrib"), ("/keys/debian.gpg",)),
        Source(SECURITY, "bookworm-security", ("main",)),
    )


def test_the_mirror_is_the_main_one_with_the_key_of_its_source(host):
    host(TARGETS, parse_stanzas(STANZAS))
    expected = Source(MIRROR, "trixie", ("main",), ("/keys/debian.gpg",))
    assert host_mirror("trixie") == expected


def test_a_key_reported_by_apt_is_used(host):
    host(f"Debian|trixie|main|{MIRROR}|/keys/reported.pgp\n", parse_stanzas(STANZAS))
    assert host_mirror("sid").keys == ("/keys/reported.pgp",)


def test_security_suites_use_the_security_mirror(host):
    host(TARGETS)
    assert host_mirror("trixie-security").uri == SECURITY


def test_without_lists_the_sources_of_the_own_release_are_used(host):
    written = [Source("http://other.example/", "stable", ("contrib",)), *parse_stanzas(STANZAS)]
    host("", written, {"ID": "debian", "VERSION_CODENAME": "bookworm"})
    assert host_mirror("trixie").uri == MIRROR


def test_without_a_debian_mirror_the_host_is_unfit(host):
    host("Ubuntu|noble|main|http://ubuntu.example/|\n", [], {"ID": "ubuntu"})
    with pytest.raises(HostUnfit, match="have no Debian mirror"):
        host_mirror("trixie")


def test_a_cd_is_not_used_as_a_mirror():
    assert choose_mirror([Source("cdrom:[Debian]/", "bookworm", ("main",))], "sid") is None


def test_the_archive_keyring_is_used_with_the_key_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_KEYRINGS", tmp_path)
    own, archive = tmp_path / "own.gpg", tmp_path / "debian-archive-keyring.gpg"
    source = Source(MIRROR, "sid", ("main",), (str(own),))
    assert sources.signing_keys(source) == ()
    own.touch()
    archive.touch()
    assert sources.signing_keys(source) == (str(own), str(archive))
