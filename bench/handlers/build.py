"""`pausebench build`: manage the QEMU builds to measure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports.terminal.style import say
from results.errors import BuildUnfit, HostUnfit
from results.records.scenario import Build
from runners.builds.catalogue import (
    Entry,
    add,
    cache_directory,
    discover_entry,
    find,
    list_builds,
    remove,
)
from runners.builds.discover import default_build
from runners.builds.machine_types import known_machines, newest_common


def run(args: argparse.Namespace) -> int:
    match args.action:
        case "add":
            say(add(args.spec, args.label).label)
        case "list":
            _list(list_builds(), args.json)
        case "show":
            _show(args.label, args.json)
        case "remove":
            remove(args.label)
    return 0


# --- list -----------------------------------------------------------------------------------


def _list(entries: Sequence[Entry], as_json: bool) -> None:
    system = _system()
    if as_json:
        builds = [_system_row(system)] if system else []
        builds += [_row(entry) for entry in entries]
        print(json.dumps({"cache": str(cache_directory()), "builds": builds}, indent=2))
        return
    rows = [("LABEL", "QEMU", "FROM", "ADDED")]
    if system:
        rows.append((system.label, system.version.split()[0], system.binary, ""))
    rows += [
        (entry.label, entry.version.split()[0], _origin(entry), entry.added[:10])
        for entry in entries
    ]
    _print_columns(rows)
    if not entries:
        print("\nAdd one: pausebench build add debian:SUITE, e.g. debian:trixie-backports")


def _system() -> Build | None:
    """The system's QEMU, which needs no `build add`; None if it cannot do cpr-transfer."""
    try:
        return default_build()
    except HostUnfit:
        return None


def _system_row(build: Build) -> dict[str, Any]:
    fields = ("label", "version", "build_id", "sha256", "missing_marks")
    row: dict[str, Any] = {name: getattr(build, name) for name in fields}
    return row | {"spec": "system", "path": build.binary, "package_version": "", "present": True}


def _row(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"present": Path(entry.path).exists()}


def _origin(entry: Entry) -> str:
    if not Path(entry.path).exists():
        return f"{entry.spec} (gone)"
    return f"{entry.spec} {entry.package_version}".strip()


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip())


# --- show -----------------------------------------------------------------------------------


def _show(label: str, as_json: bool) -> None:
    entry = None if label == "system" else find(label)
    build = default_build() if entry is None else discover_entry(entry)
    machines = known_machines(build)
    if as_json:
        row = _system_row(build) if entry is None else _row(entry)
        print(json.dumps(row | asdict(build) | {"machines": machines}, indent=2))
        return
    for name, value in _facts(build, entry, machines):
        say(f"{name + ':':<14}{value}")


def _facts(build: Build, entry: Entry | None, machines: Sequence[str]) -> list[tuple[str, str]]:
    facts = [
        ("label", build.label),
        ("QEMU", build.version),
        ("from", "the system" if entry is None else entry.spec),
        ("package", entry.package_version if entry else ""),
        ("added", entry.added if entry else ""),
        ("binary", build.binary),
        ("build id", build.build_id or "none"),
        ("SHA-256", build.sha256),
        ("of its tree", build.tree_sha256),
        ("started by", " ".join(build.launcher)),
        ("firmware", " ".join(build.firmware_dirs) or "QEMU's default"),
        ("CPR modes", ", ".join(build.cpr_modes)),
        ("machines", _machines(build.label, machines)),
        ("probes", _probes(build)),
    ]
    return [(name, value) for name, value in facts if value]


def _machines(label: str, machines: Sequence[str]) -> str:
    try:
        newest = newest_common({label: tuple(machines)}, "q35")
    except BuildUnfit:
        newest = "none"
    return f"{len(machines)} types, newest q35: {newest}"


def _probes(build: Build) -> str:
    if not build.missing_marks:
        return f"all marks found ({len(build.symbols)} functions)"
    return f"no function for {', '.join(build.missing_marks)}: those phases are not measured"
