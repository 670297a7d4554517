"""Text that others wrote, made safe to show: names, paths, QEMU's messages, a guest's console.

Every medium (terminal, HTML, Markdown, CSV, mail, XML, metrics) passes such text through here
first, and then escapes what is special in that medium alone.
"""

from __future__ import annotations

UNSEEN = "?"  # in place of a character that cannot be shown
_MOST_WORD = 80
_MOST_PATH = 400
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
    """A message for one line of the terminal, in which what it echoes is cut when it is long.

    A character that cannot be shown is named, as in `\\x1b`: it may be what is wrong.
    """
    words = " ".join(map(_cut, text.split()))
    words = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return words if len(words) <= _MOST_LINE else f"{words[: _MOST_LINE - 3]}..."


def _cut(word: str) -> str:
    """The beginning and the end of a word: of a path, both tell which it is."""
    most = _MOST_PATH if "/" in word else _MOST_WORD
    return word if len(word) <= most else f"{word[: most // 2]}...{word[-most // 2 :]}"
