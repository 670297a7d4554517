"""A session in the lab: build its root, boot it, run pausebench in it, import its runs."""

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
from results.history import kept
from results.instrument import certificates
from results.printable import printable
from results.records.run import Run
from results.records.scenario import Scenario, Session
from results.store.documents import Documents
from results.store.merge import merge
from results.store.store import Store, open_store
from runners.builds.discover import default_build
from runners.host.facts import environment
from runners.lab import recipe
from runners.lab.boot import Finished, Job, lab_run, run_shell
from runners.lab.modules import add_iommufd, has_iommufd
from runners.lab.root import LabRoot, build_root, current_root, describe, in_use
from runners.system.timeouts import LAB_VARIABLE


@dataclass(frozen=True, slots=True)
class LabRequest:
    """What to measure in the lab, in addition to the scenarios."""

    assigned: tuple[str, ...]
    boots: int
    updates: int
    ram: str | None
    vcpus: int | None
    seed: int | None
    time_limit_s: int
    scenario_file: Path | None = None


# Next to the lab's database, to be imported with its sessions.
DOCUMENTS: tuple[Documents[Any], ...] = (
    certificates.DOCUMENTS,
    claims_document.DOCUMENTS,
    kept.DOCUMENTS,
)
_FILE = "scenarios.toml"
_SPARE_S = 40  # for what is running when the lab's own limit is reached
_STARTED = time.monotonic()


def log(line: str) -> None:
    """Progress of the lab, on standard error, with the seconds since the command began."""
    spent = time.monotonic() - _STARTED
    print(f"lab {spent:4.0f} s  {printable(line)}", file=sys.stderr, flush=True)


def select_scenarios(
    names: Sequence[str], file: Path | None, *, legacy_only: bool
) -> list[Scenario]:
    """The scenarios by name, including those of a TOML file. Raises UsageError."""
    known = BUILTIN + (load_scenarios(file) if file else ())
    scenarios = [find_scenario(name, known) for name in dict.fromkeys(names)]
    for scenario in scenarios:
        if legacy_only and scenario.vfio == "iommufd":
            raise UsageError(
                f"scenario {scenario.id} needs iommufd, which --legacy-only leaves out"
            )
    return scenarios


def ensure_root(*, fresh: bool, iommufd: bool) -> LabRoot:
    """The root, built if there is none; `fresh` also asks the mirror for newer versions."""
    started = time.monotonic()
    root = None if fresh else current_root()
    if root is None:
        root = build_root(log)
    if iommufd and not has_iommufd(root):
        add_iommufd(root, log)
    took = time.monotonic() - started
    if took > 1:
        log(f"{describe(root)} ready after {took:.0f} s")
    return root


def measure(
    scenarios: Sequence[Scenario], request: LabRequest, store: Store, command: Sequence[str]
) -> tuple[Session, list[Run]]:
    """Run the scenarios in the lab and import their session into `store`.

    Raises HostUnfit if the lab cannot be built, does not boot or does not end in time.
    """
    devices = recipe.chosen_devices(request.assigned)
    root = ensure_root(fresh=False, iommufd=any(s.vfio == "iommufd" for s in scenarios))
    arguments = _arguments(scenarios, request, len(devices))
    files = {_FILE: request.scenario_file.read_text()} if request.scenario_file else {}
    with _run_job(root, arguments, devices, request.time_limit_s, files) as finished:
        return _import_session(finished, store, command)


def claims(
    root: LabRoot, assigned: Sequence[str], limit_s: int, store: Store, command: Sequence[str]
) -> tuple[Session, ClaimsDocument]:
    """Test the claims about assigned devices in a lab that has been built.

    Its session is imported into `store`; its document is not, as its findings become part of
    another. Raises HostUnfit as `measure` does.
    """
    devices = recipe.chosen_devices(assigned)
    arguments = [*_command("claims"), "--assigned-only", "--limit", str(max(1, limit_s - _SPARE_S))]
    for place in range(len(devices)):
        arguments += ["--device", recipe.address_of(place)]
    with _run_job(root, arguments, devices, limit_s, {}) as finished:
        # Without its claims document, which would become the store's latest.
        session, _ = _import_session(finished, store, command, (certificates.DOCUMENTS,))
        document = read_claims(finished.store, session.id)
    if document is None:
        raise HostUnfit("the lab was ended before it stored what it found")
    return session, document


@contextmanager
def _run_job(
    root: LabRoot,
    arguments: Sequence[str],
    devices: tuple[recipe.LabDevice, ...],
    limit_s: int,
    files: Mapping[str, str],
) -> Iterator[Finished]:
    job = Job(tuple(arguments), devices, {LAB_VARIABLE: _identity()}, limit_s, files)
    with in_use(root):
        log(f"booting {describe(root)} with {', '.join(d.name for d in devices)}")
        with lab_run(root, job, log) as finished:
            yield finished


def _command(name: str) -> list[str]:
    return ["python3", "-m", "bench", name, "--store", "/run/store"]


def _arguments(scenarios: Sequence[Scenario], request: LabRequest, devices: int) -> tuple[str, ...]:
    words = [*_command("run"), *(s.id for s in scenarios), "--quiet"]
    words += ["--boots", str(request.boots), "--updates", str(request.updates)]
    if request.scenario_file:
        words += ["--scenarios", f"/lab/{_FILE}"]
    if any(scenario.vfio for scenario in scenarios):
        for place in range(devices):
            words += ["--device", recipe.address_of(place)]
    for option, value in (
        ("--ram", request.ram),
        ("--vcpus", request.vcpus),
        ("--seed", request.seed),
    ):
        if value is not None:
            words += [option, str(value)]
    return tuple(words)


def _identity() -> str:
    """What the lab runs on, for which alone its numbers hold."""
    facts = environment()
    qemu = default_build().version.split()[0]
    return (
        f"TCG of QEMU {qemu} on {facts.get('host')} ({facts.get('cpu')}, {facts.get('cpus')} CPUs)"
    )


def _import_session(
    finished: Finished,
    store: Store,
    command: Sequence[str],
    documents: Sequence[Documents[Any]] = DOCUMENTS,
) -> tuple[Session, list[Run]]:
    if not (finished.store / "pausebench.sqlite").exists():
        words = finished.progress.strip().splitlines() or ["no output"]
        raise HostUnfit(f"the lab measured nothing: {words[-1]}")
    with open_store(finished.store, create=False) as source:
        last = merge(source, store, documents, command)[-1]
    return store.session(last), store.runs(session=last)


def shell(assigned: Sequence[str]) -> int:
    """Open a shell in the lab; returns its exit status."""
    devices = recipe.chosen_devices(assigned)
    root = ensure_root(fresh=False, iommufd=False)
    with in_use(root):
        log("a shell in the lab: pausebench is in /lab/code; end it with `poweroff -f` or Ctrl-D")
        return run_shell(root, devices)
