"""`pausebench report`: write a stored session as a file."""

from __future__ import annotations

import argparse

from bench.arguments import path
from reports.formats.registry import DEFAULT, FORMATS

from .options import add_budget_option, add_redact_option, add_store_option, add_threshold_options

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
    parser.description = (
        "Write a stored session as one file: an HTML page to read and send, a summary or JUnit "
        "XML for CI, or data for other tools. It measures nothing and exits with 0 whatever the "
        "report says."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "session", metavar="SESSION", nargs="*", default=["last"],
        help="a session, a unique prefix of its id, or `last` (default), the last one that "
        "measured updates: calibrations, overheads, claims and self-checks of nights go by their "
        "id; several are shown as one, such as those of a night that was resumed",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default=DEFAULT, help="default: %(default)s"
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=path,
        help="file to write (csv: a directory), or - for standard output (default: in the store, "
        "below reports/)",
    )  # fmt: skip
    parser.add_argument(
        "--run", metavar="RUN", help="with --format perfetto: this run alone, `last` or `worst`"
    )
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of the json format and exit"
    )
    add_budget_option(parser, "Report a budget that was missed, as a failed case in JUnit.")
    add_threshold_options(parser)
    parser.add_argument("--strict", action="store_true", help="count undecided as a failure")
    add_redact_option(parser)
    add_store_option(parser)
