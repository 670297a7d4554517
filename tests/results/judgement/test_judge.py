"""The judgement of a transfer: of a made-up one with round numbers, and of two real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from results.judgement.judge import judge
from results.records.observations import Gap, HostState, ObservedGap, RamCheck, VcpuBeats
from results.records.recording import Event, Process, QmpStamp, Recording, VcpuBracket
from results.records.run import SCHEMA, Run, Witnesses
from results.records.scenario import Scenario

DATA = Path(__file__).parents[1] / "data"
OLD, NEW = 100, 200
US, MS = 1_000, 1_000_000
START = 50_000 * MS  # `migrate` is sent; all times below are µs after it
TICK_NS = 100.0
FD = {"fds": 1, "fd0": 13}
RAM0 = "010000000572616d300000000000"

Change = Callable[[Recording], Recording]


def at(us: int) -> int:
    return START + us * US


def event(us: int, pid: int, mark: str, edge: str = "enter", **fields: Any) -> Event:
    return Event(at(us), pid, pid, mark, edge, **fields)  # type: ignore[arg-type]


EVENTS = (
    event(50, NEW, "cpr_load"),
    event(100, OLD, "cpr_save"),
    event(150, OLD, "sendmsg", values={"fds": 0}, data=RAM0),
    event(160, OLD, "sendmsg", values=FD, data="20"),
    event(300, OLD, "cpr_save", "return"),
    event(350, NEW, "recvmsg", "return", values=FD, data=RAM0 + "20"),
    event(400, NEW, "cpr_load", "return"),
    event(
        *(1_000, NEW, "mmap", "return"),
        values={"address": 0x7F0000000000, "length": 256 << 20, "fd": 13, "flags": 1},
    ),
    event(20_500, NEW, "main_listen"),
    event(20_600, NEW, "main_listen", "return"),
    event(20_700, NEW, "cpr_close"),
    event(20_800, OLD, "outgoing"),
    event(20_900, OLD, "connected"),
    event(20_950, NEW, "load"),
    event(21_000, OLD, "vm_stop"),
    event(21_010, OLD, "pause_vcpus"),
    event(21_400, OLD, "pause_vcpus", "return"),
    event(21_700, OLD, "vm_stop", "return"),
    event(21_800, OLD, "setup"),
    event(22_200, OLD, "setup", "return"),
    event(22_250, OLD, "complete"),
    event(22_600, NEW, "load_main"),
    event(23_000, OLD, "complete", "return"),
    event(23_100, OLD, "runstate"),
    event(24_000, NEW, "loaded"),
    event(24_200, NEW, "vm_start"),
    event(24_500, NEW, "resume_vcpus"),
    event(24_600, NEW, "resume_vcpus", "return"),
)
LEFT = (21_100, 21_300)  # µs: a vCPU's last return from KVM_RUN in old QEMU
ENTERED = (25_100, 25_200)
LAST_BEAT = (21_090, 21_250)
FIRST_BEAT = (25_300, 25_500)


def beats(vcpu: int, clock_step_us: int = 0) -> VcpuBeats:
    """Beats of one vCPU whose clock did not see `clock_step_us` of the pause."""

    def tick(us: int, step_us: int = 0) -> int:
        return round((at(us) - step_us * US - START) / TICK_NS) % (1 << 32)

    return VcpuBeats(
        index=vcpu,
        before=tuple((at(us), tick(us)) for us in (20_100, 20_200)),
        after=tuple((at(us), tick(us, clock_step_us)) for us in (26_000, 26_300)),
        gaps=(
            Gap(tick(20_250), tick(20_400)),
            Gap(tick(LAST_BEAT[vcpu]), tick(FIRST_BEAT[vcpu], clock_step_us)),
        ),
        beats_before=1_000,
        beats_after=1_100,
    )


@pytest.fixture
def recording() -> Recording:
    """A transfer of a guest of two vCPUs in which nothing is wrong."""
    return Recording(
        schema=SCHEMA,
        id="s.anon.b01.u01",
        session="s",
        boot=1,
        update=1,
        started_unix_ns=1_795_472_100_000_000_000,
        scenario=Scenario("anon", "anon", accel="kvm", vcpus=2),
        old_build="system",
        new_build="system",
        old=Process(OLD, ("qemu",), (101, 102), "postmigrate", "old said goodbye"),
        new=Process(NEW, ("qemu",), (201, 202), "running"),
        steps={"migrate": at(0), "monitor": at(20_000), "migrate_incoming": at(20_400)},
        events=EVENTS,
        brackets=tuple(
            VcpuBracket(v, 101 + v, 201 + v, at(LEFT[v]), at(ENTERED[v])) for v in (0, 1)
        ),
        qmp=(
            QmpStamp(at(21_900), "old", "STOP", 7_000_000_021_650),
            QmpStamp(at(25_000), "new", "RESUME", 7_000_000_024_550),
        ),
        migrate_info={"downtime": 3, "total-time": 26},
        beats=(beats(0), beats(1)),
        tick_ns=TICK_NS,
        ram=RamCheck(pages=100, bytes=408_000, bad_pages=0),
    )


def without(*marks: str, pid: int | None = None) -> Change:
    return lambda r: replace(
        r, events=tuple(e for e in r.events if e.mark not in marks or pid not in (None, e.pid))
    )


def bracket(vcpu: int, **fields: int | None) -> Change:
    return lambda r: replace(
        r, brackets=tuple(replace(b, **fields) if b.index == vcpu else b for b in r.brackets)
    )


def beat(vcpu: int, **fields: Any) -> Change:
    return lambda r: replace(
        r, beats=tuple(replace(b, **fields) if b.index == vcpu else b for b in r.beats)
    )


def moved(mark: str, edge: str, us: int) -> Change:
    return lambda r: replace(
        r,
        events=tuple(
            replace(e, ns=at(us)) if (e.mark, e.edge) == (mark, edge) else e for e in r.events
        ),
    )


def resumed_late(us: int) -> Change:
    """New QEMU resumes its vCPUs later than it does."""
    entered, returned = moved("resume_vcpus", "enter", us), moved("resume_vcpus", "return", us + 50)
    return lambda r: returned(entered(r))


def first_beats_late(late_us: int) -> Change:
    """The guest's first beats in new QEMU come later; all other witnesses saw the same pause."""

    def late(seen: VcpuBeats) -> VcpuBeats:
        ticks = round(late_us * US / TICK_NS)
        before, pause = seen.gaps
        return replace(
            seen,
            after=tuple((ns + late_us * US, tick + ticks) for ns, tick in seen.after),
            gaps=(before, replace(pause, end_tick=pause.end_tick + ticks)),
        )

    return lambda r: replace(r, beats=tuple(map(late, r.beats)))


def stamped(name: str, wall_us: int, late_us: int = 0) -> Change:
    """A QMP event with another wall-clock stamp, received later."""
    return lambda r: replace(
        r,
        qmp=tuple(
            replace(q, wall_us=wall_us, ns=q.ns + late_us * US) if q.name == name else q
            for q in r.qmp
        ),
    )


def without_stop(change: Change) -> Change:
    """Without the marks that bound when QEMU emits STOP and RESUME."""
    return lambda r: without("pause_vcpus", "vm_stop", "resume_vcpus")(change(r))


def observed(late_us: int = 0, end_us: int = 0, reach_us: int = 2) -> Change:
    """The observer's gaps, shifted by `late_us`, their ends by `end_us` more."""
    return lambda r: replace(
        r,
        observed=tuple(
            gap
            for v in (0, 1)
            for gap in (
                ObservedGap(v, at(19_000), 2 * US, at(19_500), 2 * US),  # some other stretch
                ObservedGap(
                    v,
                    at(LAST_BEAT[v] + 1 + late_us),
                    reach_us * US,
                    at(FIRST_BEAT[v] + 1 + late_us + end_us),
                    reach_us * US,
                ),
            )
        ),
    )


def observed_by_one(recording: Recording) -> Recording:
    seen = observed()(recording)
    return replace(seen, observed=tuple(g for g in seen.observed or () if g.vcpu == 0))


# -- the numbers ------------------------------------------------------------------------------


def test_pause_of_each_vcpu_and_of_the_vm(recording: Recording) -> None:
    run = judge(recording)
    assert (run.outcome, run.reason) == ("completed", "")
    assert run.vcpu_blackouts_ns == (4_000 * US, 3_900 * US)
    assert run.blackout_ns == 4_000 * US  # the longest
    assert run.skew_ns == 100 * US
    assert run.dark_ns == 3_800 * US  # last vCPU left at 21,300, first entered at 25,100
    assert run.handover_ns == 25_100 * US
    assert run.residual_ns == 0
    assert run.stop_position == "after-cpr-save"
    assert run.warnings == ()
    assert run.log_tail == ""


def test_witnesses_side_by_side(recording: Recording) -> None:
    run = judge(recording)
    assert run.witnesses == Witnesses(
        kvm=4_000 * US,
        kvm_entry=None,
        uprobe=3_100 * US,  # pause_all_vcpus returned at 21,400, resume_all_vcpus began at 24,500
        qmp=2_900 * US,
        qemu=3 * MS,
        guest=4_250 * US,
    )
    assert run.guest_gap_ns == 4_250 * US
    assert run.vcpu_guest_gaps_ns == (4_210 * US, 4_250 * US)
    assert run.first_progress_ns == 300 * US
    assert (run.guest_clock, run.clock_step_ns) == ("runs", 0)


def test_descriptors_and_ram_maps(recording: Recording) -> None:
    run = judge(recording)
    (carried,) = run.fds
    assert (carried.name, carried.id, carried.old_fd, carried.new_fd) == ("ram0", 0, 13, 13)
    assert (carried.sent_ns, carried.received_ns) == (at(160), at(350))
    (mapped,) = run.ram_maps
    assert (mapped.name, mapped.address, mapped.ns) == ("ram0", 0x7F0000000000, at(1_000))


def test_kvm_tracepoints_testify_only_when_every_vcpu_was_seen(recording: Recording) -> None:
    first = bracket(
        0, entry_last_exit_ns=at(LEFT[0]) + 10, entry_first_entry_ns=at(ENTERED[0]) - 10
    )
    second = bracket(
        1, entry_last_exit_ns=at(LEFT[1]) + 10, entry_first_entry_ns=at(ENTERED[1]) - 10
    )
    assert judge(first(recording)).witnesses.kvm_entry is None
    assert judge(second(first(recording))).witnesses.kvm_entry == 4_000 * US - 20


def test_a_clock_that_freezes_is_recognised_by_its_step(recording: Recording) -> None:
    """The same pause, but the guest's clock did not run for 3.95 ms of it."""
    frozen = replace(recording, beats=(beats(0, 3_950), beats(1, 3_950)))
    run = judge(frozen)
    assert run.outcome == "completed"
    assert (run.guest_clock, run.clock_step_ns) == ("freezes", 3_950 * US)
    assert run.guest_gap_ns == 4_250 * US
    assert run.first_progress_ns == 300 * US


def test_a_clock_that_freezes_for_a_part_of_the_blackout(recording: Recording) -> None:
    """As under TCG where the first entry waits for a CPU while the clock already runs."""
    run = judge(replace(recording, beats=(beats(0, 1_500), beats(1, 1_500))))
    assert (run.outcome, run.guest_clock, run.warnings) == ("completed", "freezes", ())
    assert (run.guest_gap_ns, run.clock_step_ns) == (4_250 * US, 1_500 * US)


def test_under_tcg_the_bracket_is_not_a_kvm_witness(recording: Recording) -> None:
    run = judge(replace(recording, scenario=replace(recording.scenario, accel="tcg")))
    assert run.blackout_ns == 4_000 * US
    assert run.witnesses.kvm is None


def test_time_without_a_phase_is_the_residual(recording: Recording) -> None:
    run = judge(without("setup")(recording))
    assert run.outcome == "completed"
    # save_start (100 µs), ram_setup (400 µs) and the start of state_save (400 µs) hang on it
    assert run.residual_ns == 900 * US
    assert run.warnings == ("mark setup never fired",)


@pytest.mark.parametrize(
    ("step_us", "clock"), [(3_950, "unknown"), (300, "unknown"), (-300, "unknown"), (0, "runs")]
)
def test_entry_seen_too_late_contradicts_the_guest(
    recording: Recording, step_us: int, clock: str
) -> None:
    """The guest beats long before its entry was seen, whatever its clock did meanwhile."""
    late = recording
    for vcpu in (0, 1):
        late = bracket(vcpu, run_first_entry_ns=at(ENTERED[vcpu] + 500_000))(late)
    late = replace(late, beats=(beats(0, step_us), beats(1, step_us)))
    run = judge(replace(late, scenario=replace(late.scenario, accel="tcg")))
    assert (run.outcome, run.guest_clock) == ("failed", clock if step_us else "unknown")
    assert "vCPU 0: no gap between beats covers its blackout" in run.reason
    good = judge(replace(recording, beats=(beats(0, step_us), beats(1, step_us))))
    assert good.outcome == "completed"
    assert good.guest_gap_ns == 4_250 * US


def test_first_entry_seen_too_early_contradicts_the_start(recording: Recording) -> None:
    """The guest's gap is 103.5 ms, and all of it but 3 ms would be its first progress."""
    late = {("load_main", "enter"), ("loaded", "enter"), ("vm_start", "enter")} | {
        ("resume_vcpus", edge) for edge in ("enter", "return")
    }
    events = tuple(
        replace(e, ns=e.ns + 100 * MS) if (e.mark, e.edge) in late else e for e in recording.events
    )
    run = judge(first_beats_late(100_000)(replace(recording, events=events)))
    assert run.outcome == "failed"
    assert "vCPU 0 entered the guest before new QEMU's vm_start" in run.reason


@pytest.mark.parametrize(
    ("late_us", "fields", "warned"),
    [
        (45_000, {}, True),
        (100_000, {"host": HostState(waiting_ns=60 * MS)}, True),
        (100_000, {"host": HostState(steal_ns=60 * MS)}, True),
        (9_000, {}, False),
    ],
)
def test_slow_first_progress_is_a_warning_where_it_can_be_explained(
    recording: Recording, late_us: int, fields: dict[str, Any], warned: bool
) -> None:
    run = judge(first_beats_late(late_us)(replace(recording, **fields)))
    assert (run.outcome, run.reason) == ("completed", "")
    assert [w for w in run.warnings if "after its first entry" in w] == [
        f"vCPU {vcpu}: its first beat came {late_us * US + progress * US} ns after its first "
        f"entry, longer than its blackout of {length * US}: one of the two may be wrong"
        for vcpu, progress, length in ((0, 200, 4_000), (1, 300, 3_900))
        if warned
    ]


def test_a_clock_with_an_odd_step_is_reported(recording: Recording) -> None:
    run = judge(replace(recording, beats=(beats(0, 300), beats(1, 300))))
    assert (run.guest_clock, run.clock_step_ns) == ("unknown", 300 * US)
    assert run.warnings == (
        "the guest's clock missed 300000 ns of the pause, neither nothing nor a large part of it",
    )


def test_a_witness_that_did_not_testify_is_none_and_not_zero(recording: Recording) -> None:
    run = judge(replace(recording, qmp=(), migrate_info={}))
    assert run.outcome == "completed"
    assert run.witnesses.qmp is None
    assert run.witnesses.qemu is None


# -- what makes a run fail -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda r: replace(r, lost=3), "events lost: 3", id="lost-events"),
        pytest.param(
            bracket(1, run_last_exit_ns=None),
            "vCPU 1 was never seen to leave the guest in old QEMU",
            id="never-left",
        ),
        pytest.param(
            bracket(0, run_first_entry_ns=None),
            "vCPU 0 was never seen to enter the guest in new QEMU",
            id="never-entered",
        ),
        pytest.param(
            bracket(0, run_first_entry_ns=at(LEFT[0]) - 5),
            "vCPU 0 entered new QEMU 5 ns before it left old",
            id="entered-before-left",
        ),
        pytest.param(
            lambda r: replace(r, brackets=r.brackets[:1]),
            "vCPU 1 was not watched",
            id="vcpu-not-watched",
        ),
        pytest.param(
            lambda r: replace(r, brackets=()), "vCPU 0 was not watched", id="none-watched"
        ),
        pytest.param(
            lambda r: replace(r, old=replace(r.old, runstate="finish-migrate")),
            "old QEMU ended in state finish-migrate, not postmigrate",
            id="old-runstate",
        ),
        pytest.param(
            lambda r: replace(r, new=replace(r.new, runstate="paused")),
            "new QEMU ended in state paused, not running",
            id="new-runstate",
        ),
        pytest.param(
            lambda r: replace(r, new=replace(r.new, runstate="")),
            "new QEMU ended in state unknown, not running",
            id="new-runstate-unknown",
        ),
        pytest.param(
            lambda r: replace(r, ram=RamCheck(100, 408_000, 2, "page 0x1234")),
            "2 of 100 checked pages of guest RAM changed, first page 0x1234",
            id="ram-changed",
        ),
        pytest.param(lambda r: replace(r, ram=None), "guest RAM was not checked", id="no-ram"),
        pytest.param(
            beat(1, pattern_errors=4, first_error="page 0x2 word 9: 0x1 instead of 0x2"),
            "vCPU 1 found 4 changed words in its RAM, first page 0x2 word 9",
            id="pattern-error",
        ),
        pytest.param(
            beat(0, beats_after=1_000), "vCPU 0 does not run in new QEMU", id="vcpu-stands"
        ),
        pytest.param(
            lambda r: replace(r, beats=r.beats[:1]),
            "no beats were seen from some vCPUs",
            id="vcpu-without-beats",
        ),
        pytest.param(
            beat(0, gaps=(Gap(202_500, 204_000),)),
            "vCPU 0: no gap between beats covers its blackout",
            id="no-gap",
        ),
        pytest.param(
            beat(0, gaps=(Gap(212_000, 250_000),)),  # 3.8 ms from 100 µs into the blackout
            "vCPU 0: the guest saw a gap of 3800000 ns, shorter than its blackout of 4000000",
            id="gap-too-short",
        ),
        pytest.param(
            resumed_late(25_600),
            "uprobe saw a pause of 4200000 ns, longer than the blackout of 4000000",
            id="uprobe-longer",
        ),
        pytest.param(
            without_stop(stamped("RESUME", 7_000_000_026_000, late_us=1_500)),
            "qmp saw a pause of 4350000 ns, longer than the blackout of 4000000",
            id="qmp-longer",
        ),
        pytest.param(
            moved("vm_start", "enter", 25_150),
            "vCPU 0 entered the guest before new QEMU's vm_start",
            id="entry-before-vm-start",
        ),
        pytest.param(
            moved("vm_stop", "enter", 21_250),
            "vCPU 0 left the guest for good before old QEMU's vm_stop",
            id="left-before-vm-stop",
        ),
        pytest.param(
            resumed_late(25_150),
            "vCPU 0 entered the guest before new QEMU resumed its vCPUs",
            id="entry-before-resume",
        ),
        pytest.param(
            moved("pause_vcpus", "return", 21_250),
            "vCPU 1 left the guest after old QEMU had stopped all vCPUs",
            id="left-after-stop",
        ),
        pytest.param(
            first_beats_late(100_000),
            "vCPU 0: its first beat came 100200000 ns after its first entry, of which no more than "
            "50000000 are explained by page faults and waits for a CPU",
            id="first-progress",
        ),
        pytest.param(
            bracket(1, entry_last_exit_ns=at(LEFT[1]), entry_first_entry_ns=at(ENTERED[1] - 200)),
            "vCPU 1: kvm_entry and kvm_exit saw a pause of 3700000 ns, shorter than its blackout "
            "of 3900000",
            id="entry-tracepoint",
        ),
        pytest.param(observed(late_us=400), "that does not cover its blackout", id="observer-late"),
        pytest.param(
            observed(late_us=-400), "that does not cover its blackout", id="observer-early"
        ),
        pytest.param(
            observed(late_us=50, end_us=-450),
            "that does not cover its blackout",
            id="observer-short",
        ),
        pytest.param(observed(end_us=600), "the guest one of 4210000", id="observer-long"),
        pytest.param(
            without("recvmsg"),
            "descriptor ram0 id 0 was sent and not received",
            id="descriptor-not-received",
        ),
        pytest.param(
            without("sendmsg", "recvmsg"),
            "no descriptor was seen on the cpr channel",
            id="no-descriptor",
        ),
    ],
)
def test_run_fails_with_its_reason(recording: Recording, change: Change, reason: str) -> None:
    run = judge(change(recording))
    assert run.outcome == "failed"
    assert reason in run.reason
    assert run.log_tail == "old: old said goodbye"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(resumed_late(25_099), id="uprobe"),
        pytest.param(without_stop(stamped("RESUME", 7_000_000_025_750, late_us=1_500)), id="qmp"),
        pytest.param(moved("vm_stop", "enter", 21_200), id="vm-stop"),
        pytest.param(beat(0, gaps=(Gap(211_500, 250_600),)), id="gap"),
        pytest.param(lambda r: replace(r, migrate_info={"downtime": 40}), id="qemu-claims-more"),
    ],
)
def test_witnesses_within_the_tolerance_do_not_disagree(
    recording: Recording, change: Change
) -> None:
    run = judge(change(recording))
    assert (run.outcome, run.disagreements) == ("completed", ())


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        pytest.param(observed(), 4_250 * US, id="awake"),
        pytest.param(observed(late_us=90), 4_250 * US, id="late-within-the-noise"),
        pytest.param(observed(reach_us=150), None, id="asleep"),
        pytest.param(observed(late_us=400, reach_us=500), None, id="asleep-and-late"),
        pytest.param(observed_by_one, None, id="one-vcpu-missing"),
        pytest.param(lambda r: replace(r, observed=()), None, id="saw-nothing"),
    ],
)
def test_observer_testifies_when_it_was_awake(
    recording: Recording, change: Change, seen: int | None
) -> None:
    run = judge(change(recording))
    assert (run.outcome, run.disagreements) == ("completed", ())
    assert run.witnesses.observer == seen


def test_observer_without_probes_gives_its_longest_gap(recording: Recording) -> None:
    bare = replace(recording, probed=False, brackets=(), events=())
    assert judge(observed()(bare)).witnesses.observer == 4_250 * US


def test_skipped_probe_calls_are_reported(recording: Recording) -> None:
    run = judge(replace(recording, skipped=3))
    assert run.outcome == "completed"
    assert any("skipped 3 probe calls" in warning for warning in run.warnings)


def test_only_contradictions_count_as_disagreements(recording: Recording) -> None:
    lost = judge(replace(recording, lost=1))
    assert (lost.outcome, lost.disagreements) == ("failed", ())
    longer = judge(without_stop(stamped("RESUME", 7_000_000_026_000, late_us=1_500))(recording))
    assert len(longer.disagreements) == 1
    assert longer.reason == longer.disagreements[0]


def test_all_reasons_are_listed(recording: Recording) -> None:
    run = judge(without("recvmsg")(replace(recording, ram=None)))
    assert run.reason == (
        "guest RAM was not checked; descriptor ram0 id 0 was sent and not received"
    )
    assert [(reason.code, reason.figures) for reason in run.reasons] == [
        ("ram-unchecked", {}),
        ("descriptor-lost", {"name": "ram0", "id": 0}),
    ]


def test_lost_events_are_one_line_and_what_is_missing_with_them_is_none(
    recording: Recording,
) -> None:
    for cut in (without("recvmsg"), without("sendmsg"), lambda r: replace(r, events=())):
        run = judge(cut(replace(recording, lost=987)))
        assert (run.outcome, run.reason) == ("failed", "events lost: 987")


def test_a_list_of_reasons_is_cut_after_five(recording: Recording) -> None:
    run = judge(replace(recording, scenario=replace(recording.scenario, vcpus=900)))
    unwatched = [reason for reason in run.reasons if reason.code == "vcpu-unwatched"]
    assert len(unwatched) == 5
    place = run.reasons.index(unwatched[-1])
    assert run.reasons[place + 1].figures == {"more": 900 - len(recording.brackets) - 5}
    assert len(run.reason) < 500


@pytest.mark.parametrize(
    "words", ["pin holder ended by SIGKILL", "observer does not answer (state T)"]
)
def test_a_witness_that_does_not_last_fails_the_run(recording: Recording, words: str) -> None:
    run = judge(replace(recording, lost_witnesses=(words,)))
    assert (run.outcome, run.reason) == ("failed", words)
    assert run.reasons[0].code.startswith("witness-")


def test_duplicate_reasons_are_listed_once(recording: Recording) -> None:
    unheard = without("recvmsg")(recording)
    again = tuple(replace(e, ns=e.ns + 20 * US) for e in unheard.events if e.mark == "sendmsg")
    run = judge(replace(unheard, events=(*unheard.events, *again)))
    assert len(run.fds) == 2
    assert run.reason == "descriptor ram0 id 0 was sent and not received"
    assert len(run.reasons) == 1


def test_a_known_failure_is_the_last_of_the_reasons(recording: Recording) -> None:
    said = "QEMU said: missing 'cpr' migration channel"
    run = judge(replace(recording, failure=said))
    assert [reason.code for reason in run.reasons] == ["transfer-failed", "known-failure"]
    assert run.reasons[0].figures == {"said": said}
    assert run.reasons[1].figures == {"name": "no-cpr-channel"}
    assert run.reason == f"{said} {run.reasons[1].text}"


def test_failed_run_keeps_what_could_be_measured(recording: Recording) -> None:
    good = judge(recording)
    bad = judge(replace(recording, ram=None))
    kept = replace(bad, outcome="completed", reason="", reasons=(), log_tail="", ram=good.ram)
    assert kept == good


def test_a_vcpu_that_was_not_seen_leaves_the_others_known(recording: Recording) -> None:
    run = judge(bracket(1, run_first_entry_ns=None)(recording))
    assert run.vcpu_blackouts_ns == (4_000 * US, None)
    assert run.blackout_ns is None  # it might have been the longest
    assert (run.skew_ns, run.dark_ns, run.residual_ns) == (None, None, None)
    assert run.witnesses.uprobe == 3_100 * US


def test_failed_transfer_has_no_other_reasons(recording: Recording) -> None:
    """It failed during the hold, so missing later evidence is not reported in addition."""
    failed = replace(
        recording,
        failure="QEMU (pid 200) ended with SIGKILL while it was asked to migrate-incoming",
        events=tuple(e for e in EVENTS if e.ns < at(20_400)),
        brackets=(),
        beats=(),
        ram=None,
        qmp=(),
        migrate_info={},
        old=replace(recording.old, runstate="running"),
        new=replace(recording.new, runstate="gone", log_tail="Killed"),
    )
    run = judge(failed)
    assert run.outcome == "failed"
    assert run.reason == failed.failure
    assert run.log_tail == "old: old said goodbye\nnew: Killed"
    assert run.blackout_ns is None
    assert run.warnings == ()
    assert [span.name for span in run.spans] == ["cpr_save", "cpr_load", "target_init", "hold"]
    assert run.phases == {}


def test_run_without_probes_has_the_witnesses_that_need_none(recording: Recording) -> None:
    bare = replace(recording, probed=False, events=(), brackets=())
    run = judge(bare)
    assert (run.outcome, run.reason, run.warnings) == ("completed", "", ())
    assert run.blackout_ns is None
    assert run.vcpu_blackouts_ns == (None, None)
    assert run.witnesses == Witnesses(qmp=2_900 * US, qemu=3 * MS, guest=4_250 * US)
    assert run.first_progress_ns is None


def test_guest_whose_clock_cannot_be_read_does_not_testify(recording: Recording) -> None:
    run = judge(replace(recording, tick_ns=0.0))
    assert run.outcome == "completed"
    assert run.witnesses.guest is None
    assert run.guest_clock == "unknown"
    assert run.warnings == ("the guest's clock could not be read: the guest does not testify",)


def test_dimensions_hold_all_that_must_be_equal(recording: Recording) -> None:
    def told(**fields: Any) -> str:
        return judge(replace(recording, scenario=replace(recording.scenario, **fields))).dimensions

    same = judge(recording).dimensions
    assert told(about="other words") == same
    assert told(ram_bytes=1 << 30) != same
    assert told(mem_lock=True) != same


# -- stored and judged again -----------------------------------------------------------------------


def test_judgement_survives_a_round_trip_through_json(recording: Recording) -> None:
    again = msgspec.json.decode(msgspec.json.encode(recording), type=Recording)
    assert again == recording
    assert judge(again) == judge(recording)


def test_order_in_which_events_arrived_does_not_matter(recording: Recording) -> None:
    shuffled = replace(recording, events=tuple(reversed(recording.events)))
    assert judge(shuffled) == judge(recording)


def load(accel: str) -> Recording:
    """A real transfer of this project (QEMU 10.0.2, 256 MiB), most ordinary mappings left out."""
    return msgspec.json.decode((DATA / f"handover-{accel}.json").read_bytes(), type=Recording)


DESCRIPTORS = (
    "/rom@etc/acpi/rsdp",
    "/rom@etc/table-loader",
    "/rom@etc/acpi/tables",
    "pc.rom",
    "pc.bios",
    "ram0",
)


def real(accel: str) -> Run:
    run = judge(load(accel))
    assert (run.outcome, run.reason, run.warnings, run.residual_ns) == ("completed", "", (), 0)
    assert run.stop_position == "after-cpr-save"
    assert tuple(fd.name for fd in run.fds) == DESCRIPTORS
    assert sorted(m.name for m in run.ram_maps) == sorted(DESCRIPTORS)
    return run


def test_real_kvm_transfer_gives_its_known_numbers() -> None:
    run = real("kvm")
    assert run.vcpu_blackouts_ns == (4_144_120, 7_811_114)
    assert run.blackout_ns == 7_811_114
    assert (run.skew_ns, run.dark_ns) == (3_666_994, 4_144_120)
    assert run.handover_ns == 72_373_771
    assert run.first_progress_ns == 179_871
    assert run.vcpu_guest_gaps_ns == (4_784_231, 8_207_653)
    assert (run.guest_clock, run.clock_step_ns) == ("runs", 2_791)
    assert run.witnesses == Witnesses(
        kvm=7_811_114, uprobe=4_001_528, qmp=3_757_000, qemu=3_000_000, guest=8_207_653
    )
    assert run.phases == {
        "vcpu_stop": 406_677,
        "quiesce": 149_370,
        "save_start": 79_625,
        "ram_setup": 252_158,
        "state_save": 1_373_416,
        "state_load": 1_692_535,
        "activation": 296_319,
        "vm_start": 203_712,
        "first_entry": 3_357_302,
    }


def test_real_tcg_transfer_gives_its_known_numbers() -> None:
    run = real("tcg")
    assert run.blackout_ns == 2_462_334
    assert (run.guest_clock, run.clock_step_ns) == ("freezes", 2_562_361)
    assert run.guest_gap_ns == 3_159_509
    assert run.first_progress_ns == 235_800
    assert run.witnesses == Witnesses(
        uprobe=2_389_340, qmp=2_321_000, qemu=2_000_000, guest=3_159_509
    )
    assert run.phases["state_load"] == 1_625_191
    assert sum(run.phases.values()) == run.blackout_ns


def test_real_transfer_that_lost_one_mark_still_has_its_blackout() -> None:
    run = judge(without("setup")(load("kvm")))
    assert run.blackout_ns == 7_811_114
    # save_start, ram_setup and state_save hang on it
    assert run.residual_ns == 79_625 + 252_158 + 1_373_416
