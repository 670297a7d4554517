"""`pausebench report`: write a stored session as a file."""

from __future__ import annotations

import argparse
import sys
import threading

from bench.inputs.chosen import report_options
from bench.inputs.stored import exit_code, stored
from bench.measurement.budgets import check_measured
from reports.formats.registry import find_format, write_report
from reports.formats.report_json import schema_text
from reports.request import Request
from results.errors import UsageError
from results.history.anchors import with_anchors
from results.history.kept import read_history
from results.store.recordings import session_of
from results.store.store import Store
from results.summary.report_data import read_report_data
from results.summary.selection import resolve_run, resolve_session


def run(args: argparse.Namespace) -> int:
    """Write one report. Returns 0 whatever the verdict is, 3 when stored runs are lost."""
    if args.schema:
        sys.stdout.write(schema_text())
        return 0
    if args.run and args.format != "perfetto":
        raise UsageError("--run needs --format perfetto; `pausebench show RUN` shows one run")
    options = report_options(args)
    # What may take most of a second, while runs are read by processes of their own.
    threading.Thread(target=find_format(args.format).load, daemon=True).start()
    with stored(args.store) as store:
        if args.run:
            args.run = resolve_run(store, args.run)
        sessions = _sessions(args, store)
        data = read_report_data(store, sessions, options)
        check_measured(args.budget, {cell.summary.scenario for cell in data.cells})
        if data.kind == "nightly":
            lines = read_history(store, until_unix_ns=data.session.started_unix_ns)
            data = with_anchors(store, data, lines, options.thresholds)
        request = Request(data, store, args.strict, args.run)
        path = write_report(args.format, request, args.output)
    if path is not None:
        print(path)
    return exit_code(store)


def _sessions(args: argparse.Namespace, store: Store) -> list[str]:
    """Full ids, each once; with `--run` that of the run's session."""
    if args.run:
        return [session_of(args.run)]
    return list(dict.fromkeys(resolve_session(store, text) for text in args.session))
