"""Tables of the store's SQLite file."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

# Version of the tables, kept in PRAGMA user_version.
#   1  first version
#   2  columns of runs that reports read instead of a million records: all witnesses, blackouts per
#      vCPU, shares of all phases (0 too), the proof's verdict
#   3  the brownout
#   4  the device that the payload drives: operations, troubles, longest gap
#   5  a checksum in each row, the number of rows of each kind, files that a merge has yet to move
VERSION = 5
# PRAGMA application_id: distinguishes the store from other programs' SQLite files ("pbst").
APPLICATION = 0x70627374

METADATA = MetaData()

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("started_unix_ns", BigInteger, nullable=False),
    Column("ended_unix_ns", BigInteger),
    Column("exit_code", Integer),
    Column("probe_tier", Text, nullable=False),
    Column("record", Text, nullable=False),  # JSON of results.records.scenario.Session
    Column("checksum", BigInteger),
)

# Searched, sorted and counted. The complete Run is in RECORDS, so that a scan over many runs reads
# some hundred bytes each instead of some thousand.
RUNS = Table(
    "runs",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("scenario", Text, nullable=False),
    Column("dimensions", Text, nullable=False),
    Column("boot", Integer, nullable=False),
    Column("update", Integer, nullable=False),
    Column("started_unix_ns", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("old_build", Text, nullable=False),
    Column("new_build", Text, nullable=False),
    Column("old_pid", Integer, nullable=False),
    Column("new_pid", Integer, nullable=False),
    Column("blackout_ns", BigInteger),
    Column("first_progress_ns", BigInteger),
    Column("guest_gap_ns", BigInteger),
    Column("guest_clock", Text, nullable=False),
    Column("clock_step_ns", BigInteger),
    Column("skew_ns", BigInteger),
    Column("dark_ns", BigInteger),
    Column("handover_ns", BigInteger),
    Column("residual_ns", BigInteger),
    Column("qemu_ns", BigInteger),  # Run.witnesses.qemu
    Column("phases", Text, nullable=False),  # JSON of Run.phases: name → ns
    # Since version 2; without NOT NULL, which SQLite cannot add to a table that has rows.
    Column("kvm_entry_ns", BigInteger),  # the other fields of Run.witnesses
    Column("uprobe_ns", BigInteger),
    Column("qmp_ns", BigInteger),
    Column("guest_ns", BigInteger),
    Column("vcpu_blackouts", Text),  # JSON of Run.vcpu_blackouts_ns
    Column("shares", Text),  # JSON: phase → share of the blackout, ns; all phases that were seen
    Column("proof", Text),  # verdict of Run.proof
    # Since version 3.
    Column("brownout_ns", BigInteger),
    Column("brownout_watched_ns", BigInteger),
    # Since version 4: of Run.device, NULL where the payload drives none.
    Column("device_operations", BigInteger),
    Column("device_troubles", Integer),  # number of them
    Column("device_gap_ns", BigInteger),  # longest_gap_ns
    # Since version 5.
    Column("others_crc", BigInteger),  # CRC-32 of the columns that reports do not read
    Column("checksum", BigInteger),
    Index("runs_by_scenario", "scenario", "new_build", "started_unix_ns"),
    Index("runs_by_session", "session"),
)

RECORDS = Table(
    "records",
    METADATA,
    Column("seq", Integer, ForeignKey("runs.seq"), primary_key=True),
    Column("record", Text, nullable=False),  # JSON of results.records.run.Run
    Column("checksum", BigInteger),
)

# Comparisons of a build with itself, from which a host's noise floor of a cell is derived.
AA = Table(
    "aa",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("session", Text, ForeignKey("sessions.id"), nullable=False),
    Column("host", Text, nullable=False),
    Column("dimensions", Text, nullable=False),
    Column("boots", Integer, nullable=False),  # of each side
    Column("shift_ns", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("checksum", BigInteger),
    Index("aa_by_cell", "host", "dimensions", "boots"),
)

# How many rows there are, and the lowest and highest `seq` of them, so that rows that vanished with
# a damaged page are missed: of all sessions, runs and A/A comparisons (`session` and `scenario`
# are empty), and of the runs of each scenario of each session.
TALLIES = Table(
    "tallies",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # sessions, runs or aa
    Column("session", Text, nullable=False),
    Column("scenario", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("checksum", BigInteger),
    UniqueConstraint("kind", "session", "scenario"),
)

# Directories of files that belong to committed rows and still have to be moved into place.
STAGED = Table(
    "staged",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("directory", Text, nullable=False, unique=True),
)

CHECKSUMS = ("others_crc", "checksum")  # columns that are derived from the others of their row
CHECKED = (SESSIONS, RUNS, RECORDS, AA, TALLIES)

# What a row of RUNS holds, by how it is read.
TEXTS = (
    "session",
    "scenario",
    "dimensions",
    "outcome",
    "old_build",
    "new_build",
    "proof",
    "reason",  # the last: it may hold anything, the separator too
)
TIMES = (
    "started_unix_ns",
    "blackout_ns",
    "first_progress_ns",
    "guest_gap_ns",
    "clock_step_ns",
    "skew_ns",
    "dark_ns",
    "handover_ns",
    "residual_ns",
    "brownout_ns",
    "brownout_watched_ns",
)
WITNESSES = ("kvm_entry_ns", "uprobe_ns", "qmp_ns", "qemu_ns", "guest_ns")
DEVICE = ("device_operations", "device_troubles", "device_gap_ns")
NUMBERS = ("seq", "boot", "update", *TIMES, *WITNESSES, *DEVICE)
LISTS = ("vcpu_blackouts", "shares")
# Not read by reports, which verify their CRC instead.
OTHERS = ("id", "old_pid", "new_pid", "guest_clock", "phases")

MISSING = -(1 << 63)  # stands for NULL among integers

# Separates texts that are read as one; no id, build or reason that we write contains it.
UNIT_SEPARATOR = "\x1f"


def number_column(name: str, missing: int) -> str:
    """SQL of a number of RUNS; `missing` stands for NULL."""
    return f'coalesce("{RUNS.c[name].name}", {missing})'


def text_columns(names: Sequence[str]) -> str:
    """SQL of several columns of RUNS as one text, with UNIT_SEPARATOR between them; NULL is empty.

    Runs share nearly all of their texts: one string a row instead of nine takes a third of the
    time.
    """
    return " || char(31) || ".join(f"coalesce(\"{RUNS.c[name].name}\", '')" for name in names)
