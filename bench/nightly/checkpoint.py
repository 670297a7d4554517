"""The state of a night while it runs, so that a crash costs one unit of work.

A unit is one block of one scenario: A B B A. The file is replaced atomically after each unit, so
it always has the units that are done and the sessions that hold their runs.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.measurement.schedule import Trial
from bench.studies.ab_blocks import Pair, plan_block
from results.files import write_atomically
from results.records.scenario import Build, Scenario

_SCHEMA = 1
# An older night is not resumed: the host may have changed.
_MOST_SECONDS = 20 * 3600


@dataclass(frozen=True, slots=True)
class Night:
    """The state of a job's latest night. `plan` is a digest of what must not have changed."""

    schema: int
    name: str
    plan: str
    seed: int
    started_unix_ns: int
    sessions: tuple[str, ...] = ()
    done: tuple[str, ...] = ()  # units, as `unit_name` names them
    self_check_sessions: tuple[str, ...] = ()
    finished: bool = False

    def with_session(self, session: str, *, self_check: bool) -> Night:
        if self_check:
            return replace(self, self_check_sessions=(*self.self_check_sessions, session))
        return replace(self, sessions=(*self.sessions, session))


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One block of one scenario; `part` is main or self-check."""

    part: str
    block: int
    scenario: Scenario

    @property
    def name(self) -> str:
        return f"{self.part}.{self.scenario.id}.{self.block}"


def digest(parts: Sequence[str]) -> str:
    """Digest of the configuration, the builds' contents and the host's boot."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def boot_id() -> str:
    """Differs for each boot of the host: CLOCK_MONOTONIC restarts, and so does a night."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def units(part: str, scenarios: Sequence[Scenario], blocks: int, seed: int) -> list[WorkUnit]:
    """All units in order: block by block, the scenarios in a new random order in each."""
    order = random.Random(f"{seed}.{part}")  # noqa: S311 - a schedule, stored to be repeated
    return [
        WorkUnit(part, block, scenario)
        for block in range(blocks)
        for scenario in order.sample(list(scenarios), len(scenarios))
    ]


def trials(unit: WorkUnit, pair: Pair, updates: int, seed: int) -> tuple[Trial, ...]:
    """The trials of a unit, A B B A or B A A B; the same for the same seed."""
    order = random.Random(f"{seed}.{unit.name}")  # noqa: S311 - a schedule, stored to be repeated
    return plan_block([unit.scenario], pair, unit.block, updates, order)


def start_or_resume(path: Path, name: str, plan: str, now_unix_ns: int) -> tuple[Night, bool]:
    """The night to work on, and whether it is one that was interrupted."""
    found = _read(path)
    recent = found is not None and now_unix_ns - found.started_unix_ns < _MOST_SECONDS * 10**9
    if found is not None and not found.finished and found.plan == plan and recent:
        return found, bool(found.sessions)
    return Night(_SCHEMA, name, plan, secrets.randbits(32), now_unix_ns), False


def save(path: Path, night: Night) -> None:
    """Replace the state atomically, and flush it to disk."""
    write_atomically(path, msgspec.json.encode(night), synced=True, parents=True)


def _read(path: Path) -> Night | None:
    """None for a missing or unreadable state: a new night then starts."""
    try:
        night = msgspec.json.decode(path.read_bytes(), type=Night)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return night if night.schema == _SCHEMA else None


def identity(build: Build) -> str:
    """A build for the digest: another binary with the same label is another build."""
    return f"{build.label} {build.identity} {' '.join(build.launcher)}"
