"""Error messages in QEMU's log, and which QEMU wrote them."""

from __future__ import annotations

import pytest

from results.qemu.log import error_messages, last_message, of_side

LOG = (
    "qemu-system-x86_64: warning: TCG is slow\n"
    "qemu-system-x86_64: -netdev tap,id=n: could not configure\n"
    "qemu-system-x86_64: -mon chardev=qmp: warning: '-mon' is deprecated\n"
    "some advice\n"
)


def test_warnings_are_not_error_messages() -> None:
    assert error_messages(LOG) == ["-netdev tap,id=n: could not configure"]
    assert error_messages("qemu-system-x86_64: warning: TCG is slow") == []
    assert error_messages("") == []


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LOG, "-netdev tap,id=n: could not configure"),
        ("qemu-system-x86_64: bad cpr channel", "bad cpr channel"),
        ("ld.so: warning: x\nqemu: first\nqemu: last\nadvice", "last"),
        ("qemu: warning: host lacks it", ""),
        ("no program's name", "no program's name"),
        ("", ""),
    ],
)
def test_last_message_of_a_log(log: str, message: str) -> None:
    assert last_message(log) == message


def test_log_is_split_by_side() -> None:
    both = "old: qemu: late\nmore\nnew: qemu: why"
    assert of_side(both, "old") == "qemu: late\nmore\n"
    assert of_side(both, "new") == "qemu: why"
    assert of_side("new: qemu: why", "old") == ""
    assert of_side("", "new") == ""
