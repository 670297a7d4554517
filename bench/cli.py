"""The command line: the one place where errors are printed and become exit codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from results.errors import HostUnfit, PausebenchError

# command → one line of help. What it takes is in bench/commands, what it does in bench/handlers, in
# a module of its name each; they are imported only when it is the one asked for.
COMMANDS: dict[str, str] = {
    "run": "hand guests over again and again and measure how long they stand still",
    "compare": "is build B worse than build A, and which phase moved",
    "claims": "the claims made for cpr-transfer, each shown or refuted here",
    "matrix": "every old build to every new one: blackout or why it does not go",
    "lab": "measure assigned devices (VFIO) in a virtual machine, on hosts without VFIO",
    "build": "QEMU builds to compare: from a Debian suite, a tree or a path",
    "list": "the scenarios that can be run",
    "show": "one handover as a waterfall, with its evidence",
    "why": "why one blackout was as long as it was: its critical path",
    "report": "a session as HTML, Markdown, JUnit, JSON, metrics, Parquet or a trace",
    "nightly": "the job of a night: builds, verdicts, history, reports, a mail",
    "history": "a scenario over the nights, and where its level changed",
    "replay": "judge stored evidence again; needs no QEMU, root or BPF",
    "calibrate": "inject pauses of known length and show how much is recovered",
    "sweep": "how the blackout grows with RAM, vCPUs or devices, beside a precopy",
    "overhead": "how much longer guests stand still because they are watched",
    "doctor": "what this host can measure, and the fix for what it cannot",
}

_EPILOG = """\
exit status: 0 all runs valid, 2 usage, 3 a run failed, 4 host unfit, 130 interrupted

examples:
  pausebench doctor                           is this host fit?
  pausebench run anon hugetlb-2m              3 boots of 5 updates each
  pausebench run anon --ram 1G --vcpus 4 --boots 6 --updates 10
  pausebench run anon --build next=/path/to/qemu-system-x86_64
  pausebench show worst                       why was the longest one long?
  pausebench report                           the last session as one HTML file
"""


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as all of pausebench does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"pausebench: {message} (`{self.prog} --help` shows how)\n")


class _Version(argparse.Action):
    """Tells the version, which takes longer to find out than all else that --help needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib import metadata

        version = "unknown"
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version("pausebench")
        print(f"pausebench {version}")
        parser.exit()


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser; arguments of commands other than `only` are left out, which keeps --help fast."""
    parser = _Parser(
        prog="pausebench",
        description="How long does a KVM guest really stand still when cpr-transfer replaces its "
        "QEMU? Measured on real guests, by independent witnesses.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == only:
            importlib.import_module(f"bench.commands.{name}").add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; no traceback reaches the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(chosen if chosen in COMMANDS else None).parse_args(words)
    try:
        return int(importlib.import_module(f"bench.handlers.{args.command}").run(args))
    except HostUnfit as error:
        return _complain(error, 4)
    except PausebenchError as error:
        return _complain(error, 2)
    except BrokenPipeError:
        # The reader of our output has gone (| head): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _complain(PausebenchError("interrupted; what was finished is kept"), 130)
    except Exception as error:
        if os.environ.get("PAUSEBENCH_DEBUG"):
            raise
        return _complain(
            PausebenchError(
                f"internal error: {type(error).__name__}: {error} "
                "(set PAUSEBENCH_DEBUG=1 for the traceback and report it)"
            ),
            70,
        )


def _complain(error: PausebenchError, status: int) -> int:
    print(f"pausebench: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def entry() -> None:
    """The console script."""
    sys.exit(main())
