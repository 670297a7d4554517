"""`pausebench build`: QEMU builds to measure, from a Debian suite, a tree or a path."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.records.scenario import Build
    from runners.builds.catalogue import Entry

_EPILOG = """\
Builds of suites are unpacked into $PAUSEBENCH_CACHE, else /var/cache/pausebench/builds, and run
from there by their own dynamic loader; the host's packages stay as they are. Mirror, proxy and
keyring are those of the host's apt.

examples:
  pausebench build add debian:trixie-backports
  pausebench build add debian:sid --label tonight
  pausebench build add debian:trixie=10.0.13
  pausebench build add /src/qemu/build --label mine
  pausebench compare system trixie-backports"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="unpack a suite's QEMU, or give a path a label")
    add.add_argument(
        "spec",
        metavar="SPEC",
        help="debian:SUITE, debian:SUITE=VERSION, or the path of a QEMU binary, build directory "
        "or unpacked tree (a path stays where it is)",
    )
    add.add_argument(
        "--label",
        metavar="L",
        help="what to call it (default: the suite's name, or qemu-VERSION)",
    )
    listing = actions.add_parser("list", help="the builds that can be named by label")
    show = actions.add_parser("show", help="one build: where, what, and what can be probed in it")
    show.add_argument("label", metavar="LABEL", help="one of `build list`")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="one JSON document on stdout")
    remove = actions.add_parser("remove", help="forget a build; an unpacked one is deleted")
    remove.add_argument("label", metavar="LABEL", help="one of `build list`")


def run(args: argparse.Namespace) -> int:
    from runners.builds import catalogue

    match args.action:
        case "add":
            print(catalogue.add(args.spec, args.label).label)
        case "list":
            _list(catalogue.list_builds(), args.json)
        case "show":
            _show(args.label, args.json)
        case "remove":
            catalogue.remove(args.label)
    return 0


# --- list -----------------------------------------------------------------------------------


def _list(entries: Sequence[Entry], as_json: bool) -> None:
    from runners.builds.catalogue import cache_directory

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
        print("\nMore: pausebench build add debian:SUITE, like debian:trixie-backports")


def _system() -> Build | None:
    """The system's QEMU, which needs no adding, where there is a fit one."""
    from results.errors import HostUnfit
    from runners.builds.discover import default_build

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
        print(
            "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        )


# --- show -----------------------------------------------------------------------------------


def _show(label: str, as_json: bool) -> None:
    from runners.builds.catalogue import find, look_into
    from runners.builds.discover import default_build
    from runners.builds.machine_types import known_machines

    entry = None if label == "system" else find(label)
    build = default_build() if entry is None else look_into(entry)
    machines = known_machines(build)
    if as_json:
        row = _system_row(build) if entry is None else _row(entry)
        print(json.dumps(row | asdict(build) | {"machines": machines}, indent=2))
        return
    for name, value in _facts(build, entry, machines):
        print(f"{name + ':':<14}{value}")


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
        ("started by", " ".join(build.launcher)),
        ("firmware", " ".join(build.firmware_dirs) or "its own"),
        ("CPR modes", ", ".join(build.cpr_modes)),
        ("machines", _machines(build.label, machines)),
        ("probes", _probes(build)),
    ]
    return [(name, value) for name, value in facts if value]


def _machines(label: str, machines: Sequence[str]) -> str:
    from results.errors import BuildUnfit
    from runners.builds.machine_types import newest_common

    try:
        newest = newest_common({label: tuple(machines)}, "q35")
    except BuildUnfit:
        newest = "none"
    return f"{len(machines)}, the newest q35: {newest}"


def _probes(build: Build) -> str:
    if not build.missing_marks:
        return f"all marks found ({len(build.symbols)} functions)"
    return f"no function for {', '.join(build.missing_marks)}: those phases go unmeasured"
