"""What a session loads to watch its updates, and in which order it is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from probes.handover import HandoverProbe
from probes.pin_events import PinProbe
from probes.scheduler import SchedulerProbe
from results.records.scenario import Build
from runners.observer.process import build_observer

from .controls import Controls
from .instruments import Instruments
from .probing import BeatObserver, Brackets, HandoverMarks, Interrupts, PerfCounts, SchedulerRing
from .prover import Prover


@dataclass(frozen=True, slots=True)
class Watch:
    """What is loaded in addition to the probes of every session; each lengthens the blackout.

    `why` traces the scheduler, for `pausebench why`; `observer` is the witness on a CPU of its own;
    `perf` counts perf events of both QEMUs.
    """

    why: bool = False
    observer: bool = False
    perf: bool = False

    @property
    def tier(self) -> str:
        """Runs under different tiers are not compared."""
        more = (("scheduler", self.why), ("observer", self.observer), ("perf", self.perf))
        return "+".join(("tracepoints", "uprobes", *(name for name, on in more if on)))


DEFAULT_WATCH = Watch()


@contextmanager
def load_instruments(
    builds: Sequence[Build],
    watch: Watch,
    directory: Path,
    controls: Controls,
    *,
    vfio: bool,
    descriptors: int = 0,
) -> Iterator[Instruments]:
    """Load probes for `builds`, `vfio` with those of assigned devices; `directory` is private.

    `descriptors` is how many an update passes at most.

    Raises HostUnfit when they cannot be loaded.
    """
    with (
        HandoverProbe(builds, vfio=vfio, descriptors=descriptors) as handover,
        PinProbe() as pins,
        SchedulerProbe() if watch.why else nullcontext() as scheduler,
    ):
        # Marks first: new QEMU is already starting. In the hold, what takes long comes first, and
        # the ring of the scheduler must hold the blackout and little else. What was armed last is
        # disarmed first: the scheduler, then the observer, which takes a moment to end, then perf
        # events, before anything is collected. Marks are collected before the proof, which
        # compares the descriptors that they name.
        yield Instruments(
            (
                HandoverMarks(handover),
                Interrupts(handover),
                Prover(controls, pins),
                *([PerfCounts()] if watch.perf else []),
                Brackets(handover),
                *([BeatObserver(build_observer(directory))] if watch.observer else []),
                *([SchedulerRing(scheduler)] if scheduler is not None else []),
            )
        )


@contextmanager
def load_brackets(builds: Sequence[Build]) -> Iterator[Instruments]:
    """Guest entry and exit alone: the least that shows a blackout."""
    with HandoverProbe(builds, only_bracket=True) as handover:
        yield Instruments((HandoverMarks(handover, traces_marks=False), Brackets(handover)))
