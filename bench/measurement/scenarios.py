"""The built-in scenarios, and those that a TOML file adds.

To add a scenario, add a line to `BUILTIN`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import psutil

from bench.arguments import parse_size
from results.errors import HostUnfit, UsageError
from results.qemu.modes import named
from results.records.modes import MODES
from results.records.scenario import Accelerator, Backend, Build, Scenario, Vfio
from runners.builds.machine_types import common_machine
from runners.doctor.capabilities import kvm
from runners.host.vfio_pci import chosen_addresses
from runners.qemu.command_line import check_scenario
from runners.qemu.headroom import check_room

BUILTIN: tuple[Scenario, ...] = (
    Scenario("anon", "anon", "anonymous RAM (memory-backend-ram, a memfd behind the scenes)"),
    Scenario("memfd", "memfd", "RAM in a memfd (memory-backend-memfd)"),
    Scenario("shm", "shm", "RAM in POSIX shared memory (memory-backend-shm)"),
    Scenario("hugetlb-2m", "hugetlb-memfd", "2 MiB huge pages in a memfd"),
    Scenario("hugetlbfs", "hugetlbfs", "2 MiB huge pages in a file on a mounted hugetlbfs"),
    Scenario("pinned", "anon", "like anon, all RAM pinned by an io_uring process", pinned=True),
    Scenario(
        "pinned-2m",
        "hugetlb-memfd",
        "like hugetlb-2m, all RAM pinned by an io_uring process",
        pinned=True,
    ),
    Scenario("vfio-type1", "anon", "PCI devices assigned by VFIO's type1 container", vfio="type1"),
    Scenario(
        "vfio-iommufd",
        "anon",
        "PCI devices assigned by iommufd, BARs not mapped",
        vfio="iommufd",
        no_mmap=True,
    ),
    Scenario(
        "vfio-type1-2m",
        "hugetlb-memfd",
        "like vfio-type1, on 2 MiB huge pages",
        vfio="type1",
    ),
    Scenario(
        "vfio-iommufd-2m",
        "hugetlb-memfd",
        "like vfio-iommufd, on 2 MiB huge pages",
        vfio="iommufd",
        no_mmap=True,
    ),
    Scenario("anon-locked", "anon", "like anon, with -overcommit mem-lock=on", mem_lock=True),
)

# Those that need nothing from the host but RAM and CPUs.
PLAIN: tuple[Scenario, ...] = tuple(s for s in BUILTIN if not s.vfio)

_Read = TypeVar("_Read")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def known_scenarios(file: Path | None) -> tuple[Scenario, ...]:
    """The built-in ones, and those of a TOML file. Raises UsageError."""
    return BUILTIN + (load_scenarios(file) if file is not None else ())


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Scenarios of a TOML file: tables `[scenario.ID]` with the fields of `Scenario`.

    A table may name a built-in scenario in `like` and change only what differs; `ram` is a size
    with a unit. Raises UsageError that names the file and the field.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: cannot be read as TOML: it is nested too deeply") from None
    tables = document.get("scenario", {})
    if not isinstance(tables, dict) or not tables or set(document) != {"scenario"}:
        raise UsageError(f"{path}: expected tables [scenario.NAME] only")
    return tuple(_from_table(path, name, table) for name, table in tables.items())


def _from_table(path: Path, name: str, table: Any) -> Scenario:
    where = f"{path}: [scenario.{name}]"
    if not _ID.fullmatch(name):
        raise UsageError(f"{where}: a name has lower-case letters, digits, dots and dashes only")
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table")
    if name in {scenario.id for scenario in BUILTIN}:
        raise UsageError(f"{where}: is a built-in scenario; choose another name")
    values = dict(table)
    base = _like(where, values)
    if "ram" in values:
        values["ram_bytes"] = _read_at(f"{where}: ram", parse_size, str(values.pop("ram")))
    kinds = {f.name: f for f in fields(Scenario) if f.name != "id"}
    for key, value in values.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key `{key}`; known: ram, like, {', '.join(kinds)}")
        _check(where, key, value, base)
    if isinstance(values.get("touched"), int):
        values["touched"] = float(values["touched"])
    return replace(base, id=name, **values)


def _like(where: str, values: dict[str, Any]) -> Scenario:
    if "like" in values:
        return _read_at(
            f"{where}: like", lambda n: find_scenario(n, BUILTIN), str(values.pop("like"))
        )
    if "backend" not in values:
        raise UsageError(f"{where}: needs `like` (a built-in scenario) or `backend`")
    return replace(BUILTIN[0], about="")


def _read_at(where: str, read: Callable[[str], _Read], text: str) -> _Read:
    try:
        return read(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _check(where: str, key: str, value: object, base: Scenario) -> None:
    choices = {
        "backend": get_args(Backend),
        "accel": get_args(Accelerator),
        "vfio": get_args(Vfio),
        "mode": MODES,
    }.get(key)
    if choices is not None and value not in choices:
        raise UsageError(f"{where}: {key} must be one of {', '.join(choices)}, not {value!r}")
    expected = type(getattr(base, key))
    allowed = (int, float) if expected is float else expected
    if not isinstance(value, allowed) or (isinstance(value, bool) and expected is not bool):
        raise UsageError(f"{where}: {key} must be {expected.__name__}, not {value!r}")


def find_scenario(name: str, known: Iterable[Scenario]) -> Scenario:
    """The scenario called `name`. Raises UsageError with the nearest name."""
    by_id = {scenario.id: scenario for scenario in known}
    if name in by_id:
        return by_id[name]
    near = difflib.get_close_matches(name, by_id, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(by_id)}"
    raise UsageError(f"unknown scenario `{name}`; {hint} (see `pausebench list`)")


def changed(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """`scenario` with every change that is not None."""
    return replace(scenario, **{k: v for k, v in changes.items() if v is not None})


def on_common_machine(
    scenarios: Sequence[Scenario], builds: Sequence[Build], forced: str | None
) -> tuple[list[Scenario], str]:
    """Give every scenario a machine type that all builds have, unless `forced` names one.

    An unversioned type is another machine in each release: a guest cannot be updated from one to
    the other, and a comparison would compare machines. Returns the scenarios and what was chosen.
    """
    if forced is not None or len({build.version for build in builds}) == 1:
        return list(scenarios), forced or "as each scenario says: all builds are of one version"
    chosen: dict[str, str] = {}
    for scenario in scenarios:
        if scenario.machine not in chosen:
            chosen[scenario.machine] = common_machine(builds, scenario.machine)
    return (
        [replace(scenario, machine=chosen[scenario.machine]) for scenario in scenarios],
        ", ".join(f"{old} → {new}" for old, new in chosen.items()),
    )


def resolve(scenario: Scenario, *, falls_back: bool = True) -> Scenario:
    """Choose the accelerator and refuse what this host cannot run, before anything starts.

    Without `falls_back` TCG is used only where the scenario asks for it: a verdict on builds is
    about KVM. Raises HostUnfit without KVM when it is needed, or when a limit of the host is too
    low, UsageError for impossible sizes.
    """
    if scenario.accel != "tcg":
        refused = kvm()
        if refused and (scenario.accel == "kvm" or not falls_back):
            raise HostUnfit(
                f'no usable KVM: {refused}; or measure under TCG (--accel tcg, or accel = "tcg" in '
                "a file of scenarios)"
            )
        scenario = replace(scenario, accel="tcg" if refused else "kvm")
    check_scenario(scenario, psutil.virtual_memory().available, os.cpu_count() or 1)
    check_room(scenario)
    return scenario


def require_cpr_transfer(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """For commands that take no other mode. Raises UsageError for one."""
    for scenario in scenarios:
        if scenario.mode != "cpr-transfer":
            raise UsageError(
                f"scenario {scenario.id}: this command measures cpr-transfer, not {scenario.mode}; "
                "`run` and `compare` take any mode"
            )
    return list(scenarios)


def in_modes(scenarios: Sequence[Scenario], names: Sequence[str]) -> list[Scenario]:
    """Every scenario in every named mode, or unchanged without one. Raises UsageError.

    A mode other than cpr-transfer becomes part of the name: anon@precopy.
    """
    found = []
    for name in dict.fromkeys(names):
        mode = next((mode for mode in MODES if mode == name), None)
        if mode is None:
            near = difflib.get_close_matches(name, MODES, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(MODES)}"
            raise UsageError(f"unknown mode `{name}` (--mode); {hint}")
        found += [named(replace(scenario, mode=mode)) for scenario in scenarios]
    return found or list(scenarios)


def with_devices(scenarios: Sequence[Scenario], addresses: Sequence[str]) -> list[Scenario]:
    """Assign the devices in the vfio scenarios. Raises UsageError if there is none."""
    if not addresses:
        return list(scenarios)
    devices = ",".join(dict.fromkeys(a for text in addresses for a in chosen_addresses(text)))
    if not any(scenario.vfio for scenario in scenarios):
        raise UsageError(
            "--device needs a scenario that assigns devices (vfio-type1, vfio-iommufd, …), not "
            f"{', '.join(s.id for s in scenarios)} alone"
        )
    return [replace(s, devices=devices) if s.vfio else s for s in scenarios]
