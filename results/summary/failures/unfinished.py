"""A session that ended before it was done, or did not end yet: what it has of what it was to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.records.scenario import Session
from results.store.store import SessionEnd

INTERRUPTED = 130  # exit status of a session that Ctrl-C or a signal ended
NOT_KEPT = 3
_ERRORS = (2, 4, 70)  # of the request, of the host, internal: see results.errors.error_status


@dataclass(frozen=True, slots=True)
class Unfinished:
    """`updates` of `planned` (None where it is not known in advance) are stored.

    `exit_code` is what the session ended with, or what counts for one that has no end.
    """

    why: str
    updates: int
    planned: int | None
    exit_code: int

    @property
    def text(self) -> str:
        """`interrupted: 21 of 40 updates`."""
        return f"{self.why}: {updates_text(self.updates, self.planned)}"


def updates_text(updates: int, planned: int | None) -> str:
    """`21 of 40 updates`; without the plan where there was none, or more was done."""
    of = f" of {planned}" if planned is not None and planned > updates else ""
    return f"{updates}{of} update{'s' if of or updates != 1 else ''}"


def unfinished(
    sessions: Sequence[Session], end: SessionEnd, valid: int, failed: int
) -> Unfinished | None:
    """None for a session that did what it was to do; `end` is that of the last one.

    A boot in which an update failed is not updated further: then fewer than planned is complete.
    """
    # Of a night that was resumed no single session had all of it to do.
    planned = sessions[-1].planned_updates if len(sessions) == 1 else None
    updates = valid + failed
    short = planned is not None and updates < planned
    if end.exit_code == INTERRUPTED:
        return Unfinished("interrupted", updates, planned, INTERRUPTED)
    if end.ended_unix_ns is None and short:
        return Unfinished("not finished, or killed", updates, planned, NOT_KEPT)
    # Status 3 is also that of a session with failed runs, which is complete.
    if short and (end.exit_code in _ERRORS or (end.exit_code == NOT_KEPT and not failed)):
        return Unfinished("ended early", updates, planned, end.exit_code)
    return None
