"""Text that others wrote, made safe to show: names, paths, QEMU's messages, a guest's console.

Every medium (terminal, HTML, Markdown, CSV, mail, XML, metrics) passes such text through here
first, and then escapes what is special in that medium alone.
"""

from __future__ import annotations

import re

UNSEEN = "?"  # in place of a character that cannot be shown
_MOST_WORD = 120
_MOST_LINE = 1_000


def printable(text: str, kept: str = "") -> str:
    """`text` without characters that are invisible, or act instead of being shown.

    These are control characters (ESC, NUL, C1, line breaks), marks that change the direction of
    the text around them, lone surrogates and code points without a character. Those in `kept` stay.
    """
    if text.isprintable():
        return text
    # Of all spaces only the common one is printable to Python; these are harmless too.
    kept += "\u00a0\u2009\u202f"
    return "".join(c if c.isprintable() or c in kept else UNSEEN for c in text)


def printable_lines(text: str) -> str:
    """`text`, whose line breaks and tabs stay."""
    return "\n".join(printable(line, "\t") for line in text.split("\n"))


def one_line(text: str) -> str:
    """A message for one line of the terminal: what it echoes is printable, and cut when long."""
    words = re.sub(rf"\S{{{_MOST_WORD},}}", _cut, printable(" ".join(text.split())))
    return words if len(words) <= _MOST_LINE else f"{words[: _MOST_LINE - 3]}..."


def _cut(word: re.Match[str]) -> str:
    """The beginning and the end of a word: of a path, both tell which it is."""
    half = _MOST_WORD // 2
    return f"{word[0][:half]}...{word[0][-half:]}" if len(word[0]) > _MOST_WORD + 3 else word[0]
