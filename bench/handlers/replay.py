"""`pausebench replay`: judge stored evidence again and compare with the stored result."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from reports.terminal.style import look_for
from results.errors import UsageError
from results.judgement.judge import judge
from results.records.reasons import same_field, says_the_same
from results.records.recording import Recording
from results.records.run import Run, reasons_of
from results.store.store import Store, open_store
from results.summary.selection import NAMED, latest_measured, resolve_run

DIFFERENT = 3  # exit status, as for an invalid measurement
_SHOWN = 60


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
        session = latest_measured(store)
    elif what in NAMED:  # these name runs, as in `show`
        return [resolve_run(store, what)]
    else:
        try:
            session = store.resolve_session(what)
        except UsageError:
            return [store.resolve_run(what)]
    return [run.id for run in store.iter_runs(session=session)]


def replay(
    store: Store, run_ids: list[str], judge: Callable[[Recording], Run]
) -> dict[str, tuple[Difference, ...]]:
    """Judge each recording again: run id → what differs. Raises RecordInvalid."""
    return {
        run_id: differences(store.run(run_id), judge(store.recording(run_id))) for run_id in run_ids
    }


def run(args: argparse.Namespace) -> int:
    """Print what differs. Returns 0 if nothing does, else 3."""
    with open_store(args.store, create=False) as store:
        found = replay(store, chosen_runs(store, args.what), judge)
    different = sum(map(bool, found.values()))
    code = DIFFERENT if different else 0
    if args.json:
        json.dump(_document(found, code), sys.stdout)
        sys.stdout.write("\n")
        return code
    say = look_for(sys.stdout, os.environ).printable
    for run_id, changes in found.items():
        print(f"{say(run_id)}  {'different' if changes else 'same'}")
        for change in changes:
            print(f"    {change.field}: stored {say(_short(change.stored))}")
            print(f"    {' ' * len(change.field)}  judged {say(_short(change.judged))}")
    print(f"{len(found)} judged again, {len(found) - different} same, {different} different")
    return code


def _document(found: dict[str, tuple[Difference, ...]], code: int) -> dict[str, Any]:
    runs = [
        {"id": run_id, "same": not changes, "different": [asdict(c) for c in changes]}
        for run_id, changes in found.items()
    ]
    return {"runs": runs, "exit_code": code}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
