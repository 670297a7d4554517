"""`pausebench replay`: judge stored evidence again and compare with the stored result."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bench.inputs.stored import exit_code, stored
from reports.terminal.style import look_for
from results.errors import RecordInvalid
from results.judgement.judge import judge
from results.records.reasons import same_field, says_the_same
from results.records.recording import Recording
from results.records.run import Run, reasons_of
from results.store.store import Store
from results.summary.selection import NAMED, latest_measured, resolve_run

DIFFERENT = 3  # exit status, as for an invalid measurement
_SHOWN = 60
_MOST_UNREADABLE = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of a run that came out differently."""

    field: str
    stored: Any
    judged: Any


def differences(stored: Run, judged: Run) -> tuple[Difference, ...]:
    """Fields in which two judgements of one transfer differ, in the order of the record.

    A sentence differs if it means something else, not if it is only worded differently.
    """
    # The reasons of a run that was stored without any are read from its text.
    same_text = stored.reason == judged.reason and not stored.reasons
    stored = replace(stored, reasons=judged.reasons if same_text else reasons_of(stored))
    failed_alike = says_the_same(stored.reasons, judged.reasons)
    one, other = asdict(stored), asdict(judged)
    return tuple(
        Difference(f.name, one[f.name], other[f.name])
        for f in fields(stored)
        if not same_field(f, stored, judged) and not (f.name == "reason" and failed_alike)
    )


def chosen_runs(store: Store, what: str | None) -> list[str]:
    """Ids of the runs that `what` names: those of a session, or one run."""
    if what is None:
        return store.run_ids(latest_measured(store))
    if what in NAMED or "." in what:  # `last` is a run, as in `show`; no session's id has a dot
        return [resolve_run(store, what)]
    return store.run_ids(store.resolve_session(what))


@dataclass(frozen=True, slots=True)
class Replayed:
    """By run id: what differs, and why a run could not be judged again."""

    judged: dict[str, tuple[Difference, ...]]
    unreadable: dict[str, RecordInvalid]


def replay(store: Store, run_ids: list[str], judge: Callable[[Recording], Run]) -> Replayed:
    """Judge each recording again. Raises RecordInvalid when none of them can be read."""
    found = Replayed({}, {})
    for run_id in run_ids:
        try:
            again = judge(store.recording(run_id))
            found.judged[run_id] = differences(store.run(run_id), again)
        except RecordInvalid as error:
            found.unreadable[run_id] = error
    if found.unreadable and not found.judged:
        raise next(iter(found.unreadable.values()))
    return found


def run(args: argparse.Namespace) -> int:
    """Print what differs. Returns 0 when nothing does and all is readable, else 3."""
    with stored(args.store) as store:
        replayed = replay(store, chosen_runs(store, args.what), judge)
    found = replayed.judged
    for line in _unreadable_lines(replayed):
        print(f"pausebench: {line}", file=sys.stderr)
    different = sum(map(bool, found.values()))
    code = exit_code(store, DIFFERENT if different or replayed.unreadable else 0)
    if args.json:
        json.dump(_document(replayed, code), sys.stdout)
        sys.stdout.write("\n")
        return code
    say = look_for(sys.stdout, os.environ).printable
    for run_id, changes in found.items():
        print(f"{say(run_id)}  {'different' if changes else 'same'}")
        for change in changes:
            print(f"    {change.field}: stored {say(_short(change.stored))}")
            print(f"    {' ' * len(change.field)}  judged {say(_short(change.judged))}")
    left_out = f", {len(replayed.unreadable)} unreadable" if replayed.unreadable else ""
    same = len(found) - different
    print(f"{len(found)} judged again, {same} same, {different} different{left_out}")
    return code


def _unreadable_lines(replayed: Replayed) -> list[str]:
    lines = [error.line for error in replayed.unreadable.values()]
    more = len(lines) - _MOST_UNREADABLE
    return lines[:_MOST_UNREADABLE] + ([f"{more} more runs are unreadable"] if more > 0 else [])


def _document(replayed: Replayed, code: int) -> dict[str, Any]:
    runs = [
        {"id": run_id, "same": not changes, "different": [asdict(c) for c in changes]}
        for run_id, changes in replayed.judged.items()
    ]
    unreadable = [{"id": i, "error": str(error)} for i, error in replayed.unreadable.items()]
    return {"runs": runs, "unreadable": unreadable, "exit_code": code}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
