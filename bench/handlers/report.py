"""`pausebench report`: write a stored session as a file."""

from __future__ import annotations

import argparse
import sys
import threading

from reports.formats.registry import find_format, write_report
from reports.formats.report_json import schema_text
from reports.request import Request
from results.errors import UsageError
from results.store.store import Store
from results.summary.report_data import gather

from .chosen import asked_of
from .stored import exit_code, stored


def run(args: argparse.Namespace) -> int:
    """Write one report. Returns 0 whatever the verdict is, 3 when stored runs are lost."""
    if args.schema:
        sys.stdout.write(schema_text())
        return 0
    if args.run and args.format != "perfetto":
        raise UsageError("--run needs --format perfetto; `pausebench show RUN` shows one run")
    asked = asked_of(args)
    # What may take most of a second, while runs are read by processes of their own.
    threading.Thread(target=find_format(args.format).load, daemon=True).start()
    with stored(args.store) as store:
        sessions = _sessions(args, store)
        material = gather(store, sessions, asked)
        request = Request(material, store, args.strict, args.run)
        path = write_report(args.format, request, args.output)
    if path is not None:
        print(path)
    return exit_code(store)


def _sessions(args: argparse.Namespace, store: Store) -> list[str]:
    """Full ids, each once; with `--run` that of the run's session."""
    if args.run:
        return [store.run(store.resolve_run(args.run)).session]
    return list(dict.fromkeys(store.resolve_session(text) for text in args.session))
