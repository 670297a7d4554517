"""What was announced night by night, and what became of it: nothing is taken back in silence.

A change is provisional until three nights in a row have found it and it is clear; what three nights
in a row no longer find is withdrawn, and stays on record as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .change_points import LEAST_NIGHTS, Change, Kind, find_changes
from .night_noise import Floats

State = Literal["provisional", "confirmed", "withdrawn"]

# Before that nothing is announced.
FIRST_NIGHTS = 2 * LEAST_NIGHTS
CONFIRMING_NIGHTS = 3
# The nights that are looked at. What lies further back is settled.
WINDOW = 200
# A change is found a few nights earlier or later as more nights come.
_NEAR = 7


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change of level as it was announced; `before` and `after` in the unit of the series.

    Nights are counted from 0. A step is at night `at`; a drift begins there and was last seen going
    on in night `until`. `found_on`, `confirmed_on` and `withdrawn_on` are the nights that did so.
    `found` and `missed` are how many nights in a row have found it or not, up to the last one.
    `became` is what it was withdrawn for: a step that turned out to be part of a drift, or a drift
    that turned out to be a step.
    """

    kind: Kind
    at: int
    until: int
    before: float
    after: float
    found_on: int
    confirmed_on: int | None = None
    withdrawn_on: int | None = None
    found: int = 1
    missed: int = 0
    became: Kind | None = None

    @property
    def state(self) -> State:
        if self.withdrawn_on is not None:
            return "withdrawn"
        return "provisional" if self.confirmed_on is None else "confirmed"

    @property
    def rises(self) -> bool:
        return self.after > self.before

    @property
    def percent(self) -> float:
        """How far the level moved, signed."""
        return (self.after / self.before - 1.0) * 100.0


def announcements(
    values: Sequence[float], known: Sequence[Announcement] = (), nights: int = 0
) -> tuple[Announcement, ...]:
    """What is announced after the last night, in the order in which it was found.

    `known` is what was announced after the first `nights`; the later ones are looked at one by one,
    as if it had been done each night. Values are positive; others announce nothing.
    """
    if not values or min(values) <= 0:
        return tuple(known)
    logs = np.log(np.asarray(values, dtype=np.float64))
    found = tuple(known)
    for last in range(max(nights, FIRST_NIGHTS - 1), len(values)):
        found = _after_night(logs[: last + 1], found)
    return found


def _after_night(logs: Floats, known: tuple[Announcement, ...]) -> tuple[Announcement, ...]:
    """What is announced once the last of these nights is known."""
    last = len(logs) - 1
    first = max(0, len(logs) - WINDOW)
    standing = [each for each in known if each.state == "confirmed"]
    changes = [
        replace(change, at=change.at + first, until=change.until + first)
        for change in find_changes(
            logs[first:],
            [replace(each, at=each.at - first, until=each.until - first) for each in standing],
        )
    ]
    fresh = [change for change in changes if not any(_is_known(each, change) for each in standing)]
    updated = []
    for each in known:
        if each.state == "provisional":
            each = _provisional(each, _taken(fresh, each), last)
        elif each.state == "confirmed" and each.at - first > _NEAR:
            each = _confirmed(each, [c for c in changes if _near(each, c)], last)
        updated.append(each)
    updated += [
        Announcement(c.kind, c.at, c.until, c.before, c.after, found_on=last) for c in fresh
    ]
    return _each_once(updated, last)


def _near(each: Announcement, change: Change | Announcement) -> bool:
    """Whether both may be the same, seen one night and another."""
    return (
        each.rises == change.rises
        and change.at - _NEAR <= each.until
        and each.at - _NEAR <= change.until
    )


def _is_known(each: Announcement, change: Change) -> bool:
    """Whether the change is one that was announced."""
    return _near(each, change) and each.kind == change.kind


def _taken(changes: list[Change], each: Announcement) -> Change | None:
    """The change that is most like the announcement, taken from `changes`."""
    near = [change for change in changes if _near(each, change)]
    if not near:
        return None
    chosen = min(near, key=lambda c: (c.kind != each.kind, abs(c.at - each.at)))
    changes.remove(chosen)
    return chosen


def _provisional(each: Announcement, change: Change | None, last: int) -> Announcement:
    if change is None:
        missed = each.missed + 1
        withdrawn = last if missed >= CONFIRMING_NIGHTS else None
        return replace(each, found=0, missed=missed, withdrawn_on=withdrawn)
    each = _as_found(each, change)
    confirmed = last if each.found >= CONFIRMING_NIGHTS and change.clear else None
    return replace(each, confirmed_on=confirmed)


def _as_found(each: Announcement, change: Change) -> Announcement:
    return replace(
        each,
        kind=change.kind,
        at=change.at,
        until=change.until,
        before=change.before,
        after=change.after,
        found=each.found + 1,
        missed=0,
    )


def _confirmed(each: Announcement, near: Sequence[Change], last: int) -> Announcement:
    """As announced, but for how far a drift has come."""
    if not near:
        missed = each.missed + 1
        return replace(
            each,
            found=0,
            missed=missed,
            withdrawn_on=last if missed >= CONFIRMING_NIGHTS else None,
        )
    each = replace(each, found=each.found + 1, missed=0)
    going_on = next((change for change in near if change.kind == "drift"), None)
    if each.kind == "drift" and going_on is not None:
        return replace(each, until=going_on.until, after=going_on.after)
    return each


def _each_once(announced: Sequence[Announcement], last: int) -> tuple[Announcement, ...]:
    """What is confirmed now withdraws what told of the same as a change of the other kind."""
    new = [each for each in announced if each.confirmed_on == last]

    def became(each: Announcement) -> Kind | None:
        if each.state == "withdrawn" or each in new:
            return None
        return next((one.kind for one in new if one.kind != each.kind and _near(one, each)), None)

    kinds = [became(each) for each in announced]
    return tuple(
        replace(each, withdrawn_on=last, became=kind) if kind else each
        for each, kind in zip(announced, kinds, strict=True)
    )
