"""Reading what QEMU answers: an answer that is not what its command documents fails the run."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from results.errors import TransferRefused

_MOST = 1 << 53  # of what a recording holds, and JSON of other programs


@contextmanager
def understood(command: str, answer: object) -> Iterator[None]:
    """Raises TransferRefused when what is read from `answer` inside the block is not there."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise TransferRefused(
            f"QEMU's answer to {command} is malformed: {reprlib.repr(answer)}",
            sent=command,
            received=reprlib.repr(answer),
        ) from error


def integers(answer: object) -> dict[str, int]:
    """The integers of a QMP answer; empty for what is not an object."""
    if not isinstance(answer, Mapping):
        return {}
    return {
        str(k): v
        for k, v in answer.items()
        if isinstance(v, int) and not isinstance(v, bool) and abs(v) <= _MOST
    }
