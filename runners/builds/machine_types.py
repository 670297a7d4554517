"""Machine types: which a build knows, and the newest that several builds have in common."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence

from results.errors import BuildUnfit
from results.records.scenario import Build

_TIMEOUT_S = 10.0
_FAMILIES = {"q35": "pc-q35", "pc": "pc-i440fx", "i440fx": "pc-i440fx"}
_VERSIONED = re.compile(r"(.+)-([a-z]*)(\d+(?:\.\d+)*)")


def known_machines(build: Build) -> tuple[str, ...]:
    """Names of the machine types that the build knows, in its own order, aliases included.

    Raises BuildUnfit when it does not tell them.
    """
    argv = [*build.launcher, "-machine", "help"]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildUnfit(f"{build.label}: does not tell its machine types: {error}") from error
    names = machine_names(done.stdout)
    if not names:
        words = next(iter(done.stderr.strip().splitlines()), "it said nothing")
        raise BuildUnfit(f"{build.label}: does not tell its machine types ({words})")
    return names


def machine_names(text: str) -> tuple[str, ...]:
    """Names in the answer to `-machine help`: one a line, after a headline."""
    return tuple(line.split()[0] for line in text.splitlines()[1:] if line.strip())


def common_machine(builds: Sequence[Build], family: str = "q35") -> str:
    """The machine type on which a guest of `family` can go between all `builds`.

    That is the newest versioned type that each of them knows, like pc-q35-10.0 for q35. A type
    that is named with its version, or that has none, is returned as it is when all know it; options
    behind a comma are kept. Raises BuildUnfit that names who lacks it.
    """
    return newest_common({build.label: known_machines(build) for build in builds}, family)


def newest_common(known: dict[str, tuple[str, ...]], family: str) -> str:
    """`common_machine` on values: label → the machine types of that build."""
    name, comma, options = family.partition(",")
    prefix = _FAMILIES.get(name, name)
    shared = set.intersection(*map(set, known.values())) if known else set()
    ranks = {machine: rank for machine in shared if (rank := _rank(machine, prefix))}
    if ranks:
        return max(ranks, key=ranks.__getitem__) + comma + options
    if name in shared and name not in _FAMILIES:
        return family
    raise BuildUnfit(f"no machine type of {name} is known to all: {_offers(known, prefix)}")


def _rank(machine: str, prefix: str) -> tuple[bool, tuple[int, ...]] | None:
    """Order among the versions of one type: QEMU's own numbers beat a vendor's (pc-q35-rhel9.6.0).

    None when it is no versioned type of `prefix`.
    """
    match = _VERSIONED.fullmatch(machine)
    if match is None or match[1] != prefix:
        return None
    return not match[2], tuple(map(int, match[3].split(".")))


def _offers(known: dict[str, tuple[str, ...]], prefix: str) -> str:
    """What each build has of that type, newest first: `old has a, b; new has none`."""
    return "; ".join(f"{label} has {_newest(names, prefix)}" for label, names in known.items())


def _newest(names: Iterable[str], prefix: str) -> str:
    ranks = {name: rank for name in names if (rank := _rank(name, prefix))}
    return ", ".join(sorted(ranks, key=ranks.__getitem__, reverse=True)[:3]) or "none"
