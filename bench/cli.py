"""The command line: the one place where errors are printed and become exit codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.arguments import path
from results.errors import Interrupted, PausebenchError, SessionNotKept, error_status
from results.printable import one_line
from runners.system.signals import interrupted_by_signals

from .system_errors import of_system

# Command → one line of help. Its arguments are in bench/commands, its body in bench/handlers, each
# in a module of its name; they are imported only for the command that was given.
COMMANDS: dict[str, str] = {
    "run": "measure guest blackout over repeated updates",
    "compare": "measure two builds in turns and judge B against A",
    "claims": "test the claims made for cpr-transfer on this host",
    "matrix": "update from every build to every build",
    "lab": "measure assigned devices (VFIO) in a virtual machine",
    "build": "manage the QEMU builds to measure",
    "list": "list the scenarios",
    "show": "show one update as a waterfall, with its evidence",
    "why": "explain why one blackout took as long as it did",
    "report": "write a session as HTML, Markdown, JUnit, JSON, metrics or a trace",
    "nightly": "run a nightly job: builds, verdicts, history, reports, mail",
    "history": "show a scenario over time and where its level changed",
    "replay": "judge stored evidence again and compare with the stored result",
    "faults": "break QEMU in every phase of an update and see what becomes of the guest",
    "calibrate": "inject pauses of known length and report how much is recovered",
    "sweep": "measure how the blackout grows with RAM, vCPUs or devices",
    "overhead": "measure how much the probes themselves lengthen the blackout",
    "doctor": "check what this host can measure, and how to fix what it cannot",
}

# Their sessions are stored, so that their status counts even if nothing could be printed.
_MEASURING = frozenset(
    {
        "run",
        "compare",
        "faults",
        "claims",
        "matrix",
        "lab",
        "nightly",
        "calibrate",
        "sweep",
        "overhead",
    }
)

_DESCRIPTION = (
    "Measure how long a KVM guest really stands still when QEMU is replaced under it by "
    "cpr-transfer, on real guests and by independent witnesses."
)
_EPILOG = """\
exit status: 0 all runs valid, 2 usage, 3 a run failed, 4 host unfit, 130 interrupted;
  damage to a guest is never 0, see `pausebench COMMAND --help`

examples:
  pausebench doctor                           check this host first
  pausebench run anon hugetlb-2m              boot guests and update each several times
  pausebench run anon --ram 1G --vcpus 4 --boots 12 --updates 10
  pausebench compare system next=/path/to/qemu-system-x86_64
  pausebench show worst                       the longest blackout of the last session
  pausebench report                           the last session as one HTML file

`pausebench COMMAND --help` describes a command and its options.
"""


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, as all of pausebench does."""

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if isinstance(action, argparse._SubParsersAction):  # gets all that its command will
            return super()._get_value(action, arg_string)
        # For every option and argument there is or will be: an empty one is a variable of a script
        # that was not set, and to take it for the default would measure something else.
        if not arg_string and action.type is not path:
            raise argparse.ArgumentError(action, "a value is missing: it is empty")
        # Only a path may be of bytes that are not text.
        if action.type not in (Path, path) and not _is_text(arg_string):
            raise argparse.ArgumentError(action, f"`{arg_string}` is not UTF-8")
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"pausebench: {one_line(message)} (see `{self.prog} --help`)\n")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Help(argparse.RawDescriptionHelpFormatter):
    """Wraps prose to the terminal; text that has line breaks of its own is left as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            paragraph if "\n" in paragraph else textwrap.fill(paragraph, width)
            for paragraph in paragraphs
        )


class _Version(argparse.Action):
    """Prints the version, which takes longer to look up than all else that --help needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib import metadata

        version = "unknown"
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version("pausebench")
        print(f"pausebench {version}")
        parser.exit()


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser; of the commands only `only` gets its arguments, which keeps --help fast."""
    parser = _Parser(
        prog="pausebench", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_Help
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = subparsers.add_parser(name, help=text, formatter_class=_Help)
        if name == only:
            importlib.import_module(f"bench.commands.{name}").add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; no traceback reaches the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(chosen if chosen in COMMANDS else None).parse_args(words)
    try:
        handler = importlib.import_module(f"bench.handlers.{args.command}")
        with interrupted_by_signals():
            return int(handler.run(args))
    except (Interrupted, SessionNotKept) as error:
        return _unfinished(error, args)
    except PausebenchError as error:
        return _report(error)
    except KeyboardInterrupt:
        return _report(PausebenchError("interrupted; nothing was measured yet"), 130)
    except Exception as error:
        if os.environ.get("PAUSEBENCH_DEBUG"):
            raise
        if (refused := of_system(error)) is not None:
            return _report(refused)
        return _report(
            PausebenchError(
                f"internal error: {type(error).__name__}: {error} "
                "(set PAUSEBENCH_DEBUG=1 for the traceback and report it)"
            ),
            70,
        )


def prints_only(argv: Sequence[str]) -> bool:
    """Whether a command line has nothing but its output to give."""
    words = [word for word in argv if not word.startswith("-")]
    return not words or words[0] not in _MEASURING


def _unfinished(error: Interrupted | SessionNotKept, args: argparse.Namespace) -> int:
    status = error_status(error)
    try:
        shown: int = importlib.import_module("bench.unfinished").show_unfinished(
            error, status, args
        )
    except KeyboardInterrupt:  # enough has been said
        return status
    return shown


def _report(error: PausebenchError, status: int | None = None) -> int:
    """Print an error in one line. Returns `status`, by default that of the error's kind."""
    print(f"pausebench: {error.line}", file=sys.stderr)
    return error_status(error) if status is None else status
