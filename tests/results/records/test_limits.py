"""A damaged recording is refused in one line that says where and what, before it is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from results.errors import RecordInvalid
from results.judgement.judge import judge
from results.records.evidence import Evidence, Frames
from results.records.limits import broken_limit
from results.records.observations import Ring, VcpuBeats
from results.records.recording import Event, QmpStamp, Recording, VcpuBracket
from results.store.recordings import decode


@pytest.fixture
def recording(make_run, make_recording) -> Recording:
    return make_recording(make_run())


def event(mark: str, edge: str = "return", **fields: Any) -> Event:
    return Event(200, 11, 11, mark, edge, **fields)  # type: ignore[arg-type]


def ring(**fields: Any) -> VcpuBeats:
    made: dict[str, Any] = {"shift": 12, "first": 5, "counts": (3, 4)}
    return VcpuBeats(0, (), (), (), 1, 2, ring=Ring(**(made | fields)))


DAMAGE = [
    ({"beats": (ring(shift=-1),)}, "beats[0].ring.shift is -1, not between 0 and 31"),
    ({"beats": (ring(shift=32),)}, "beats[0].ring.shift is 32, not between 0 and 31"),
    ({"beats": (ring(counts=(3, -4)),)}, "beats[0].ring.counts is -4"),
    ({"events": (event("sendmsg", data="zz"),)}, "events[0].data is not hexadecimal"),
    ({"events": (event("sendmsg", data="abc"),)}, "events[0].data is not hexadecimal"),
    (
        {"events": (event("mmap", values={"address": 1, "length": 2, "flags": 1}),)},
        "events[0] of mmap has no fd",
    ),
    ({"events": (event("vfio_ioctl", "enter"),)}, "events[0] of vfio_ioctl has no command"),
    ({"events": (event("vfio_ioctl"),)}, "events[0] of vfio_ioctl has no result"),
    ({"events": (event("recvmsg", values={"fds": 10**12}),)}, "events[0].values.fds is"),
    ({"tick_ns": 1e308}, "tick_ns is 1e+308, not between 0 and 1000000"),
    ({"tick_ns": -1.0}, "tick_ns is -1"),
    ({"vcpus": 10**12}, "scenario.vcpus is 1000000000000, not between 1 and 4096"),
    ({"vcpus": 0}, "scenario.vcpus is 0"),
    ({"touched": 1e308}, "scenario.touched is"),
    ({"ram_bytes": -1}, "scenario.ram_bytes is -1"),
    ({"migrate_info": {"downtime": 10**30}}, "migrate_info.downtime is"),
    ({"steps": {"migrate": -1}}, "steps.migrate is -1"),
    ({"brackets": (VcpuBracket(0, 1, 2, -5, None),)}, "brackets[0].run_last_exit_ns is -5"),
    ({"qmp": (QmpStamp(1, "old", "STOP", 1 << 62),)}, "qmp[0].wall_us is"),
    ({"evidence": Evidence(Frames(differing=1))}, "evidence.frames.first is empty"),
]


def damaged(recording: Recording, changes: dict[str, Any]) -> Recording:
    of_scenario = {k: v for k, v in changes.items() if k in ("vcpus", "touched", "ram_bytes")}
    rest = {k: v for k, v in changes.items() if k not in of_scenario}
    return replace(recording, scenario=replace(recording.scenario, **of_scenario), **rest)


@pytest.mark.parametrize(("changes", "what"), DAMAGE, ids=[what for _, what in DAMAGE])
def test_damage_is_named(recording, changes, what):
    text = json.dumps(msgspec.to_builtins(damaged(recording, changes)))
    with pytest.raises(RecordInvalid) as raised:
        decode(text, Recording, "raw/x.json.gz")
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"raw/x.json.gz: cannot be judged: {what}")


def test_real_recordings_are_within_the_limits(real_recordings):
    assert [broken_limit(recording) for recording in real_recordings] == [""] * len(real_recordings)


@pytest.mark.parametrize(
    "changes",
    [
        {"beats": (ring(shift=0),)},
        {"beats": (ring(shift=31, counts=()),)},
        {"events": (event("mmap", "enter"), event("sendmsg", "enter", data="00FF"))},
        {"vcpus": 4_096, "brackets": ()},
        {"migrate_info": {"downtime": -3}},
    ],
)
def test_odd_values_within_the_limits_are_judged(recording, changes):
    odd = damaged(recording, changes)
    assert broken_limit(odd) == ""
    assert judge(odd).outcome == "failed"
