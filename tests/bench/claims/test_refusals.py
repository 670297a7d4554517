"""Refusals and hazards on real QEMU: what it says, how the guest fares, and broken attempts."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import bench.claims.refusal_attempts
from bench.claims.hazards import try_hazards
from bench.claims.refusal_attempts import Attempts, Said, asked
from bench.claims.refusals import _migrate, _nowhere, try_refusals
from bench.cli import main
from bench.measurement.scenarios import BUILTIN, find_scenario, resolve
from bench.measurement.session import LiveSession, open_session
from results.claims.catalogue import Finding
from results.claims.refusal_verdicts import decide
from results.claims.refusals import ACCEPTED, HAZARDS, REFUSALS, find, release
from results.judgement.judge import judge
from results.records.run import Run
from results.store.recordings import read_recording
from results.store.store import open_store
from runners.builds.discover import default_build
from runners.payload import layout as at
from runners.qemu.command_line import Variation
from runners.qemu.guest import Guest

pytestmark = [pytest.mark.qemu, pytest.mark.kvm]

ROUNDS = itertools.count(1)


class Kept:
    """Who is told of every run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def doing(self, what: str) -> None: ...
    def finished(self, run: Run) -> None:
        self.runs.append(run)

    def skipped(self, updates: int) -> None: ...


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def live(store: Path) -> Iterator[LiveSession]:
    scenario = resolve(find_scenario("anon", BUILTIN))
    build = default_build()
    with (
        open_store(store) as opened,
        open_session([scenario], [build], opened, Kept(), ["pytest"], {}, None) as session,
    ):
        yield session
        session.status = 0


@pytest.fixture(scope="module")
def findings(live: LiveSession) -> list[Finding]:
    build = default_build()
    return asyncio.run(try_refusals(live.experiment, build, build, next(ROUNDS)))


@pytest.fixture(scope="module")
def hazards(live: LiveSession) -> list[Finding]:
    build = default_build()
    return asyncio.run(try_hazards(live.experiment, build, build, next(ROUNDS)))


def of(found: list[Finding], name: str) -> Finding:
    (one,) = (f for f in found if f.test == find(name).tried)
    return one


HERE = [each.name for each in REFUSALS if each.name != "no-main-channel"]


@pytest.mark.parametrize("name", HERE)
def test_it_is_refused_and_the_guest_runs_on(
    findings: list[Finding], live: LiveSession, store: Path, name: str
) -> None:
    version = release(default_build().version)
    if not find(name).belongs(version):
        assert all(f.found == "not testable" for f in findings if f.test == find(name).tried)
        return
    finding = of(findings, name)
    assert (finding.found, finding.claim) == ("shown", find(name).claim), finding
    recording = read_recording(store, finding.evidence[0])
    assert recording.failure == finding.quote != ""
    assert recording.scenario.id == f"refusal.{name}"
    assert recording.old.argv
    assert recording.aftermath is not None
    assert recording.aftermath.runstate == "running"
    assert recording.aftermath.ram is not None
    assert recording.aftermath.ram.pages == 4096
    run = live.experiment.store.run(finding.evidence[0])
    assert (run.outcome, run.blackout_ns) == ("failed", None)
    assert judge(recording) == run


def test_what_new_qemu_refuses_keeps_its_words_and_command_line(
    findings: list[Finding], store: Path
) -> None:
    recording = read_recording(store, of(findings, "incoming-cpr-over-tcp").evidence[0])
    assert '"inet"' in " ".join(recording.new.argv)
    assert "bad cpr channel socket type; must be unix" in recording.new.log_tail
    assert recording.aftermath is not None
    assert recording.aftermath.said_by == "new QEMU, at its start"


@pytest.mark.parametrize(
    ("claim", "test"),
    [(6, "the same guest with aux-ram-share=on"), (7, "the same pc-dimm with share=on")],
)
def test_without_its_cause_the_same_guest_is_handed_over(
    findings: list[Finding], live: LiveSession, claim: int, test: str
) -> None:
    (finding,) = (f for f in findings if f.test == test)
    assert (finding.found, finding.claim) == ("shown", claim), finding
    assert live.experiment.store.run(finding.evidence[0]).outcome == "completed"


def test_the_guest_of_the_bad_channels_is_handed_over_at_last(
    findings: list[Finding], live: LiveSession
) -> None:
    refused, allowed = of(findings, "cpr-over-tcp").evidence
    assert live.experiment.store.run(allowed).outcome == "completed"
    first, last = (live.experiment.store.recording(run) for run in (refused, allowed))
    assert first.old.pid == last.old.pid, "the very same old QEMU"


def test_a_cpr_channel_alone_ends_old_qemu_and_that_is_told(findings: list[Finding]) -> None:
    """Through 11.1 QEMU looks at the main channel before it asks whether there is one."""
    version = release(default_build().version)
    if version > (11, 1):
        pytest.skip(f"what QEMU {version[0]}.{version[1]} makes of it is not known yet")
    finding = of(findings, "no-main-channel")
    assert finding.found == "refuted", finding
    assert "ended with SIG" in finding.detail
    assert "old QEMU is gone" in finding.detail


def test_what_this_host_lacks_is_told_with_the_reason(findings: list[Finding], store: Path) -> None:
    if not Path("/dev/sgx_vepc").exists():
        finding = of(findings, "epc-backend")
        assert finding.found == "not testable"
        assert "no SGX" in finding.detail
        assert finding.quote == "invalid object type: memory-backend-epc"
        assert read_recording(store, finding.evidence[0]).failure == finding.quote
    if find("vfio-too-old").belongs(release(default_build().version)):
        assert of(findings, "vfio-too-old").found == "not testable"
        assert "this build has no vfio_legacy_cpr" in of(findings, "vfio-too-old").detail


def test_two_rounds_of_one_session_are_kept_apart(
    findings: list[Finding], hazards: list[Finding]
) -> None:
    runs = [run for f in (*findings, *hazards) for run in f.evidence]
    assert {run.split(".")[1] for run in runs} == {"refusal", "hazard"}


@pytest.mark.parametrize("name", [each.name for each in HAZARDS])
def test_hazards_are_survived_or_stand_still(
    hazards: list[Finding], live: LiveSession, name: str
) -> None:
    finding = of(hazards, name)
    assert (finding.found, finding.topic, finding.claim) == ("shown", "hazard", 0), finding
    run = live.experiment.store.run(finding.evidence[0])
    assert run.outcome == "failed"
    assert run.aftermath is not None
    stays = name == "new-dies-after-completion"
    assert run.aftermath.runstate == ("postmigrate" if stays else "running")


def test_nothing_is_left_running(findings: list[Finding], hazards: list[Finding]) -> None:
    ours = os.getpid()
    children = Path(f"/proc/{ours}/task/{ours}/children").read_text().split()
    alive = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children]
    assert not [name for name in alive if name.startswith("qemu")]


def test_show_prints_an_attempt(
    findings: list[Finding], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = of(findings, "no-cpr-channel").evidence[0]
    assert main(["show", run, "--store", str(store)]) == 0
    text = capsys.readouterr().out
    assert "missing 'cpr' migration channel" in text
    assert "4096 pages compared, 0 changed" in text


# -- attempts that go wrong, each of which must be refuted --------------------------------------


def broken(
    live: LiveSession,
    meddle: Callable[[Attempts, Guest], Awaitable[Said]],
    variation: Variation | None = None,
) -> Finding:
    """One attempt at `no-cpr-channel` on a guest, with something wrong done in it."""
    build = default_build()
    attempts = Attempts(live.experiment, build, build, next(ROUNDS))
    refusal = find("no-cpr-channel")

    async def go() -> Finding:
        async with attempts.booted("refusal.broken", variation or Variation()) as booted:
            guest = booted.guest
            recording = await attempts.attempt(refusal, guest, partial(meddle, attempts, guest))
        return decide(refusal, recording, attempts.label)

    return asyncio.run(go())


async def refused(attempts: Attempts, guest: Guest) -> Said:
    return await _migrate(attempts, guest, "no-cpr-channel")


def test_an_attempt_with_nothing_wrong_is_shown(live: LiveSession) -> None:
    assert broken(live, refused).found == "shown"


def test_a_guest_that_was_stopped_is_seen(live: LiveSession) -> None:
    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        said = await refused(attempts, guest)
        await guest.qemu.execute("stop")
        return said

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert "old QEMU is paused afterwards" in finding.detail
    assert "no beat of vCPU 0 and 1" in finding.detail


def test_ram_that_was_changed_is_seen(live: LiveSession) -> None:
    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        said = await refused(attempts, guest)
        guest.memory.words[(at.FIRST_PAGE + 77) * at.PAGE_WORDS + at.GUEST_WORDS + 5] ^= 1
        return said

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert "1 of 4096 pages of guest RAM changed" in finding.detail


def test_what_the_guest_itself_finds_changed_is_seen(live: LiveSession) -> None:
    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        said = await refused(attempts, guest)
        memory = guest.memory
        memory.words[(at.FIRST_PAGE + 77) * at.PAGE_WORDS + 1] ^= 1  # one of the guest's own
        end = time.monotonic() + 10
        while not any(memory.errors(vcpu)[0] for vcpu in range(2)) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return said

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert "changed words in its RAM" in finding.detail


def test_a_qemu_that_died_is_seen(live: LiveSession) -> None:
    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        said = await refused(attempts, guest)
        guest.qemu.kill()
        return said

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert "old QEMU is gone afterwards" in finding.detail


def test_another_refusal_does_not_pass(live: LiveSession) -> None:
    finding = broken(live, lambda attempts, guest: _migrate(attempts, guest, "cpr-over-tcp"))
    assert finding.found == "refuted"
    assert finding.quote == "bad cpr channel address; must be unix"


def test_what_qemu_does_not_refuse_is_told_and_ends_at_once(live: LiveSession) -> None:
    """Nothing is wrong with this hand-over but that nobody is there."""
    finding = broken(live, lambda attempts, guest: _migrate(attempts, guest))
    assert finding.found == "refuted"
    assert "QEMU went on to connect" in finding.detail
    assert finding.quote == ""


def test_a_hand_over_that_is_not_refused_is_cancelled_and_told(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old QEMU waits for a hang-up that does not come: bounded, then cancelled."""
    monkeypatch.setattr(bench.claims.refusal_attempts, "_FAILED_S", 0.2)

    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
        paths = attempts.paths()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(paths.cpr))
            silent.listen(1)
            return await asked(guest.qemu, "migrate", {"channels": _nowhere(paths)[""]})

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert f"{ACCEPTED}the migration is setup after 0.2 s" in finding.detail
    assert "old QEMU is" not in finding.detail, "the guest runs on"


def test_a_hang_up_of_somebody_else_is_told_as_not_refused(live: LiveSession) -> None:
    async def meddle(attempts: Attempts, guest: Guest) -> Said:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
        paths = attempts.paths()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(paths.cpr))
            silent.listen(1)
            asking = asyncio.ensure_future(
                asked(guest.qemu, "migrate", {"channels": _nowhere(paths)[""]})
            )
            with (await asyncio.to_thread(silent.accept))[0] as end:
                await asyncio.to_thread(end.recv, 1 << 16)
            return await asking

    finding = broken(live, meddle)
    assert finding.found == "refuted"
    assert "QEMU went on to connect: Failed to connect" in finding.detail


def test_a_name_that_is_unknown_is_an_error() -> None:
    with pytest.raises(KeyError):
        find("nothing")
