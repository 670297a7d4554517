"""A Debian suite's QEMU with its libraries, fetched and unpacked beside the host's own packages.

Only apt-get and dpkg-deb are used, on a private root of apt's: own sources, lists and package
database. What the host keeps of its own stays as it is; its mirror, proxy, credentials and keyring
are used.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit, PausebenchError, UsageError

from .sources import Source, host_mirror, signing_keys

PACKAGE = "qemu-system-x86"
PREFIX = "debian:"
_SUITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]{0,127}")
_BASED = re.compile(r"(.+?)-(?:backports(?:-sloppy)?|updates|proposed-updates|security)")
_TIMEOUT_S = 1800.0

# What apt says → who must act, and what to do. The first that matches is the cause.
_CAUSES: tuple[tuple[str, type[PausebenchError], str], ...] = (
    (
        r"No space left on device|enough free space|Disk quota exceeded",
        HostUnfit,
        "the disk is full: an unpacked suite takes about 250 MB; free some there, or keep builds "
        "elsewhere with PAUSEBENCH_CACHE",
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
class Suite:
    """A suite of Debian's archive, and the version wanted of it (empty: the newest)."""

    name: str
    version: str = ""

    @property
    def label(self) -> str:
        """What a build of it is called by default."""
        words = self.name + (f"-{self.version.split(':')[-1]}" if self.version else "")
        return re.sub(r"[^A-Za-z0-9._-]", "-", words)[:32]


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a mirror: where apt gets it, its name in the archives, size and checksum."""

    uri: str
    name: str
    size_bytes: int
    checksum: str  # ALGORITHM:HEX, or empty


def parse_suite(spec: str) -> Suite | None:
    """`debian:SUITE` or `debian:SUITE=VERSION` → the suite; None for what is no such name.

    Raises UsageError for a malformed one.
    """
    if not spec.startswith(PREFIX):
        return None
    name, equals, version = spec.removeprefix(PREFIX).partition("=")
    if not _SUITE.fullmatch(name) or (equals and not _VERSION.fullmatch(version)):
        raise UsageError(f"`{spec}`: write it debian:SUITE or debian:SUITE=VERSION")
    return Suite(name, version)


def base_suite(name: str) -> str | None:
    """The suite that `name` builds on, whose libraries it needs; None when it stands alone."""
    if name in ("experimental", "rc-buggy"):
        return "sid"
    match = _BASED.fullmatch(name)
    return match[1] if match else None


def unpack(
    suite: Suite, tree: Path, work: Path, packages: Path, progress: Callable[[str], None]
) -> str:
    """Unpack the suite's QEMU and all it depends on into `tree`; returns the package's version.

    `work` is a private directory that may be thrown away afterwards, `packages` keeps what was
    fetched, so that an interrupted one goes on from there. Raises UsageError, HostUnfit.
    """
    if platform.machine() != "x86_64":
        raise HostUnfit(f"{PREFIX}{suite.name}: suites are unpacked on x86_64 only")
    apt = _Apt(suite, work, packages)
    progress(f"asking the mirror for {suite.name}")
    apt.run("apt-get", "update")
    version = choose_version(apt.run("apt-cache", "madison", PACKAGE), suite)
    wanted = ("--no-install-recommends", "-y", "install", f"{PACKAGE}={version}")
    found = parse_uris(apt.run("apt-get", "-t", suite.name, "-qq", "--print-uris", *wanted))
    total = sum(package.size_bytes for package in found)
    progress(f"fetching QEMU {version}: {len(found)} packages, {total / 1e6:.0f} MB")
    _drop_broken(found, packages)
    apt.run("apt-get", "-t", suite.name, "-q", "--download-only", *wanted)
    progress(f"unpacking {len(found)} packages")
    tree.mkdir(parents=True)
    for package in found:
        apt.unpack(package, tree)
    _without_privileges(tree)
    return version


class _Apt:
    """apt on a root of its own."""

    def __init__(self, suite: Suite, work: Path, packages: Path) -> None:
        self._suite = suite
        self._packages = packages
        self._config = work / "apt.conf"
        for directory in (work / "lists" / "partial", work / "cache", packages / "partial"):
            directory.mkdir(parents=True, exist_ok=True)
        work.chmod(0o755)  # apt fetches as a user of its own
        (work / "status").touch()
        self._config.write_text(apt_config(work, packages))
        (work / "sources.list").write_text(_sources(suite))

    def run(self, program: str, *words: str) -> str:
        return self._checked([program, "-c", str(self._config), *words])

    def unpack(self, package: Package, tree: Path) -> None:
        path = self._packages / package.name
        if not path.exists() and package.uri.startswith("file:"):  # apt leaves such where they are
            path = Path(package.uri.removeprefix("file:"))
        if not _matches(package, path):
            raise HostUnfit(f"{PREFIX}{self._suite.name}: {package.name} did not arrive whole")
        self._checked(["dpkg-deb", "-x", str(path), str(tree)])

    def _checked(self, argv: list[str]) -> str:
        status, out, errors = _run(argv)
        if status != 0:
            raise explain(self._suite.name, out + errors)
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


def _sources(suite: Suite) -> str:
    lines = []
    for name in filter(None, (suite.name, base_suite(suite.name))):
        source: Source = host_mirror(name)
        keys = ",".join(signing_keys(source))
        option = f"[signed-by={keys}] " if keys else ""
        lines.append(f"deb {option}{source.uri} {name} main\n")
    return "".join(lines)


# --- what apt says --------------------------------------------------------------------------


def choose_version(madison: str, suite: Suite) -> str:
    """The package's version to take, from `apt-cache madison`, newest first. Raises UsageError.

    A version may be named as the package's own or as QEMU's: `1:10.0.2+ds-2` or `10.0.2`.
    """
    rows = (
        [field.strip() for field in line.split("|")] for line in madison.splitlines() if "|" in line
    )
    offered = [row[1] for row in rows if f" {suite.name}/" in f" {row[2]}"]
    if not offered:
        raise UsageError(f"{PREFIX}{suite.name}: the suite has no {PACKAGE}")
    for version in offered:
        bare = version.split(":", 1)[-1]
        if suite.version in ("", version, bare, re.split(r"[+~-]", bare)[0]):
            return version
    raise UsageError(
        f"{PREFIX}{suite.name}={suite.version}: the suite has only {', '.join(offered)}"
    )


def parse_uris(text: str) -> tuple[Package, ...]:
    """The packages of `apt-get --print-uris`."""
    found = re.findall(r"^'([^']*)' (\S+) (\d+) ?(\S*)$", text, re.MULTILINE)
    return tuple(Package(uri, name, int(size), checksum) for uri, name, size, checksum in found)


def explain(suite: str, text: str) -> PausebenchError:
    """The error that the output of a failed apt-get or dpkg-deb means."""
    for pattern, kind, advice in _CAUSES:
        if re.search(pattern, text):
            return kind(f"{PREFIX}{suite}: {advice}")
    lines = [line for line in text.splitlines() if line.startswith(("E:", "dpkg-deb: error"))]
    words = (lines or text.strip().splitlines() or ["it said nothing"])[-1]
    return HostUnfit(f"{PREFIX}{suite}: apt failed: {words}")


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
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostUnfit(f"{argv[0]} did not end in {_TIMEOUT_S / 60:.0f} min") from None
            raise
    return child.returncode, out, errors


# --- files ----------------------------------------------------------------------------------


def _matches(package: Package, path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != package.size_bytes:
        return False
    algorithm, _, wanted = package.checksum.partition(":")
    if algorithm != "SHA256":  # apt itself has compared it on arrival
        return True
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == wanted


def _drop_broken(found: Iterable[Package], packages: Path) -> None:
    """apt takes a file that is there by its size alone; a full disk may have left a bad one."""
    for package in found:
        path = packages / package.name
        if path.exists() and not _matches(package, path):
            path.unlink()


def _without_privileges(tree: Path) -> None:
    """Drop set-uid and set-gid: nobody looks after security updates of these passwd and su."""
    for directory, _, names in os.walk(tree):
        for name in names:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & 0o6000:
                path.chmod(stat.S_IMODE(mode) & 0o1777)
