"""A session in the lab: its root is made, it boots and runs pausebench, its runs come back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measurement.scenarios import BUILTIN, find_scenario, load_scenarios
from results.claims import document as claims_document
from results.claims.document import ClaimsDocument, read_claims
from results.errors import HostUnfit, UsageError
from results.instrument import certificates
from results.records.run import Run
from results.records.scenario import Scenario, Session
from results.store.documents import Documents
from results.store.merge import merge
from results.store.store import Store, open_store
from runners.builds.discover import default_build
from runners.host.facts import environment
from runners.lab import recipe
from runners.lab.boot import Finished, Job, interactive, lab_run
from runners.lab.modules import add_iommufd, has_iommufd
from runners.lab.root import LabRoot, build_root, current_root, describe, in_use
from runners.system.timeouts import LAB_VARIABLE


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of the lab beside the scenarios."""

    assigned: tuple[str, ...]
    boots: int
    updates: int
    ram: str | None
    vcpus: int | None
    seed: int | None
    time_limit_s: int
    scenario_file: Path | None = None


_FILE = "scenarios.toml"
_SPARE_S = 40  # for what is at work when the lab's own limit is reached
_STARTED = time.monotonic()


def tell(line: str) -> None:
    """Progress of the lab, on standard error, with the seconds since the command began."""
    spent = time.monotonic() - _STARTED
    print(f"lab {spent:4.0f} s  {line}", file=sys.stderr, flush=True)


def chosen(names: Sequence[str], file: Path | None, *, legacy_only: bool) -> list[Scenario]:
    """The scenarios by name, also those of a TOML file. Raises UsageError."""
    known = BUILTIN + (load_scenarios(file) if file else ())
    scenarios = [find_scenario(name, known) for name in dict.fromkeys(names)]
    for scenario in scenarios:
        if legacy_only and scenario.vfio == "iommufd":
            raise UsageError(f"--legacy-only leaves out what {scenario.id} needs")
    return scenarios


def ensure_root(*, fresh: bool, iommufd: bool) -> LabRoot:
    """The root, made when there is none; `fresh` asks the mirror for newer versions as well."""
    started = time.monotonic()
    root = None if fresh else current_root()
    if root is None:
        root = build_root(tell)
    if iommufd and not has_iommufd(root):
        add_iommufd(root, tell)
    took = time.monotonic() - started
    if took > 1:
        tell(f"{describe(root)} ready after {took:.0f} s")
    return root


def measure(
    scenarios: Sequence[Scenario], wishes: Wishes, store: Store, command: Sequence[str]
) -> tuple[Session, list[Run]]:
    """Run the scenarios in the lab and take their session over into `store`.

    Raises HostUnfit when the lab cannot be made, does not boot or does not end in time.
    """
    devices = recipe.chosen_devices(wishes.assigned)
    root = ensure_root(fresh=False, iommufd=any(s.vfio == "iommufd" for s in scenarios))
    arguments = _arguments(scenarios, wishes, len(devices))
    files = {_FILE: wishes.scenario_file.read_text()} if wishes.scenario_file else {}
    with _carried_out(root, arguments, devices, wishes.time_limit_s, files) as finished:
        return _taken_over(finished, store, command)


def claims(
    root: LabRoot, assigned: Sequence[str], limit_s: int, store: Store, command: Sequence[str]
) -> tuple[Session, ClaimsDocument]:
    """Put the claims about assigned devices to the test in a lab that has been made.

    Its session goes over into `store`; the document with what was found does not, its findings are
    part of another. Raises HostUnfit as `measure` does.
    """
    devices = recipe.chosen_devices(assigned)
    arguments = [*_command("claims"), "--assigned-only", "--limit", str(max(1, limit_s - _SPARE_S))]
    for place in range(len(devices)):
        arguments += ["--device", recipe.address_of(place)]
    with _carried_out(root, arguments, devices, limit_s, {}) as finished:
        session, _ = _taken_over(finished, store, command, (certificates.DOCUMENTS,))
        document = read_claims(finished.store, session.id)
    if document is None:
        raise HostUnfit("the lab was cut off before it could say what it had found")
    return session, document


@contextmanager
def _carried_out(
    root: LabRoot,
    arguments: Sequence[str],
    devices: tuple[recipe.LabDevice, ...],
    limit_s: int,
    files: Mapping[str, str],
) -> Iterator[Finished]:
    job = Job(tuple(arguments), devices, {LAB_VARIABLE: _identity()}, limit_s, files)
    with in_use(root):
        tell(f"booting {describe(root)} with {', '.join(d.name for d in devices)}")
        with lab_run(root, job, tell) as finished:
            yield finished


def _command(name: str) -> list[str]:
    return ["python3", "-m", "bench", name, "--store", "/run/store"]


def _arguments(scenarios: Sequence[Scenario], wishes: Wishes, devices: int) -> tuple[str, ...]:
    words = [*_command("run"), *(s.id for s in scenarios), "--quiet"]
    words += ["--boots", str(wishes.boots), "--updates", str(wishes.updates)]
    if wishes.scenario_file:
        words += ["--scenarios", f"/lab/{_FILE}"]
    if any(scenario.vfio for scenario in scenarios):
        for place in range(devices):
            words += ["--device", recipe.address_of(place)]
    for option, value in (
        ("--ram", wishes.ram),
        ("--vcpus", wishes.vcpus),
        ("--seed", wishes.seed),
    ):
        if value is not None:
            words += [option, str(value)]
    return tuple(words)


def _identity() -> str:
    """What the lab runs on: its numbers hold for that and nothing else."""
    facts = environment()
    qemu = default_build().version.split()[0]
    return (
        f"TCG of QEMU {qemu} on {facts.get('host')} ({facts.get('cpu')}, {facts.get('cpus')} CPUs)"
    )


def _taken_over(
    finished: Finished,
    store: Store,
    command: Sequence[str],
    documents: Sequence[Documents[Any]] = (certificates.DOCUMENTS, claims_document.DOCUMENTS),
) -> tuple[Session, list[Run]]:
    if not (finished.store / "pausebench.sqlite").exists():
        words = finished.progress.strip().splitlines() or ["it said nothing"]
        raise HostUnfit(f"the lab measured nothing: {words[-1]}")
    with open_store(finished.store, create=False) as brought:
        last = merge(brought, store, documents, command)[-1]
    return store.session(last), store.runs(session=last)


def shell(assigned: Sequence[str]) -> int:
    """An interactive lab; returns the shell's exit status."""
    devices = recipe.chosen_devices(assigned)
    root = ensure_root(fresh=False, iommufd=False)
    with in_use(root):
        tell("a shell in the lab: pausebench lies in /lab/code, `poweroff -f` or Ctrl-D ends it")
        return interactive(root, devices)
