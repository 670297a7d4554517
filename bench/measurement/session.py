"""Setting up and tearing down a session: directory, payload, huge pages, probes, signals."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from results.errors import UsageError
from results.qemu.modes import check_builds, promise
from results.records.run import Run
from results.records.scenario import Build, Scenario, Session
from results.store.store import Store, new_session_id
from runners.host import vfio_pci as devices
from runners.host.facts import environment
from runners.host.hugepages import mounted_hugetlbfs, reclaim_from_dead_sessions, reserve
from runners.payload.build import build_payload
from runners.qemu.command_line import descriptors_made, guest_argv
from runners.qemu.guest import GuestPlace
from runners.system.child import owner_name, still_runs

from .controls import Controls
from .experiment import Experiment, Progress
from .instruments import Instruments
from .loading import DEFAULT_WATCH, Watch, load_instruments
from .schedule import Trial

HUGE_BACKENDS = ("hugetlb-memfd", "hugetlbfs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record of a finished session and its runs."""

    session: Session
    runs: tuple[Run, ...]


@contextmanager
def private_place(scenarios: Sequence[Scenario]) -> Iterator[GuestPlace]:
    """A private directory with the payload; huge pages and a hugetlbfs if scenarios need them."""
    directory = Path(tempfile.mkdtemp(prefix=f"{owner_name()}-"))
    try:
        if len(str(directory)) > 80:  # the path of a unix socket has at most 107 bytes
            raise UsageError(f"{directory} is too long for sockets: set TMPDIR to a shorter path")
        firmware = build_payload(directory)
        huge = [
            s.ram_bytes * (2 if promise(s).ram != "stays" else 1)  # old and new each have their own
            for s in scenarios
            if s.backend in HUGE_BACKENDS
        ]
        with ExitStack() as stack:
            stack.enter_context(reserve(max(huge, default=0)))
            mounted = None
            if any(s.backend == "hugetlbfs" for s in scenarios):
                mounted = stack.enter_context(mounted_hugetlbfs(directory))
            yield GuestPlace(directory, firmware, mounted)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _devices(scenarios: Sequence[Scenario]) -> AbstractContextManager[object]:
    """Bind the assigned devices of all scenarios to vfio-pci for the session."""
    addresses = [address for s in scenarios for address in s.devices.split(",") if address]
    kinds = [s.vfio for s in scenarios if s.vfio]
    return devices.bound_to_vfio_pci(list(dict.fromkeys(addresses)), dict.fromkeys(kinds))


def clean_up_after_killed() -> None:
    """Clean up after killed sessions: huge pages, mounts, devices, private directories."""
    reclaim_from_dead_sessions()
    devices.reclaim_from_dead_sessions()
    for directory in Path(tempfile.gettempdir()).glob("pausebench-*"):
        match = re.fullmatch(r"pausebench-(\d+)-(\d+)-\w+", directory.name)
        if match is None or directory.stat(follow_symlinks=False).st_uid != os.getuid():
            continue
        if not still_runs(int(match[1]), int(match[2])):
            shutil.rmtree(directory, ignore_errors=True)


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
) -> Iterator[LiveSession]:
    """Set up what a session needs, and tear it down again whatever happens in between.

    With `watch` None the caller loads its own probes. Raises HostUnfit if probes cannot be loaded;
    an interrupt or SIGTERM unwinds through here.
    """
    check_builds(scenarios, builds)
    started = time.time_ns()
    session = Session(
        id=new_session_id(started),
        started_unix_ns=started,
        command=tuple(command),
        builds=tuple(builds),
        environment=environment() | extra,
        probe_tier=watch.tier if watch is not None else "none",
    )
    clean_up_after_killed()
    vfio = any(scenario.vfio for scenario in scenarios)
    for build in builds if vfio else ():
        devices.check_build(build)
    with _terminate_as_interrupt(), private_place(scenarios) as place, _devices(scenarios):
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
            finally:
                # A further Ctrl-C must not leave probes half detached; restored by the caller.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                store.finish_session(session.id, time.time_ns(), live.status)
                progress.doing("detaching the probes")


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
) -> Outcome:
    """Measure `trials` and store every run as it ends; an interrupt leaves nothing behind.

    Raises HostUnfit if probes cannot be loaded, KeyboardInterrupt after an interrupt or SIGTERM.
    """
    scenarios = list({t.scenario.id: t.scenario for t in trials}.values())
    with open_session(scenarios, builds, store, progress, command, extra, watch) as live:
        runs = asyncio.run(live.experiment.run(trials))
        live.status = 0 if all(run.outcome == "completed" for run in runs) else 3
    return Outcome(live.session, tuple(runs))


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that guests, mounts and pages are freed."""

    def interrupt(number: int, frame: object) -> None:
        for again in handled:
            signal.signal(again, signal.SIG_IGN)  # a second one must not interrupt the clean-up
        raise KeyboardInterrupt

    handled = (signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, interrupt) for n in handled}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
