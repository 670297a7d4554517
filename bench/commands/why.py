"""`pausebench why`: what one blackout waited for, beside the median run of its session."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.records.recording import Recording
    from results.records.run import Run
    from results.records.scheduler import Segment

EPILOG = """\
Every ns of the blackout belongs to one thread on the critical path across both QEMUs, found by
walking back from the first guest entry through who woke whom: it ran, it waited for a CPU (who ran
meanwhile is named), it was blocked (in which call, and who ended that) or stopped by a signal.
Numbers in brackets are the difference to the session's median run.

examples:
  pausebench why worst                 why was the longest run of the last session so long?
  pausebench why last --path           every piece of its critical path
  pausebench run anon --budget 10ms    says why for each run that took longer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="worst",
        help="id of a run, a unique beginning of it, 'last' or 'worst' (default: worst)",
    )
    parser.add_argument("--path", action="store_true", help="also every piece of the path")
    parser.add_argument("--json", action="store_true", help="one JSON document instead")
    parser.add_argument(
        "--store", metavar="DIR", type=Path, default=Path("out"), help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Print the reasons. Returns 0; UsageError for a run whose scheduler was not watched."""
    import json
    import os
    import sys

    from reports.terminal.style import look_for, write
    from reports.terminal.why import why_document, why_page
    from results.causes.explain import explain
    from results.store.store import open_store

    with open_store(args.store, create=False) as store:
        found = store.run(store.resolve_run(args.run))
        check_attributed(found)
        explanation = explain(found, store.iter_runs(session=found.session))
        path = path_of(found, store.recording(found.id)) if args.path or args.json else ()
    if args.json:
        json.dump(why_document(explanation, path), sys.stdout)
        sys.stdout.write("\n")
        return 0
    look = look_for(sys.stdout, os.environ)
    write(why_page(explanation, look, path), sys.stdout, look)
    return 0


def check_attributed(run: Run) -> None:
    """Raises UsageError for a run of which no cause is known."""
    from results.errors import UsageError

    if run.attribution is None:
        what = "has no blackout" if run.blackout_ns is None else "was measured without --why"
        raise UsageError(f"run {run.id} {what}: nothing is known of its causes")
    if run.attribution.missing:
        raise UsageError(f"run {run.id} has no attribution: {run.attribution.missing}")


def path_of(run: Run, recording: Recording) -> tuple[Segment, ...]:
    """The critical path of a run, from its stored evidence."""
    from results.causes.attribution import critical_path

    assert run.blackout_ns is not None
    assert run.blackout_start_ns is not None
    window = (run.blackout_start_ns, run.blackout_start_ns + run.blackout_ns)
    ended = next(b for b in recording.brackets if b.run_first_entry_ns == window[1])
    return critical_path(recording, window, ended.new_tid)
