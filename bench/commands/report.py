"""`pausebench report`: a session as a file that can be forwarded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.options import add_judging_options
from reports.formats.registry import DEFAULT, FORMATS

if TYPE_CHECKING:
    from results.store.store import Store

_FORMATS = "\n".join(
    f"  {name:<12} {form.help}{' (default)' if name == DEFAULT else ''}"
    for name, form in FORMATS.items()
)
_EPILOG = f"""\
formats:
{_FORMATS}

examples:
  pausebench report                                   out/reports/SESSION.html
  pausebench report last --format markdown -o -       to standard output
  pausebench report 20261123-221500-3f2a --budget 50 --format junit -o junit.xml
  pausebench report --format perfetto --run worst -o worst.perfetto-trace"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "session", metavar="SESSION", nargs="*", default=["last"],
        help="a session, a unique beginning of its id, or 'last' (default); several are shown as "
        "one, as those of a night that was resumed",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default=DEFAULT, help="default: %(default)s"
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path,
        help="file to write (csv: a directory), or - for standard output; default: in the store "
        "under reports/",
    )  # fmt: skip
    parser.add_argument("--run", metavar="RUN", help="perfetto: this run, 'last' or 'worst'")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of json")
    add_judging_options(parser)
    parser.add_argument(
        "--store", metavar="DIR", type=Path, default=Path("out"), help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Write one report. Returns 0: what a report says is no failure of writing it."""
    import sys

    from bench.commands.options import asked_of
    from reports.formats.registry import write_report
    from reports.request import Request
    from results.errors import UsageError
    from results.store.store import open_store
    from results.summary.report_data import gather

    if args.schema:
        from reports.formats.report_json import schema_text

        sys.stdout.write(schema_text())
        return 0
    if args.run and args.format != "perfetto":
        raise UsageError("--run goes with --format perfetto; `pausebench show RUN` shows one run")
    asked = asked_of(args)
    _load_meanwhile(args.format)
    with open_store(args.store, create=False) as store:
        sessions = _sessions(args, store)
        material = gather(store, sessions, asked)
        request = Request(material, store, args.strict, args.run)
        path = write_report(args.format, request, args.output)
    if path is not None:
        print(path)
    return 0


def _load_meanwhile(kind: str) -> None:
    """Import what may take most of a second while runs are read by processes of their own."""
    import threading

    threading.Thread(target=FORMATS[kind].load, daemon=True).start()


def _sessions(args: argparse.Namespace, store: Store) -> list[str]:
    """Full ids, each once; those of a given run's session when a run is asked for."""
    if args.run:
        return [store.run(store.resolve_run(args.run)).session]
    return list(dict.fromkeys(store.resolve_session(text) for text in args.session))
