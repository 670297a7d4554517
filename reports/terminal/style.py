"""How text is printed: width, colour, glyphs, wrapping."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from results.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

_PLAIN = str.maketrans(
    {"×": "x", "−": "-", "→": "->", "…": "...", "·": "-", "—": "-", "–": "-", "±": "+-", "µ": "u"}
    | {"█": "#", "▒": "=", "░": ".", "│": "|", "─": "-"}
)
# A number stays with its unit when a line is wrapped (textwrap does not break at U+00A0).
_UNIT = re.compile(r"(?<=[0-9]) (?=(?:ms|%|GiB|MiB|KiB|B)(?![A-Za-z]))")


@dataclass(frozen=True, slots=True)
class Look:
    """What the output can display. The default is for a pipe or a file."""

    width: int = 80
    colour: bool = False
    unicode: bool = False

    def printable(self, text: str) -> str:
        """`text` without control characters, in ASCII unless the output takes Unicode."""
        text = printable(text)
        if self.unicode:
            return text.encode("utf-8", "replace").decode()
        return text.replace(" · ", ", ").translate(_PLAIN).encode("ascii", "replace").decode()

    def wrap(self, text: str, indent: int = 0, first: int | None = None) -> list[str]:
        """Lines of `text` that fit the width, indented by `indent` (the first by `first`)."""
        lines = textwrap.wrap(
            _UNIT.sub("\u00a0", self.printable(text)),
            width=max(self.width, indent + 20),
            initial_indent=" " * (indent if first is None else first),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        return [line.replace("\u00a0", " ") for line in lines] or [""]


def look_for(stream: TextIO, environ: Mapping[str, str]) -> Look:
    """The look for `stream`: plain ASCII without colour unless it is a terminal and NO_COLOR is
    unset (https://no-color.org)."""
    columns = shutil.get_terminal_size(fallback=(80, 24)).columns
    if not stream.isatty() or environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return Look(width=columns)
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return Look(width=columns, colour=True, unicode=utf8)


class Page:
    """Lines of styled text being built; styles are rich's names, dropped without colour."""

    def __init__(self, look: Look) -> None:
        from rich.text import Text

        self.look = look
        self._text = Text(no_wrap=True, overflow="ignore", end="")
        self._empty = True

    def line(self, *parts: str | tuple[str, str]) -> None:
        """One line of strings and (string, style) pairs; trailing blanks are dropped.

        All of it is made printable here, so that a page need do so only to know a width.
        """
        from rich.text import Text

        made = Text()
        for part in parts:
            string, style = part if isinstance(part, tuple) else (part, "")
            made.append(self.look.printable(string), style if self.look.colour else "")
        made.rstrip()
        if not self._empty:
            self._text.append("\n")
        self._text.append_text(made)
        self._empty = False

    def paragraph(
        self, text: str, indent: int = 0, first: int | None = None, style: str = ""
    ) -> None:
        """`text` wrapped to the width."""
        for line in self.look.wrap(text, indent, first):
            self.line((line, style))

    def text(self) -> Text:
        """All lines as one renderable without a closing newline; `.plain` is the bare string."""
        return self._text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print plain lines, to standard output by default; no name or path in them acts."""
    stream = stream or sys.stdout
    look = look_for(stream, os.environ)
    stream.write("".join(f"{look.printable(line)}\n" for line in text.split("\n")))


def write(text: Text, stream: TextIO, look: Look) -> None:
    """Print a page and a newline, without colour free of escape sequences."""
    if not look.colour:
        stream.write(text.plain + "\n")
        return
    from rich.console import Console

    console = Console(file=stream, width=look.width, force_terminal=True)
    console.print(text, soft_wrap=True)
