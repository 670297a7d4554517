"""Time and memory of a report of a million stored updates, in a process of its own.

    .venv/bin/pytest bench/benchmarks/test_report_scale.py -s                 a million runs
    PAUSEBENCH_SCALE_RUNS=100000 .venv/bin/pytest bench/benchmarks/test_report_scale.py -s

The runs are generated: six scenarios on two builds in A B B A blocks, ten updates per boot, one in
a thousand failed. The goal is 10 s and 2 GB on two cores; missing it is reported, not a failure.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import Table

from results.records.run import SCHEMA, Run, Span, Witnesses
from results.records.scenario import Build, Session
from results.store.store import FILE_NAME, open_store
from results.store.tables.checksums import sealed
from results.store.tables.migration import count_rows
from results.store.tables.schema import CHECKSUMS, RECORDS, RUNS

RUNS_WANTED = int(os.environ.get("PAUSEBENCH_SCALE_RUNS", "1000000"))
SESSION = "20261123-221500-3f2a"
SCENARIOS = ("anon", "anon-locked", "hugetlb-2m", "memfd", "pinned", "shm")
PHASES = (
    *("vcpu_stop", "quiesce", "save_start", "ram_setup", "state_save", "state_load"),
    *("activation", "vm_start", "first_entry", "source_end"),
)
GOAL_SECONDS, GOAL_BYTES = 10.0, 2 << 30


def rows(count: int) -> Iterator[tuple[dict[str, object], bytes]]:
    """(row of the table of runs, JSON of the record) of each generated run."""
    order = np.random.default_rng(7)
    for number in range(count):
        boot_number, update = divmod(number, 10)
        group, scenario = divmod(boot_number, len(SCENARIOS))
        boot, build = divmod(group, 2)
        shares = order.lognormal(12.5, 0.6, len(PHASES)).astype(int).tolist()
        blackout = sum(shares)
        failed = number % 1000 == 999
        run = Run(
            schema=SCHEMA,
            id=f"{SESSION}.{SCENARIOS[scenario]}+{'ab'[build]}.b{boot + 1:02d}.u{update + 1:02d}",
            session=SESSION,
            scenario=SCENARIOS[scenario],
            dimensions=f"id={SCENARIOS[scenario]} ram_bytes=268435456 vcpus=2",
            boot=boot + 1,
            update=update + 1,
            started_unix_ns=1_795_472_100_000_000_000 + number * 10**8,
            outcome="failed" if failed else "completed",
            reason=f"vCPU 1 stands still after {number} ns" if failed else "",
            old_build="ab"[build],
            new_build="ab"[build],
            old_pid=1,
            new_pid=2,
            blackout_ns=None if failed else blackout,
            blackout_start_ns=1_000_000,
            vcpu_blackouts_ns=(blackout, blackout * 9 // 10),
            guest_gap_ns=blackout + 200_000,
            handover_ns=blackout + 50_000_000,
            residual_ns=0,
            witnesses=Witnesses(
                blackout, None, blackout * 7 // 10, blackout // 2, 2_000_000, blackout + 200_000
            ),
            spans=tuple(
                Span(n, "old", 1_000_000, 1_000_000 + s, s)
                for n, s in zip(PHASES, shares, strict=True)
            ),
        )
        yield _row(run), msgspec.json.encode(run)


def _row(run: Run) -> dict[str, object]:
    row: dict[str, object] = {
        column.name: getattr(run, column.name, None)
        for column in RUNS.columns
        if column.name not in ("seq", "proof", *CHECKSUMS)
    }
    row |= {f"{w}_ns": getattr(run.witnesses, w) for w in ("qemu", "uprobe", "qmp", "guest")}
    shares = {span.name: span.blackout_ns for span in run.spans}
    row["phases"] = row["shares"] = json.dumps(shares, separators=(",", ":"))
    row["vcpu_blackouts"] = json.dumps(run.vcpu_blackouts_ns)
    return row | {"proof": "held"}


def fill(path: Path, count: int) -> None:
    """Write a store of `count` runs in one transaction, without raw recordings."""
    builds = tuple(Build(label, label, "11.1.3", label, "", (label,)) for label in "ab")
    order = {"order": "blocks of A B B A", "host": "generated", "kernel": "none"}
    with open_store(path) as store:
        store.add_session(
            Session(SESSION, 1_795_472_100_000_000_000, ("pausebench", "compare"), builds, order)
        )
    database = sqlite3.connect(path / FILE_NAME)
    database.execute("PRAGMA synchronous = OFF")
    for number, (row, record) in enumerate(rows(count), 1):
        _insert(database, RUNS, {"seq": number, **row})
        _insert(database, RECORDS, {"seq": number, "record": record.decode()})
    count_rows(database)
    database.commit()
    database.close()


def _insert(database: sqlite3.Connection, table: Table, row: dict[str, object]) -> None:
    names = table.c.keys()
    quoted = ", ".join(f'"{name}"' for name in names)
    values = sealed(table, row)
    database.execute(
        f"INSERT INTO {table.name} ({quoted}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
        [values[name] for name in names],
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scale")
    start = time.monotonic()
    fill(path, RUNS_WANTED)
    size = (path / FILE_NAME).stat().st_size
    print(f"\n{RUNS_WANTED} runs generated in {time.monotonic() - start:.0f} s, {size >> 20} MiB")
    return path


@pytest.mark.parametrize("kind", ["html", "json", "parquet"])
def test_report(store: Path, kind: str) -> None:
    _measure(kind, ["report", "--format", kind, "--store", str(store)])


def test_history(store: Path) -> None:
    _measure("history", ["history", "anon", "--store", str(store)])


def _measure(what: str, words: list[str]) -> None:
    """Run the command and print its time and memory."""
    start = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "bench", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    peak = used.ru_maxrss * (resource.getpagesize() // 4096) * 1024
    kept = seconds <= GOAL_SECONDS and peak <= GOAL_BYTES
    print(
        f"{what}: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU), "
        f"{peak / 2**20:.0f} MiB at most; goal {'kept' if kept else 'MISSED'}"
    )
    assert child.returncode == 0
