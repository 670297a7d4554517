"""Setting up and tearing down a session: directory, payload, huge pages, probes, signals."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from results.errors import (
    Interrupted,
    PausebenchError,
    SessionNotKept,
    UsageError,
    error_status,
)
from results.ownership import private_directory
from results.qemu.modes import check_builds
from results.records.harm import exit_status, harm_of
from results.records.run import Run
from results.records.scenario import Build, Scenario, Session
from results.store.store import Store, new_session_id
from results.summary.accelerator import tcg_facts
from results.summary.failures.unfinished import NOT_KEPT
from runners.doctor.capabilities import kvm
from runners.host import vfio_pci as devices
from runners.host.facts import environment
from runners.host.hugepages import Note, reserve
from runners.host.hugetlbfs import mounted_hugetlbfs
from runners.host.leftovers import tidy
from runners.host.lock import host_lock
from runners.payload.build import build_payload
from runners.qemu.command_line import descriptors_made, guest_argv
from runners.qemu.guest import GuestPlace
from runners.qemu.headroom import HUGE_BACKENDS, copies
from runners.system.signals import interrupted_by_signals

from .controls import Controls
from .experiment import Experiment, Progress
from .instruments import Instruments
from .loading import DEFAULT_WATCH, Watch, load_instruments
from .schedule import Trial


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record of a finished session and its runs."""

    session: Session
    runs: tuple[Run, ...]


@contextmanager
def private_place(scenarios: Sequence[Scenario], note: Note) -> Iterator[GuestPlace]:
    """A private directory with the payload; huge pages and a hugetlbfs if scenarios need them."""
    with private_directory() as directory:
        if len(str(directory)) > 88:  # the path of a unix socket has at most 107 bytes
            raise UsageError(f"{directory} is too long for sockets: set TMPDIR to a shorter path")
        firmware = build_payload(directory)
        huge = [s.ram_bytes * copies(s) for s in scenarios if s.backend in HUGE_BACKENDS]
        with ExitStack() as stack:
            stack.enter_context(reserve(max(huge, default=0), note))
            mounted = None
            if any(s.backend == "hugetlbfs" for s in scenarios):
                mounted = stack.enter_context(mounted_hugetlbfs(directory))
            yield GuestPlace(directory, firmware, mounted)


def _devices(scenarios: Sequence[Scenario]) -> AbstractContextManager[object]:
    """Bind the assigned devices of all scenarios to vfio-pci for the session."""
    addresses = [address for s in scenarios for address in s.devices.split(",") if address]
    kinds = [s.vfio for s in scenarios if s.vfio]
    return devices.bound_to_vfio_pci(list(dict.fromkeys(addresses)), dict.fromkeys(kinds))


@dataclass(slots=True)
class LiveSession:
    """A session whose probes are loaded; `status` is stored as its exit status."""

    session: Session
    experiment: Experiment
    status: int = 0


@contextmanager
def open_session(
    scenarios: Sequence[Scenario],
    builds: Sequence[Build],
    store: Store,
    progress: Progress,
    command: Sequence[str],
    extra: dict[str, str],
    watch: Watch | None = DEFAULT_WATCH,
    *,
    share: bool = False,
) -> Iterator[LiveSession]:
    """Set up what a session needs, and tear it down again whatever happens in between.

    Waits until no other session measures on this host, unless `share`. With `watch` None the caller
    loads its own probes. Raises HostUnfit if probes cannot be loaded; an interrupt or SIGTERM
    unwinds through here.
    """
    check_builds(scenarios, builds)
    with interrupted_by_signals(), host_lock(progress.note, share=share):
        with _session(scenarios, builds, store, progress, command, extra, watch) as live:
            yield live


@contextmanager
def _session(
    scenarios: Sequence[Scenario],
    builds: Sequence[Build],
    store: Store,
    progress: Progress,
    command: Sequence[str],
    extra: dict[str, str],
    watch: Watch | None,
) -> Iterator[LiveSession]:
    started = time.time_ns()
    session = Session(
        id=new_session_id(started),
        started_unix_ns=started,
        command=tuple(command),
        builds=tuple(builds),
        environment=environment() | tcg_facts(scenarios, kvm().reason) | extra,
        probe_tier=watch.tier if watch is not None else "none",
        planned_updates=progress.planned,
    )
    tidy(progress.note)
    vfio = any(scenario.vfio for scenario in scenarios)
    for build in builds if vfio else ():
        devices.check_build(build)
    with (
        private_place(scenarios, progress.note) as place,
        _devices(scenarios),
    ):
        progress.doing("compiling and loading the BPF probes")
        passed = _descriptors(scenarios, builds, place)
        with _instruments(
            builds, watch, place, progress, vfio=vfio, descriptors=passed
        ) as instruments:
            store.add_session(session)
            experiment = Experiment(session.id, place, store, progress, instruments)
            # 130 until it is set: only an interrupt ends a session early.
            live = LiveSession(session, experiment, 130)
            try:
                yield live
            except KeyboardInterrupt as error:
                raise Interrupted(session.id, store.path) from error
            except PausebenchError as error:
                live.status = error_status(error)
                if live.status != NOT_KEPT:
                    raise
                raise SessionNotKept(str(error), session.id, store.path) from error
            except Exception as error:
                live.status = error_status(error)
                raise
            finally:
                # A further Ctrl-C must not leave probes half detached; restored by the caller.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _finish(store, session.id, live.status)
                progress.doing("detaching the probes")


def _finish(store: Store, session: str, status: int) -> None:
    try:
        store.finish_session(session, time.time_ns(), status)
    except PausebenchError as error:
        if error_status(error) != NOT_KEPT:
            raise
        raise SessionNotKept(str(error), session, store.path) from error


def _instruments(
    builds: Sequence[Build],
    watch: Watch | None,
    place: GuestPlace,
    progress: Progress,
    *,
    vfio: bool,
    descriptors: int,
) -> AbstractContextManager[Instruments]:
    if watch is None:
        return nullcontext(Instruments())
    controls = Controls(progress.doing)
    return load_instruments(
        builds, watch, place.directory, controls, vfio=vfio, descriptors=descriptors
    )


def _descriptors(scenarios: Sequence[Scenario], builds: Sequence[Build], place: GuestPlace) -> int:
    """How many descriptors an update of the session passes at most, by its command lines."""
    return max(
        (
            descriptors_made(
                guest_argv(
                    build,
                    scenario,
                    firmware=place.firmware,
                    monitor_fd=0,
                    hugetlbfs=place.hugetlbfs,
                )
            )
            for scenario in scenarios
            for build in builds
        ),
        default=0,
    )


def run_session(
    trials: Sequence[Trial],
    builds: Sequence[Build],
    store: Store,
    progress: Progress,
    command: Sequence[str],
    extra: dict[str, str],
    watch: Watch | None = DEFAULT_WATCH,
    *,
    share: bool = False,
) -> Outcome:
    """Measure `trials` and store every run as it ends; an interrupt leaves nothing behind.

    Raises HostUnfit if probes cannot be loaded, KeyboardInterrupt after an interrupt or SIGTERM.
    """
    scenarios = list({t.scenario.id: t.scenario for t in trials}.values())
    with open_session(
        scenarios, builds, store, progress, command, extra, watch, share=share
    ) as live:
        runs = asyncio.run(live.experiment.run(trials))
        live.status = exit_status(map(harm_of, runs))
    return Outcome(live.session, tuple(runs))
