"""Refusals and hazards on real QEMU: its answers, the state of the guest, broken attempts."""

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
from bench.claims.refusal_attempts import Answer, Attempts, expect_refusal
from bench.claims.refusals import _channels, _migrate, try_refusals
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
    """A progress that keeps every run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def doing(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, run: Run) -> None:
        self.runs.append(run)

    def skipped(self, updates: int) -> None: ...

    planned = None


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
    (one,) = (f for f in found if f.test == find(name).test)
    return one


HERE = [each.name for each in REFUSALS if each.name != "no-main-channel"]


@pytest.mark.parametrize("name", HERE)
def test_it_is_refused_and_the_guest_keeps_running(
    findings: list[Finding], live: LiveSession, store: Path, name: str
) -> None:
    version = release(default_build().version)
    if not find(name).belongs(version):
        assert all(f.found == "not testable" for f in findings if f.test == find(name).test)
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


def test_a_refusal_by_new_qemu_has_its_words_and_command_line(
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
def test_the_same_guest_is_transferred_without_the_cause(
    findings: list[Finding], live: LiveSession, claim: int, test: str
) -> None:
    (finding,) = (f for f in findings if f.test == test)
    assert (finding.found, finding.claim) == ("shown", claim), finding
    assert live.experiment.store.run(finding.evidence[0]).outcome == "completed"


def test_the_guest_of_the_bad_channels_is_transferred_at_last(
    findings: list[Finding], live: LiveSession
) -> None:
    refused, allowed = of(findings, "cpr-over-tcp").evidence
    assert live.experiment.store.run(allowed).outcome == "completed"
    first, last = (live.experiment.store.recording(run) for run in (refused, allowed))
    assert first.old.pid == last.old.pid, "the very same old QEMU"


def test_a_cpr_channel_alone_crashes_old_qemu(findings: list[Finding]) -> None:
    """Up to 11.1 QEMU uses the main channel before it checks that there is one."""
    version = release(default_build().version)
    if version > (11, 1):
        pytest.skip(f"not known for QEMU {version[0]}.{version[1]} yet")
    finding = of(findings, "no-main-channel")
    assert finding.found == "refuted", finding
    assert "was killed by signal" in finding.detail
    assert "old QEMU is gone" in finding.detail


def test_untestable_refusals_name_what_the_host_lacks(findings: list[Finding], store: Path) -> None:
    if not Path("/dev/sgx_vepc").exists():
        finding = of(findings, "epc-backend")
        assert finding.found == "not testable"
        assert "no SGX" in finding.detail
        assert finding.quote == "invalid object type: memory-backend-epc"
        assert read_recording(store, finding.evidence[0]).failure == finding.quote
    if find("vfio-too-old").belongs(release(default_build().version)):
        assert of(findings, "vfio-too-old").found == "not testable"
        assert "this build lacks vfio_legacy_cpr" in of(findings, "vfio-too-old").detail


def test_two_rounds_of_one_session_have_different_runs(
    findings: list[Finding], hazards: list[Finding]
) -> None:
    runs = [run for f in (*findings, *hazards) for run in f.evidence]
    assert {run.split(".")[1] for run in runs} == {"refusal", "hazard"}


@pytest.mark.parametrize("name", [each.name for each in HAZARDS])
def test_the_guest_survives_a_hazard_or_stays_stopped(
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


# -- broken attempts, each of which must be refuted ---------------------------------------------


def broken(
    live: LiveSession,
    interfere: Callable[[Attempts, Guest], Awaitable[Answer]],
    variation: Variation | None = None,
) -> Finding:
    """The finding of one attempt at `no-cpr-channel` that was interfered with."""
    build = default_build()
    attempts = Attempts(live.experiment, build, build, next(ROUNDS))
    refusal = find("no-cpr-channel")

    async def go() -> Finding:
        async with attempts.booted("refusal.broken", variation or Variation()) as booted:
            guest = booted.guest
            recording = await attempts.attempt(refusal, guest, partial(interfere, attempts, guest))
        return decide(refusal, recording, attempts.label)

    return asyncio.run(go())


async def refused(attempts: Attempts, guest: Guest) -> Answer:
    return await _migrate(attempts, guest, "no-cpr-channel")


def test_a_good_attempt_is_shown(live: LiveSession) -> None:
    assert broken(live, refused).found == "shown"


def test_a_stopped_guest_is_noticed(live: LiveSession) -> None:
    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        answer = await refused(attempts, guest)
        await guest.qemu.execute("stop")
        return answer

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert "old QEMU is paused afterwards" in finding.detail
    assert "no beat of vCPU 0 and 1" in finding.detail


def test_changed_ram_is_noticed(live: LiveSession) -> None:
    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        answer = await refused(attempts, guest)
        guest.memory.words[(at.FIRST_PAGE + 77) * at.PAGE_WORDS + at.GUEST_WORDS + 5] ^= 1
        return answer

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert "1 of 4096 pages of guest RAM changed" in finding.detail


def test_a_change_that_the_guest_finds_is_noticed(live: LiveSession) -> None:
    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        answer = await refused(attempts, guest)
        memory = guest.memory
        memory.words[(at.FIRST_PAGE + 77) * at.PAGE_WORDS + 1] ^= 1  # one of the guest's own
        end = time.monotonic() + 10
        while not any(memory.errors(vcpu)[0] for vcpu in range(2)) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return answer

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert "changed words in its RAM" in finding.detail


def test_a_dead_qemu_is_noticed(live: LiveSession) -> None:
    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        answer = await refused(attempts, guest)
        guest.qemu.kill()
        return answer

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert "old QEMU is gone afterwards" in finding.detail


def test_another_refusal_is_refuted(live: LiveSession) -> None:
    finding = broken(live, lambda attempts, guest: _migrate(attempts, guest, "cpr-over-tcp"))
    assert finding.found == "refuted"
    assert finding.quote == "bad cpr channel address; must be unix"


def test_a_transfer_that_is_not_refused_fails_at_once(live: LiveSession) -> None:
    """This transfer is correct, except that nothing listens."""
    finding = broken(live, lambda attempts, guest: _migrate(attempts, guest))
    assert finding.found == "refuted"
    assert "QEMU tried to connect" in finding.detail
    assert finding.quote == ""


def test_a_transfer_that_is_not_refused_is_cancelled(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old QEMU waits for a hang-up that does not come, until it is cancelled."""
    monkeypatch.setattr(bench.claims.refusal_attempts, "_FAILED_S", 0.2)

    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
        paths = attempts.paths()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(paths.cpr))
            silent.listen(1)
            return await expect_refusal(guest.qemu, "migrate", {"channels": _channels(paths)[""]})

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert f"{ACCEPTED}the migration is setup after 0.2 s" in finding.detail
    assert "old QEMU is" not in finding.detail, "the guest runs on"


def test_a_hang_up_by_another_process_is_no_refusal(live: LiveSession) -> None:
    async def interfere(attempts: Attempts, guest: Guest) -> Answer:
        await guest.qemu.execute("migrate-set-parameters", mode="cpr-transfer")
        paths = attempts.paths()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(paths.cpr))
            silent.listen(1)
            asking = asyncio.ensure_future(
                expect_refusal(guest.qemu, "migrate", {"channels": _channels(paths)[""]})
            )
            with (await asyncio.to_thread(silent.accept))[0] as end:
                await asyncio.to_thread(end.recv, 1 << 16)
            return await asking

    finding = broken(live, interfere)
    assert finding.found == "refuted"
    assert "QEMU tried to connect: Failed to connect" in finding.detail


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        find("nothing")
