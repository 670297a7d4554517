"""Text of others is shown, and does nothing else."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from results.printable import one_line, printable, printable_lines


def test_no_character_acts_instead_of_being_shown() -> None:
    """All control, format, surrogate, private and unassigned code points, and line separators."""
    for point in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(point))
        acts = category[0] == "C" or category in ("Zl", "Zp")
        assert (printable(chr(point)) == "?") is (acts or chr(point) == "?") or category == "Zs"


def test_words_of_any_script_and_our_own_signs_stay() -> None:
    text = "µs ±3 % → 4.42 ms · — … ✓ 日本語 עברית\u00a0!"
    assert printable(text) == text


def test_lines_stay_lines() -> None:
    assert printable_lines("a\tb\r\n\x1b[2Jc\x00") == "a\tb?\n?[2Jc?"


@pytest.mark.parametrize("text", ["9" * 5_000, "x" * 10**6, "a b " * 10**5, "\x1b]0;" + "y" * 400])
def test_what_is_echoed_is_cut(text: str) -> None:
    line = one_line(f"argument --boots: `{text}` is too long")
    assert len(line) <= 1_000
    assert line.isprintable()
    assert line.startswith("argument --boots: `")


def test_an_ordinary_message_is_echoed_in_full() -> None:
    path = "/home/someone/with/a/long/path/" + "directory/" * 30 + "file.toml"
    message = f"{path}: cannot be read as TOML: no such file"
    assert one_line(message) == message
    assert one_line("two\n  lines") == "two lines"
