"""apt on a private root: its own sources, lists and package database, without the host's hooks.

The host's apt state stays untouched; its proxy, credentials and keyrings are used.
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
from runners.system.child import kill_group, spawn

_TIMEOUT_S = 1800.0


CACHE_VARIABLE = "PAUSEBENCH_CACHE"
DISK_FULL = (
    "the disk is full: an unpacked suite takes about 250 MB; free some space, or set "
    f"{CACHE_VARIABLE} to a directory on another disk"
)

# apt's message → the error and what to do. The first match is the cause.
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
        "the mirror of this host's apt sources is unreachable: run `apt-get update` to see why",
    ),
    (
        r"NO_PUBKEY|EXPKEYSIG|is not signed|couldn't be verified|Missing key|keyring",
        HostUnfit,
        "its signature cannot be verified: install a debian-archive-keyring package with the "
        "suite's key (the one of the newest release has it)",
    ),
    (
        r"does not have a Release file|404 +Not Found",
        UsageError,
        "the mirror has no such suite: use one like trixie, trixie-backports or sid",
    ),
)


@dataclass(frozen=True, slots=True)
class Package:
    """One package file: where apt downloads it, its name in the archives, size and checksum."""

    uri: str
    name: str
    size_bytes: int
    checksum: str  # ALGORITHM:HEX, or empty


class PrivateApt:
    """apt on a private root. Every method raises HostUnfit or UsageError when apt fails."""

    def __init__(self, what: str, sources: str, work: Path, packages: Path) -> None:
        self._what = what  # what is being fetched: the prefix of error messages
        self._packages = packages
        self._config = work / "apt.conf"
        for directory in (
            work / "lists" / "partial",
            work / "cache",
            packages / "partial",
            work / "none" / "partial",
        ):
            directory.mkdir(parents=True, exist_ok=True)
        work.chmod(0o755)  # apt downloads as a user of its own
        (work / "status").touch()
        self._config.write_text(apt_config(work, packages))
        (work / "sources.list").write_text(sources)

    def run(self, program: str, *arguments: str) -> str:
        return self._checked([program, "-c", str(self._config), *arguments])

    def needed(self, *arguments: str) -> tuple[Package, ...]:
        """All packages that apt-get would install with `arguments`."""
        # --print-uris omits what is in the archives already, so it gets an empty directory.
        empty = f"Dir::Cache::archives={self._config.parent}/none"
        found = parse_uris(self.run("apt-get", "-o", empty, "-qq", "--print-uris", *arguments))
        if not found:
            raise HostUnfit(f"{self._what}: apt-get --print-uris lists no packages")
        return found

    def fetch(self, found: Iterable[Package], *arguments: str) -> None:
        """Download `found`, the packages that apt-get would install with `arguments`."""
        for package in found:
            path = self._packages / package.name
            # apt accepts an existing file by its size alone; a full disk may have left a bad one.
            if path.exists() and not matches(package, path):
                path.unlink()
        self.run("apt-get", "-q", "--download-only", *arguments)

    def unpack(self, package: Package, tree: Path) -> None:
        path = self._packages / package.name
        if not path.exists() and package.uri.startswith("file:"):  # apt does not copy these
            path = Path(package.uri.removeprefix("file:"))
        if not matches(package, path):
            raise HostUnfit(f"{self._what}: {package.name} is incomplete or corrupt")
        self._checked(["dpkg-deb", "-x", str(path), str(tree)])

    def _checked(self, argv: list[str]) -> str:
        status, out, errors = _run(argv)
        if status != 0:
            raise classify_failure(self._what, out + errors)
        return out


def apt_config(work: Path, packages: Path) -> str:
    """apt's configuration, read after the host's own.

    It clears the hooks: those of Debian's container images empty the host's own archives after
    each update, others refresh the host's catalogues from the private root.
    """
    return f"""\
#clear APT::Update;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architectures {{ "amd64"; }};
APT::Update::Error-Mode "any"; // or else an unreachable mirror counts as success
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::ForceHash "sha256"; // for --print-uris
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


# --- apt's output ---------------------------------------------------------------------------


def parse_uris(text: str) -> tuple[Package, ...]:
    """The packages listed by `apt-get --print-uris`."""
    found = re.findall(r"^'([^']*)' (\S+) (\d+) ?(\S*)$", text, re.MULTILINE)
    return tuple(Package(uri, name, int(size), checksum) for uri, name, size, checksum in found)


def classify_failure(what: str, text: str) -> PausebenchError:
    """The error for the output of a failed apt-get or dpkg-deb."""
    for pattern, kind, advice in _CAUSES:
        if re.search(pattern, text):
            return kind(f"{what}: {advice}")
    lines = [line for line in text.splitlines() if line.startswith(("E:", "dpkg-deb: error"))]
    last = (lines or text.strip().splitlines() or ["no output"])[-1]
    return HostUnfit(f"{what}: apt failed: {last}")


def _run(argv: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout, stderr. Runs in its own process group, so that helpers die with it."""
    environ = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        child = spawn(
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
            f"{argv[0]} is missing: suites can only be unpacked on Debian and its derivatives; "
            "elsewhere add the path of an unpacked tree"
        ) from None
    with child:
        try:
            out, errors = child.communicate(timeout=_TIMEOUT_S)
        except BaseException as error:
            kill_group(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostUnfit(f"{argv[0]} timed out after {_TIMEOUT_S / 60:.0f} min") from None
            raise
    return child.returncode, out, errors


def matches(package: Package, path: Path) -> bool:
    """Whether the file at `path` has the package's size and SHA-256."""
    if not path.is_file() or path.stat().st_size != package.size_bytes:
        return False
    algorithm, _, wanted = package.checksum.partition(":")
    if algorithm != "SHA256":  # apt has verified it on download
        return True
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == wanted
