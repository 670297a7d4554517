"""What the values of a recording must be for it to be judged at all.

Types are checked when a recording is decoded. A value beyond these limits is damage: it would stop
the judge, or keep it busy for ever. What is only contradictory is for the judge to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from .modes import MODES
from .recording import Event, Recording

_MOST_VCPUS = 4_096  # KVM_MAX_VCPUS of x86
_MOST_TICK_NS = 1_000_000  # a payload's clock that ticks every millisecond is of no use
_MOST_DESCRIPTORS = 253  # of one message: SCM_MAX_FD
_TICK_BITS = 32
_END_OF_TIME_NS = 1 << 62  # 146 years after the host's boot
_END_OF_WALL_US = 1 << 53
_MOST = 1 << 53  # of anything that is counted

# Values that a kernel event is read by.
_VALUES = {
    ("mmap", "return"): ("address", "length", "fd", "flags"),
    ("vfio_ioctl", "enter"): ("command", "flags", "length"),
    ("vfio_ioctl", "return"): ("result",),
}


def broken_limit(recording: Recording) -> str:
    """The first value beyond its limits and what is wrong with it; empty if there is none."""
    return next(_broken(recording), "")


def _broken(recording: Recording) -> Iterator[str]:
    scenario = recording.scenario
    if scenario.mode not in MODES:
        yield f"scenario.mode is {scenario.mode[:40]!r}, not one of {', '.join(MODES)}"
    yield from _outside("scenario.vcpus", scenario.vcpus, 1, _MOST_VCPUS)
    yield from _outside("scenario.ram_bytes", scenario.ram_bytes, 1, _MOST)
    yield from _outside("scenario.touched", scenario.touched, 0, 1)
    yield from _outside("tick_ns", recording.tick_ns, 0, _MOST_TICK_NS)
    for name, count in recording.migrate_info.items():
        yield from _outside(f"migrate_info.{name}", count, -_MOST, _MOST)
    for number, event in enumerate(recording.events):
        yield from _event(f"events[{number}]", event)
    yield from _beats(recording)
    for field, ns in _times(recording):
        yield from _outside(field, ns, 0, _END_OF_TIME_NS)
    for number, stamp in enumerate(recording.qmp):
        yield from _outside(f"qmp[{number}].wall_us", stamp.wall_us, 0, _END_OF_WALL_US)
    frames = recording.evidence.frames if recording.evidence else None
    if frames and frames.differing and not frames.first:
        yield "evidence.frames.first is empty, but pages differ"


def _outside(field: str, value: float, least: float, most: float) -> Iterator[str]:
    if not least <= value <= most:
        yield f"{field} is {value:.17g}, not between {least} and {most}"


def _event(field: str, event: Event) -> Iterator[str]:
    for name in _VALUES.get((event.mark, event.edge), ()):
        if name not in event.values:
            yield f"{field} of {event.mark} has no {name}"
    descriptors = event.values.get("fds", 0)
    yield from _outside(f"{field}.values.fds", descriptors, 0, _MOST_DESCRIPTORS)
    try:
        bytes.fromhex(event.data)
    except ValueError:
        yield f"{field}.data is not hexadecimal"


def _beats(recording: Recording) -> Iterator[str]:
    for number, beats in enumerate(recording.beats):
        if beats.ring is not None:
            ring = f"beats[{number}].ring"
            yield from _outside(f"{ring}.shift", beats.ring.shift, 0, _TICK_BITS - 1)
            for count in (min(beats.ring.counts, default=0), max(beats.ring.counts, default=0)):
                yield from _outside(f"{ring}.counts", count, 0, _MOST)


def _times(recording: Recording) -> Iterator[tuple[str, int]]:
    """Every moment on the host's clock, in ns."""
    for name, ns in recording.steps.items():
        yield f"steps.{name}", ns
    for number, event in enumerate(recording.events):
        yield f"events[{number}].ns", event.ns
    for number, bracket in enumerate(recording.brackets):
        for name in (
            "run_last_exit_ns",
            "run_first_entry_ns",
            "entry_last_exit_ns",
            "entry_first_entry_ns",
            "longest_left_ns",
            "longest_entered_ns",
        ):
            if (moment := getattr(bracket, name)) is not None:
                yield f"brackets[{number}].{name}", moment
    for number, stamp in enumerate(recording.qmp):
        yield f"qmp[{number}].ns", stamp.ns
    for number, beats in enumerate(recording.beats):
        for ns, _ in (*beats.before, *beats.after):
            yield f"beats[{number}]", ns
    for number, gap in enumerate(recording.observed or ()):
        for ns in (gap.last_ns, gap.first_ns):
            yield f"observed[{number}]", ns
    for log in recording.streams or ():
        for ns, _ in log.arrivals:
            yield f"streams.{log.name}", ns
