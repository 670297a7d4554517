"""Signals that end a session: they unwind it, so that guests, mounts and pages are freed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does.

    One that is ignored stays ignored: nohup and shells without job control start us so.
    """

    def interrupt(number: int, frame: object) -> None:
        for again in before:
            if again != signal.SIGINT:  # a second one must not interrupt the clean-up
                signal.signal(again, signal.SIG_IGN)
        raise KeyboardInterrupt

    wanted = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(_ENDING, interrupt)
    before = {n: signal.getsignal(n) for n in wanted}
    for number in [n for n, handler in before.items() if handler is signal.SIG_IGN]:
        del before[number]
    try:
        for number in before:
            signal.signal(number, wanted[number])
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
