"""Builds of a nightly job: resolves `newest:DIRECTORY` and `debian:SUITE` for one night."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from results.errors import BuildUnfit, UsageError
from results.records.scenario import Build
from runners.debian.suites import parse_suite

from . import catalogue
from .cache import list_builds
from .discover import discover

NEWEST = "newest:"
_KEPT = 3  # unpacked builds of a suite
_MOST_TRIED = 10


def resolve_nightly_build(
    spec: str, label: str, day: str, base: Path, progress: Callable[[str], None]
) -> Build:
    """Resolve `spec` on `day` (YYYYMMDD) to a build with label `label`.

    `newest:DIRECTORY` is the newest usable build in a directory; `debian:SUITE` is fetched once a
    day, and the last few are kept. Paths are relative to `base`. Raises UsageError, BuildUnfit,
    HostUnfit.
    """
    if spec.startswith(NEWEST):
        found = _newest(base / Path(spec.removeprefix(NEWEST)).expanduser(), label, progress)
    elif parse_suite(spec) is not None:
        name = re.sub(r"[^a-z0-9.-]+", "-", spec.removeprefix("debian:").lower())
        entry = catalogue.add(spec, f"{name}.{day}", progress)
        _remove_older(name, entry.label)
        found = catalogue.discover_entry(entry)
    elif "/" in spec:
        found = discover(base / Path(spec).expanduser())
    else:
        found = catalogue.resolve_build(spec, progress)
    return replace(found, label=label)


def _newest(directory: Path, label: str, progress: Callable[[str], None]) -> Build:
    """The newest build by modification time; unusable entries are reported and skipped."""
    try:
        entries = sorted(
            (entry for entry in directory.iterdir() if not entry.name.startswith(".")),
            key=lambda entry: entry.stat().st_mtime_ns,
            reverse=True,
        )
    except OSError as error:
        raise UsageError(f"cannot list {directory}: {error.strerror or error}") from error
    for entry in entries[:_MOST_TRIED]:
        try:
            build = discover(entry, label)
        except BuildUnfit as error:
            progress(f"skipping {entry.name}: {error}")
            continue
        progress(f"{label} is {entry.name}, QEMU {build.version.partition(' ')[0]}")
        return build
    raise BuildUnfit(f"none of the newest entries of {directory} is a usable build")


def _remove_older(name: str, kept: str) -> None:
    """Remove all but the last few daily builds of a suite from the cache."""
    daily = sorted(
        entry.label
        for entry in list_builds()
        if re.fullmatch(rf"{re.escape(name)}\.\d{{8}}", entry.label)
    )
    for label in daily[:-_KEPT]:
        if label != kept:
            catalogue.remove(label)
