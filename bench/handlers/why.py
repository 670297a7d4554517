"""`pausebench why`: explain one blackout, compared with the median run of its session."""

from __future__ import annotations

import argparse
import json
import os
import sys

from bench.inputs.stored import exit_code, stored
from reports.terminal.style import look_for, write
from reports.terminal.why import why_document, why_page
from results.causes.attribution import critical_path
from results.causes.explain import explain
from results.errors import UsageError
from results.records.recording import Recording
from results.records.run import Run
from results.records.scheduler import Segment
from results.summary.selection import resolve_run


def run(args: argparse.Namespace) -> int:
    """Print the causes. Returns 0; raises UsageError for a run without a scheduler trace."""
    with stored(args.store) as store:
        found = store.run(resolve_run(store, args.run))
        check_attributed(found)
        explanation = explain(found, store.iter_runs(session=found.session))
        path = path_of(found, store.recording(found.id)) if args.path or args.json else ()
    if args.json:
        json.dump(why_document(explanation, path), sys.stdout)
        sys.stdout.write("\n")
        return exit_code(store)
    look = look_for(sys.stdout, os.environ)
    write(why_page(explanation, look, path), sys.stdout, look)
    return exit_code(store)


def check_attributed(run: Run) -> None:
    """Raises UsageError for a run without known causes."""
    if run.attribution is None:
        what = "has no blackout" if run.blackout_ns is None else "was measured without --why"
        raise UsageError(f"run {run.id} {what}: its causes are not known")
    if run.attribution.missing:
        raise UsageError(f"run {run.id} has no attribution: {run.attribution.missing}")


def path_of(run: Run, recording: Recording) -> tuple[Segment, ...]:
    """The critical path of a run, from its stored evidence."""
    assert run.blackout_ns is not None
    assert run.blackout_start_ns is not None
    window = (run.blackout_start_ns, run.blackout_start_ns + run.blackout_ns)
    ended = next(b for b in recording.brackets if b.run_first_entry_ns == window[1])
    return critical_path(recording, window, ended.new_tid)
