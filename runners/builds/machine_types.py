"""Machine types: those that a build supports, and the newest that several builds share."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence

from results.errors import BuildUnfit
from results.records.scenario import Build
from runners.system.child import run

_TIMEOUT_S = 10.0
_FAMILIES = {"q35": "pc-q35", "pc": "pc-i440fx", "i440fx": "pc-i440fx"}
_VERSIONED = re.compile(r"(.+)-([a-z]*)(\d+(?:\.\d+)*)")


def known_machines(build: Build) -> tuple[str, ...]:
    """Names of the build's machine types, in its own order, aliases included.

    Raises BuildUnfit when it does not list them.
    """
    argv = [*build.launcher, "-machine", "help"]
    try:
        done = run(argv, _TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildUnfit(f"{build.label}: cannot list its machine types: {error}") from error
    names = machine_names(done.stdout)
    if not names:
        first = next(iter(done.stderr.strip().splitlines()), "no output")
        raise BuildUnfit(f"{build.label}: cannot list its machine types ({first})")
    return names


def machine_names(text: str) -> tuple[str, ...]:
    """Names in the output of `-machine help`: one per line, after a heading."""
    return tuple(line.split()[0] for line in text.splitlines()[1:] if line.strip())


def common_machine(builds: Sequence[Build], family: str = "q35") -> str:
    """The machine type with which a guest of `family` can be transferred between all `builds`.

    That is the newest versioned type that all of them support, e.g. pc-q35-10.0 for q35. A type
    given with its version, or one without versions, is returned unchanged when all support it.
    Options after a comma are kept. Raises BuildUnfit with what each build supports.
    """
    return newest_common({build.label: known_machines(build) for build in builds}, family)


def newest_common(known: dict[str, tuple[str, ...]], family: str) -> str:
    """`common_machine` on values: `known` maps each build's label to its machine types."""
    name, comma, options = family.partition(",")
    prefix = _FAMILIES.get(name, name)
    shared = set.intersection(*map(set, known.values())) if known else set()
    ranks = {machine: rank for machine in shared if (rank := _rank(machine, prefix))}
    if ranks:
        return max(ranks, key=ranks.__getitem__) + comma + options
    if name in shared and name not in _FAMILIES:
        return family
    raise BuildUnfit(f"the builds share no machine type of {name}: {_offers(known, prefix)}")


def _rank(machine: str, prefix: str) -> tuple[bool, tuple[int, ...]] | None:
    """Sort key among the versions of a type; upstream ones rank above a vendor's (rhel9.6.0).

    None when it is not a versioned type of `prefix`.
    """
    match = _VERSIONED.fullmatch(machine)
    if match is None or match[1] != prefix:
        return None
    return not match[2], tuple(map(int, match[3].split(".")))


def _offers(known: dict[str, tuple[str, ...]], prefix: str) -> str:
    """Each build's versions of a type, newest first: `old has a, b; new has none`."""
    return "; ".join(f"{label} has {_newest(names, prefix)}" for label, names in known.items())


def _newest(names: Iterable[str], prefix: str) -> str:
    ranks = {name: rank for name in names if (rank := _rank(name, prefix))}
    return ", ".join(sorted(ranks, key=ranks.__getitem__, reverse=True)[:3]) or "none"
