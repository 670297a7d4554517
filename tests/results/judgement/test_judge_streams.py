"""A guest with streams needs no beats, and fails if its streams do."""

from __future__ import annotations

from dataclasses import replace

from results.judgement.judge import judge
from results.records.observations import StreamLog
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, Run
from results.records.scenario import Scenario
from results.store.recordings import decode, encode

MS = 1_000_000
WHOLE = StreamLog(
    "virtio-blk", tuple((n * MS if n < 50 else (n + 20) * MS, n) for n in range(1, 100))
)
RECORDING = Recording(
    schema=SCHEMA,
    id="20261123-221500-3f2a.device.linux.b01.u01",
    session="20261123-221500-3f2a",
    boot=1,
    update=1,
    started_unix_ns=0,
    scenario=Scenario("device.linux", "anon", accel="tcg"),
    old_build="a",
    new_build="a",
    old=Process(1, (), (1,), "postmigrate"),
    new=Process(2, (), (2,), "running"),
    steps={"migrate": 40 * MS, "completed": 60 * MS},
    probed=False,
    streams=(WHOLE,),
)


def reasons(recording: Recording) -> str:
    return judge(recording).reason


def test_streams_replace_beats_and_the_ram_check() -> None:
    # Nothing was traced: that is all that is missing.
    assert reasons(RECORDING) == "nothing was traced and no gap was seen"
    assert "no beats were seen" in reasons(replace(RECORDING, streams=None))


def test_a_lost_number_fails_the_run() -> None:
    broken = replace(WHOLE, arrivals=WHOLE.arrivals[:60] + WHOLE.arrivals[61:])
    assert "1 of the numbers 1 to 99 were lost" in reasons(replace(RECORDING, streams=(broken,)))
    assert "no stream of the guest was seen" in reasons(replace(RECORDING, streams=()))


def test_streams_survive_a_round_trip_through_json() -> None:
    run = judge(RECORDING)
    assert run.streams[0].last == 99
    assert decode(encode(run, "run"), Run, "run") == run
    assert decode(encode(RECORDING, "raw"), Recording, "raw") == RECORDING
