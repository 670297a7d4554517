"""`pausebench show`: show one update as a waterfall, with its evidence."""

from __future__ import annotations

import argparse
import json
import os
import sys

from bench.inputs.stored import exit_code, stored
from reports.formats.session_json import document
from reports.terminal.style import look_for, write
from reports.terminal.waterfall import waterfall
from results.store.tables.columns import columns_of
from results.summary.cells import summarise
from results.summary.redaction import redacted_run, redacted_session
from results.summary.selection import resolve_run


def run(args: argparse.Namespace) -> int:
    """Print one stored run. Returns 0, or 3 when other stored runs are lost."""
    with stored(args.store) as store:
        found = store.run(resolve_run(store, args.run))
        session = store.session(found.session)
    if args.redact:
        found, session = redacted_run(found), redacted_session(session)
    if args.json:
        json.dump(document(session, [found], summarise(columns_of([found]))), sys.stdout)
        sys.stdout.write("\n")
        return exit_code(store)
    look = look_for(sys.stdout, os.environ)
    write(waterfall(found, look), sys.stdout, look)
    return exit_code(store)
