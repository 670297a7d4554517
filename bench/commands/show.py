"""`pausebench show`: one handover as a waterfall, or as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="last",
        help="id of a run, a unique beginning of it, 'last' or 'worst' (default: last)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead")
    parser.add_argument(
        "--store", metavar="DIR", type=Path, default=Path("out"), help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Print one stored run to standard output. Returns 0; see `open_store` for the errors."""
    import json
    import os
    import sys

    from results.store.store import open_store

    with open_store(args.store, create=False) as store:
        found = store.run(store.resolve_run(args.run))
        session = store.session(found.session)
    if args.json:
        from reports.formats.session_json import document
        from results.store.columns import columns_of
        from results.summary.cells import summarise

        json.dump(document(session, [found], summarise(columns_of([found]))), sys.stdout)
        sys.stdout.write("\n")
        return 0
    from reports.terminal.session import look_for, waterfall, write

    look = look_for(sys.stdout, os.environ)
    write(waterfall(found, look), sys.stdout, look)
    return 0
