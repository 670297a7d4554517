"""What is taken for a complaint in a QEMU's log, and whose it is."""

from __future__ import annotations

import pytest

from results.qemu.log import complaints, last_words, of_side

LOG = (
    "qemu-system-x86_64: warning: TCG is slow\n"
    "qemu-system-x86_64: -netdev tap,id=n: could not configure\n"
    "qemu-system-x86_64: -mon chardev=qmp: warning: '-mon' is deprecated\n"
    "some advice\n"
)


def test_a_complaint_is_no_warning() -> None:
    assert complaints(LOG) == ["-netdev tap,id=n: could not configure"]
    assert complaints("qemu-system-x86_64: warning: TCG is slow") == []
    assert complaints("") == []


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (LOG, "-netdev tap,id=n: could not configure"),
        ("qemu-system-x86_64: bad cpr channel", "bad cpr channel"),
        ("ld.so: warning: x\nqemu: first\nqemu: last\nadvice", "last"),
        ("qemu: warning: host lacks it", ""),
        ("no program's name", "no program's name"),
        ("", ""),
    ],
)
def test_the_last_words_of_a_log(log: str, words: str) -> None:
    assert last_words(log) == words


def test_each_side_has_its_own() -> None:
    both = "old: qemu: late\nmore\nnew: qemu: why"
    assert of_side(both, "old") == "qemu: late\nmore\n"
    assert of_side(both, "new") == "qemu: why"
    assert of_side("new: qemu: why", "old") == ""
    assert of_side("", "new") == ""
