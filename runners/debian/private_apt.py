"""apt on a private root: own sources, lists and package database, and none of the host's hooks.

What the host keeps of its own stays as it is; its proxy, credentials and trust are used.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit, PausebenchError, UsageError
from runners.system.child import kill_group

_TIMEOUT_S = 1800.0


CACHE_VARIABLE = "PAUSEBENCH_CACHE"
DISK_FULL = (
    "the disk is full: an unpacked suite takes about 250 MB; free some there, or keep builds "
    f"elsewhere with {CACHE_VARIABLE}"
)

# What apt says → who must act, and what to do. The first that matches is the cause.
_CAUSES: tuple[tuple[str, type[PausebenchError], str], ...] = (
    (
        r"No space left on device|enough free space|Disk quota exceeded",
        HostUnfit,
        DISK_FULL,
    ),
    (
        r"(?i)could not resolve|temporary failure|could not connect|unable to connect|"
        r"connection (?:timed out|refused|failed)|network is unreachable|no route to host",
        HostUnfit,
        "the mirror of this host's apt sources is out of reach: see `apt-get update`",
    ),
    (
        r"NO_PUBKEY|EXPKEYSIG|is not signed|couldn't be verified|Missing key|keyring",
        HostUnfit,
        "its signature cannot be verified here: install a debian-archive-keyring package that "
        "knows the suite (the newest release's will do)",
    ),
    (
        r"does not have a Release file|404 +Not Found",
        UsageError,
        "the mirror has no such suite: name one like trixie, trixie-backports or sid",
    ),
)


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a mirror: where apt gets it, its name in the archives, size and checksum."""

    uri: str
    name: str
    size_bytes: int
    checksum: str  # ALGORITHM:HEX, or empty


class PrivateApt:
    """apt on a root of its own."""

    def __init__(self, what: str, sources: str, work: Path, packages: Path) -> None:
        self._what = what  # is fetched; what errors begin with
        self._packages = packages
        self._config = work / "apt.conf"
        for directory in (
            work / "lists" / "partial",
            work / "cache",
            packages / "partial",
            work / "none" / "partial",
        ):
            directory.mkdir(parents=True, exist_ok=True)
        work.chmod(0o755)  # apt fetches as a user of its own
        (work / "status").touch()
        self._config.write_text(apt_config(work, packages))
        (work / "sources.list").write_text(sources)

    def run(self, program: str, *words: str) -> str:
        return self._checked([program, "-c", str(self._config), *words])

    def needed(self, *words: str) -> tuple[Package, ...]:
        """All that apt-get with `words` would install; raises HostUnfit when it does not tell."""
        # It leaves out what is in the archives already, so it is shown empty ones.
        empty = f"Dir::Cache::archives={self._config.parent}/none"
        found = parse_uris(self.run("apt-get", "-o", empty, "-qq", "--print-uris", *words))
        if not found:
            raise HostUnfit(f"{self._what}: apt does not tell what it would fetch")
        return found

    def fetch(self, found: Iterable[Package], *words: str) -> None:
        """Fetch `found`, which is what apt-get with `words` would install."""
        for package in found:
            path = self._packages / package.name
            # apt takes a file that is there by its size alone; a full disk may have left a bad one.
            if path.exists() and not matches(package, path):
                path.unlink()
        self.run("apt-get", "-q", "--download-only", *words)

    def unpack(self, package: Package, tree: Path) -> None:
        path = self._packages / package.name
        if not path.exists() and package.uri.startswith("file:"):  # apt leaves such where they are
            path = Path(package.uri.removeprefix("file:"))
        if not matches(package, path):
            raise HostUnfit(f"{self._what}: {package.name} did not arrive whole")
        self._checked(["dpkg-deb", "-x", str(path), str(tree)])

    def _checked(self, argv: list[str]) -> str:
        status, out, errors = _run(argv)
        if status != 0:
            raise explain(self._what, out + errors)
        return out


def apt_config(work: Path, packages: Path) -> str:
    """apt's configuration, read after the host's own.

    The hooks go: Debian's container images empty the host's own archives after each update,
    and others refresh the host's catalogues from it.
    """
    return f"""\
#clear APT::Update;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
APT::Update::Error-Mode "any"; // else an unreachable mirror is a success
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::ForceHash "sha256"; // that --print-uris tells
Dir::State "{work}";
Dir::State::lists "{work}/lists";
Dir::State::status "{work}/status";
Dir::State::extended_states "{work}/extended_states";
Dir::Cache "{work}/cache";
Dir::Cache::archives "{packages}";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::SourceList "{work}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
"""


# --- what apt says --------------------------------------------------------------------------


def parse_uris(text: str) -> tuple[Package, ...]:
    """The packages of `apt-get --print-uris`."""
    found = re.findall(r"^'([^']*)' (\S+) (\d+) ?(\S*)$", text, re.MULTILINE)
    return tuple(Package(uri, name, int(size), checksum) for uri, name, size, checksum in found)


def explain(what: str, text: str) -> PausebenchError:
    """The error that the output of a failed apt-get or dpkg-deb means."""
    for pattern, kind, advice in _CAUSES:
        if re.search(pattern, text):
            return kind(f"{what}: {advice}")
    lines = [line for line in text.splitlines() if line.startswith(("E:", "dpkg-deb: error"))]
    words = (lines or text.strip().splitlines() or ["it said nothing"])[-1]
    return HostUnfit(f"{what}: apt failed: {words}")


def _run(argv: list[str]) -> tuple[int, str, str]:
    """Exit status and output. In a group of its own, so that its helpers end with it."""
    environ = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environ,
            process_group=0,
        )
    except FileNotFoundError:
        raise HostUnfit(
            f"{argv[0]} is missing: suites can be unpacked on Debian and its kin only; elsewhere "
            "add the path of an unpacked tree"
        ) from None
    with child:
        try:
            out, errors = child.communicate(timeout=_TIMEOUT_S)
        except BaseException as error:
            kill_group(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostUnfit(f"{argv[0]} did not end in {_TIMEOUT_S / 60:.0f} min") from None
            raise
    return child.returncode, out, errors


def matches(package: Package, path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != package.size_bytes:
        return False
    algorithm, _, wanted = package.checksum.partition(":")
    if algorithm != "SHA256":  # apt itself has compared it on arrival
        return True
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == wanted
