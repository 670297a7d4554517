"""The Debian mirror that this host already uses, and its keyring for that mirror."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from results.errors import HostUnfit
from runners.system.child import run

_KEYRINGS = Path("/usr/share/keyrings")
_ARCHIVE_KEYS = "debian-archive-keyring.*"
_PACKAGES = "Created-By: Packages"
_FORMAT = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SIGNED_BY)"


@dataclass(frozen=True, slots=True)
class Source:
    """A repository as given in an apt source."""

    uri: str
    suite: str
    components: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # keyring files


def host_mirror(suite: str) -> Source:
    """The host's source to fetch `suite` from. Raises HostUnfit when it has no Debian source."""
    known = _configured_sources()
    fetched = _fetched_sources(
        _output_of("apt-get", "indextargets", "--format", _FORMAT, _PACKAGES)
    )
    # A host that never ran apt-get update has no lists, and so no origins.
    chosen = choose_mirror(fetched or _for_this_release(known), suite)
    if chosen is None:
        raise HostUnfit(
            "this host's apt sources have no Debian mirror: add one, or unpack the suite's QEMU "
            "and its libraries by hand (dpkg-deb -x) and add the path of that tree"
        )
    keys = chosen.keys or next((s.keys for s in known if s.keys and _same(s, chosen)), ())
    return Source(chosen.uri, suite, ("main",), keys)


def choose_mirror(sources: Iterable[Source], suite: str) -> Source | None:
    """Security suites come from their own mirror, all other suites from the main one."""
    security = suite.endswith("-security")
    return next(
        (
            source
            for source in sources
            if "main" in source.components
            and source.suite.endswith("-security") == security
            and not source.uri.startswith("cdrom:")
        ),
        None,
    )


def signing_keys(source: Source) -> tuple[str, ...]:
    """Keyring files for another suite of this source; empty means apt's default keyrings.

    A host may have only its own release's key in its source; the archive keyring has the others.
    """
    files = (*source.keys, *map(str, sorted(_KEYRINGS.glob(_ARCHIVE_KEYS))[:1]))
    return tuple(dict.fromkeys(name for name in files if Path(name).is_file()))


def _same(one: Source, other: Source) -> bool:
    return one.uri.rstrip("/") == other.uri.rstrip("/")


def _fetched_sources(text: str) -> tuple[Source, ...]:
    """Debian's sources among the host's package lists, from `apt-get indextargets`."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == 4)
    return tuple(
        # apt before 2.9 does not expand $(SIGNED_BY).
        Source(uri, suite, (component,), _files(keys))
        for origin, suite, component, uri, keys in rows
        if origin == "Debian"
    )


def _for_this_release(sources: Iterable[Source]) -> tuple[Source, ...]:
    with suppress(OSError):
        release = platform.freedesktop_os_release()
        if release.get("ID") == "debian":
            code = release.get("VERSION_CODENAME", "sid")
            suites = (code, f"{code}-security", "stable", "testing", "unstable", "sid")
            return tuple(source for source in sources if source.suite in suites)
    return ()


def _output_of(*argv: str) -> str:
    try:
        done = run(argv, 60.0)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


# --- /etc/apt -------------------------------------------------------------------------------


def _configured_sources() -> tuple[Source, ...]:
    places = dict(
        re.findall(
            r"^(\w+)='(.*)'$",
            _output_of(
                *("apt-config", "shell", "list", "Dir::Etc::sourcelist/f"),
                *("parts", "Dir::Etc::sourceparts/d"),
            ),
            re.MULTILINE,
        )
    )
    files = [Path(places["list"])] if "list" in places else []
    if "parts" in places:
        parts = Path(places["parts"])
        files += [*sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    found: list[Source] = []
    for path in files:
        with suppress(OSError):
            text = path.read_text(errors="replace")
            found += parse_stanzas(text) if path.suffix == ".sources" else parse_lines(text)
    return tuple(found)


def parse_lines(text: str) -> Iterator[Source]:
    """Sources of a one-line file: `deb [signed-by=FILE] URI SUITE COMPONENT…`."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)", line)
        if match is not None:
            options, uri, suite, components = match.groups()
            keys = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            files = _files(keys[1].replace(",", " ")) if keys else ()
            yield Source(uri, suite, tuple(components.split()), files)


def parse_stanzas(text: str) -> Iterator[Source]:
    """Sources of a deb822 file, one for each URI and suite."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {name.lower(): value for name, value in pairs}
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "").strip().lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield Source(uri, suite, components, _files(fields.get("signed-by", "")))


def _files(words: str) -> tuple[str, ...]:
    """The keyring files in signed-by: it may also hold a fingerprint, or the key itself."""
    return tuple(word for word in words.split() if word.startswith("/"))
