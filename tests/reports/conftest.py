"""A plausible session, written by hand, to test the reports with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from results.claims.catalogue import Finding
from results.claims.document import SCHEMA as SCHEMA_OF_CLAIMS
from results.claims.document import ClaimsDocument
from results.instrument.certificates import write_certificate
from results.records.evidence import Check, Proof
from results.records.observations import DeviceContinuity, HostState, RamCheck
from results.records.recording import Process, Recording
from results.records.run import SCHEMA, CarriedFd, RamMap, Run, Span, Summary, Witnesses
from results.records.scenario import GIB, MIB, Build, Scenario, Session
from results.store.store import Store, open_store
from results.summary.report_cells import Limit
from results.summary.report_data import ReportOptions, read_report_data

SESSION = "20261123-221500-3f2a"
T0 = 5_000_000_000_000  # CLOCK_MONOTONIC when `migrate` was sent
STOP = T0 + 113_000_000  # last return from KVM_RUN of vCPU 0
COUNTERS = {"switches": 3, "migrations": 0, "faults": 12, "task_ns": 310_000}


def _span(name, side, start_us, end_us, share_us=0, counters=None):
    start, end = T0 + start_us * 1000, T0 + end_us * 1000
    return Span(name, side, start, end, share_us * 1000, counters or {})


def _spans():
    return (
        _span("cpr_save", "old", 210, 2_500),
        _span("cpr_load", "new", 300, 2_900),
        _span("target_init", "new", 2_900, 101_000),
        _span("hold", "controller", 101_000, 111_600),
        _span("hang_up", "both", 111_700, 112_100),
        _span("main_connect", "old", 112_100, 112_700),
        _span("vcpu_stop", "old", 112_800, 113_400, 400, COUNTERS),
        _span("quiesce", "old", 113_400, 114_600, 1_200, COUNTERS | {"switches": 18}),
        _span("ram_setup", "old", 114_650, 114_900, 250, COUNTERS),
        _span("state_save", "old", 114_900, 115_700, 610),
        _span("state_load", "new", 115_100, 116_700, 1_190, COUNTERS | {"faults": 431}),
        _span("activation", "new", 116_700, 116_731, 31),
        _span("vm_start", "new", 116_731, 117_000, 269, COUNTERS),
        _span("first_entry", "new", 117_000, 117_420, 420),
        _span("source_end", "old", 115_700, 118_300),
    )


@pytest.fixture
def good_run() -> Run:
    return Run(
        schema=SCHEMA,
        id=f"{SESSION}.anon.b01.u03",
        session=SESSION,
        scenario="anon",
        dimensions="accel=kvm vcpus=2",
        boot=1,
        update=3,
        started_unix_ns=1_795_472_100_000_000_000,
        outcome="completed",
        reason="",
        old_build="system",
        new_build="system",
        old_pid=4100,
        new_pid=4188,
        blackout_ns=4_420_000,
        blackout_start_ns=T0 + 117_420_000 - 4_420_000,
        migrate_ns=T0,
        vcpu_blackouts_ns=(4_420_000, 4_371_000),
        first_progress_ns=240_000,
        brownout_ns=5_640_000,
        brownout_watched_ns=28_200_000,
        beats_lost=421,
        beats_per_s=64_500.0,
        host_faults=1_054,
        guest_gap_ns=4_663_000,
        guest_clock="freezes",
        clock_step_ns=4_100_000,
        skew_ns=49_000,
        dark_ns=4_360_000,
        handover_ns=117_390_000,
        residual_ns=50_000,
        witnesses=Witnesses(4_420_000, None, 4_155_000, 3_714_000, 2_000_000, 4_663_000),
        spans=_spans(),
        fds=(
            CarriedFd("ram0", 0, T0 + 400_000, T0 + 410_000, 11, 9),
            CarriedFd("pc.bios", 0, T0 + 420_000, T0 + 431_000, 14, 10),
            CarriedFd("/rom@etc/acpi/tables", 0, T0 + 440_000, None, 19, None),
        ),
        ram_maps=(
            RamMap("ram0", 9, 0x7F1200000000, 256 * MIB, T0 + 20_000_000),
            RamMap("pc.bios", 10, 0x7F1210000000, 256 * 1024, T0 + 21_000_000),
        ),
        ram=RamCheck(pages=16384, bytes=64 * MIB, bad_pages=0, duration_ns=12_300_000),
        host=HostState(load1=0.42, cpu_percent=31.0, steal_ns=0, context_switches=842),
        perf={"old": {"instructions": 1_200_345}, "new": {}},
        warnings=("mark bh never fired",),
    )


@pytest.fixture
def failed_run(good_run: Run) -> Run:
    return replace(
        good_run,
        id=f"{SESSION}.anon.b02.u01",
        boot=2,
        update=1,
        outcome="failed",
        reason="vCPU 1 stands still in new QEMU; 3 of 16384 checked pages of guest RAM changed, "
        "first 0x1234000",
        blackout_ns=None,
        vcpu_blackouts_ns=(4_420_000, None),
        spans=_spans()[:7],
        residual_ns=None,
        handover_ns=None,
        fds=(),
        ram_maps=(),
        ram=RamCheck(pages=16384, bytes=4 * GIB, bad_pages=3, first_bad="0x1234000"),
        perf={},
        disagreements=("qmp saw a pause of 9 ns, longer than the blackout of 8",),
        log_tail="new: qemu-system-x86_64: \x1b[31mload of migration failed\x1b[0m\n"
        "new: qemu-system-x86_64: error while loading state for instance 0x0 of device "
        "'kvm-tpr-opt'",
    )


@pytest.fixture
def session() -> Session:
    return Session(
        id=SESSION,
        started_unix_ns=1_795_472_100_000_000_000,
        command=("pausebench", "run", "anon"),
        builds=(
            Build(
                label="system",
                binary="/usr/bin/qemu-system-x86_64",
                version="10.0.13",
                build_id="ab12",
                sha256="cd34",
                launcher=("/usr/bin/qemu-system-x86_64",),
                symbols={"vm_start": 4096},
            ),
        ),
        environment={"kernel": "6.12.0"},
        probe_tier="uprobe",
    )


@pytest.fixture
def summaries() -> tuple[Summary, ...]:
    anon = Summary(
        scenario="anon",
        old_build="system",
        new_build="system",
        boots=6,
        updates=10,
        valid=59,
        failed=1,
        median_ns=4_420_000,
        low_ns=4_310_000,
        high_ns=4_580_000,
        max_ns=6_114_000,
        interval="order",
        qemu_median_ns=2_000_000,
        qemu_error_percent=-54.75,
        first_progress_median_ns=240_000,
        brownout_median_ns=5_640_000,
        phases={
            "vcpu_stop": 400_000,
            "quiesce": 1_200_000,
            "state_load": 1_190_000,
            "activation": 31_000,
            "state_save": 610_000,
        },
    )
    huge = replace(
        anon,
        scenario="hugetlb-2m",
        boots=3,
        valid=30,
        failed=0,
        median_ns=118_400_000,
        low_ns=98_700_000,
        high_ns=141_000_000,
        max_ns=151_000_000,
        interval="t",
        qemu_median_ns=115_500_000,
        qemu_error_percent=-2.45,
    )
    return anon, huge


# --- a store with one session of two builds in blocks, for all formats of a report ---

NASTY = '<script>alert(1)</script> & "quotes" | `ticks` \x1b[31m'


LOST = ("anon", 6, "new", 2)  # scenario, boot, build, update


def fill(
    store: Store, good_run: Run, session: Session, lost_of: tuple[str, int, str, int] | None = LOST
) -> Session:
    """anon: B is 1 ms slower, one of its boots lost; memfd: the same on both."""
    builds = tuple(
        Build(label, f"/opt/{label}/qemu", version, f"id-{label}", "cd34", (f"/opt/{label}/qemu",))
        for label, version in (("old", "10.0.13"), ("new", "11.1.3"))
    )
    session = replace(
        session,
        command=("pausebench", "compare", "old", "new"),
        builds=builds,
        environment={"host": "h1", "kernel": "6.12.0", "order": "blocks of A B B A", "seed": "7"},
    )
    store.add_session(session)
    for scenario in ("anon", "memfd"):
        for boot in range(1, 7):
            for build in ("old", "new"):
                for update in (1, 2):
                    lost = (scenario, boot, build, update) == lost_of
                    slower = 1_000_000 if (scenario, build) == ("anon", "new") else 0
                    run = _run(good_run, session, scenario, build, boot, update, slower, lost=lost)
                    store.add_run(run, _recording(run))
    store.finish_session(session.id, session.started_unix_ns + 60 * 10**9, 1)
    return session


def _run(good, session, scenario, build, boot, update, slower, *, lost):
    blackout = 4_420_000 + slower + 10_000 * boot + 1_000 * update
    spans = tuple(
        replace(span, blackout_ns=span.blackout_ns + slower) if span.name == "quiesce" else span
        for span in good.spans
    )
    run = replace(
        good,
        id=f"{session.id}.{scenario}+{build}.b{boot:02d}.u{update:02d}",
        session=session.id,
        scenario=scenario,
        dimensions=f"accel=kvm id={scenario} vcpus=2",
        boot=boot,
        update=update,
        started_unix_ns=session.started_unix_ns + boot * 10**9 + update,
        old_build=build,
        new_build=build,
        blackout_ns=blackout,
        vcpu_blackouts_ns=(blackout, blackout - 49_000),
        witnesses=Witnesses(blackout, None, blackout - 265_000, 3_714_000, 2_000_000, blackout),
        spans=spans,
        proof=Proof("held", "", (Check("RAM in place", "held", "all 32 pages"),)),
    )
    if lost:
        spans = tuple(Span(s.name, s.side, s.start_ns, s.end_ns, s.blackout_ns) for s in spans[:4])
        return replace(
            run, outcome="failed", reason=f"vCPU 1 does not run in new QEMU; {NASTY}",
            blackout_ns=None, vcpu_blackouts_ns=(blackout, None), spans=spans,
            log_tail=f"new: {NASTY}",
        )  # fmt: skip
    return run


def _recording(run: Run) -> Recording:
    process = Process(10, ("qemu",), (12, 13))
    return Recording(
        schema=run.schema, id=run.id, session=run.session, boot=run.boot, update=run.update,
        started_unix_ns=run.started_unix_ns, scenario=Scenario(run.scenario, "anon"),
        old_build=run.old_build, new_build=run.new_build, old=process, new=process, steps={},
    )  # fmt: skip


@pytest.fixture
def stored(tmp_path, good_run, session):
    """A store that holds the session; a budget of 5 ms is missed by anon on `new`."""
    with open_store(tmp_path / "store") as store:
        fill(store, good_run, session)
        yield store


@pytest.fixture
def report_data(stored):
    found = read_report_data(stored, [SESSION], ReportOptions({"*": Limit(5_000_000)}))
    return replace(found, store="out")  # as in the default store: golden files name no directory


@pytest.fixture
def harmed_of(tmp_path, good_run, session):
    """Store a comparison in which 3 of 6 boots of anon on `build` have a run that failed so."""

    def make(reason, build, proof="held"):
        with open_store(tmp_path / f"harmed-{build}") as store:
            fill(store, replace(good_run, outcome="completed"), session, lost_of=None)
            for boot in (1, 2, 3):
                run = _run(good_run, session, "anon", build, boot, 3, 0, lost=True)
                run = replace(run, reason=reason, proof=Proof(proof, "", ()))
                store.add_run(run, _recording(run))
            return replace(read_report_data(store, [SESSION]), store="out")

    return make


@pytest.fixture
def driven(tmp_path, good_run, session):
    """As `report_data`, of a payload that drives a device: ten operations in each run."""
    device = DeviceContinuity("0000:00:04.0", 10, 3, 0, 0, 0, 0, 158_000_000, 1_000_000)
    with open_store(tmp_path / "driven") as store:
        fill(store, replace(good_run, device=device), session)
        return read_report_data(store, [SESSION])


@pytest.fixture
def recording_of():
    """The recording that belongs to a run."""
    return _recording


@pytest.fixture
def session_of(tmp_path, good_run, session):
    """Store a session of a command and read it for a report.

    A cell is (scenario, old build, new build, blackout of every boot in ms, or one for each boot).
    """
    opened = []

    def make(command, cells, labels=("system",), boots=6, certificate=None, **environment):
        store = open_store(tmp_path / f"store{len(opened)}")
        opened.append(store)
        builds = tuple(replace(session.builds[0], label=label) for label in labels)
        recorded = replace(
            session, command=("pausebench", *command.split()), builds=builds,
            environment={"host": "h1", "kernel": "6.12.0", "seed": "7"} | environment,
        )  # fmt: skip
        store.add_session(recorded)
        for scenario, old, new, blackout_ms in cells:
            for boot in range(1, boots + 1):
                run = _run(good_run, recorded, scenario, old, boot, 1, 0, lost=blackout_ms is None)
                run = replace(
                    run, id=f"{recorded.id}.{scenario}+{old}-to-{new}.b{boot:02d}.u01",
                    old_build=old, new_build=new,
                )  # fmt: skip
                if isinstance(blackout_ms, tuple):
                    run = replace(run, blackout_ns=round(blackout_ms[boot - 1] * 1e6))
                elif blackout_ms is not None:
                    run = replace(run, blackout_ns=round(blackout_ms * 1e6) + 1_000 * boot)
                store.add_run(run, _recording(run))
        if certificate is not None:
            write_certificate(store.path, certificate)
        return replace(read_report_data(store, [recorded.id]), store="out")

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def finding():
    """A finding on one build, with a run as evidence."""

    def make(found, build, detail, topic="claim", claim=2, test="test", quote=""):
        run = f"20261127-105547-d544.{test}+{build.split()[0]}.b01.u01"
        return Finding(topic, claim, build, test, found, detail, (run,), quote)

    return make


@pytest.fixture
def claims_document():
    """A document on claims 2 and 7 for two builds and the upgrade between them."""

    def make(*findings):
        return ClaimsDocument(
            schema=SCHEMA_OF_CLAIMS,
            session="20261127-105547-d544",
            made_unix_ns=0,
            took_s=61,
            builds={"old": "10.0.2", "new": "11.1.3"},
            columns=("old", "new", "old -> new"),
            findings=findings,
            claims=(2, 7),
            notes=("no time was left for devices on new",),
        )

    return make
