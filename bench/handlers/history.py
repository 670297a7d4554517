"""`pausebench history`: show a scenario over time and where its level changed."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import sys
import time
from contextlib import suppress

from bench.inputs.stored import exit_code, stored
from reports.formats.history_json import history_document
from reports.html.history_page import history_html
from reports.terminal.history import history_page
from reports.terminal.style import look_for, write
from results.errors import UsageError
from results.files import write_atomically
from results.history.kept import keep_history, read_history


def run(args: argparse.Namespace) -> int:
    """Print the history. Returns 0; raises UsageError for a scenario without a run."""
    since = since_unix_ns(args.since, time.time_ns()) if args.since else 0
    with stored(args.store) as store:
        complete = read_history(store, args.scenario)
        with suppress(UsageError):  # a store of another user, which is only read
            keep_history(store, complete)
        shown = (line.since(since) for line in complete)
        lines = [line for line in shown if line.points or line.empty]
        if not lines:
            known = ", ".join(store.scenarios()) or "none"
            when = f" since {args.since}" if args.since else ""
            raise UsageError(
                f"no run of {args.scenario!r}{when} in {args.store}; scenarios there: {known}"
            )
    if args.output is not None:
        page = history_html(args.scenario, lines)
        write_atomically(args.output, page)
    if args.json:
        print(json.dumps(history_document(args.scenario, lines)))
        return exit_code(store)
    look = look_for(sys.stdout, os.environ)
    write(history_page(lines, look), sys.stdout, look)
    return exit_code(store)


def since_unix_ns(text: str, now_unix_ns: int) -> int:
    """`2026-10-01` or `30d` → the first moment shown, ns. Raises UsageError."""
    if match := re.fullmatch(r"([0-9]{1,5})d", text):
        return now_unix_ns - int(match[1]) * 86_400 * 10**9
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text}: expected YYYY-MM-DD or a number of days, e.g. 30d"
        ) from None
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return int(start.timestamp()) * 10**9
