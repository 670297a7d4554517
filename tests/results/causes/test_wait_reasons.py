"""What a blocked thread waits for, by name, and which threads can have woken it."""

from __future__ import annotations

import pytest

from results.causes.wait_reasons import can_wake, waits_for
from results.records.scheduler import SchedulerEvent


def left(call: int, state: int = 1, second: int = 0) -> SchedulerEvent:
    """A thread is switched out within `call`."""
    return SchedulerEvent(1, "switch", 0, 7, 8, state, call, (3, second))


def wake(call: int) -> SchedulerEvent:
    return SchedulerEvent(2, "wake", 0, 9, 7, call=call)


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (left(202), "futex"),
        (left(271), "poll"),
        (left(47), "socket receive"),
        (left(46), "socket send"),
        (left(75, state=2), "disk fsync"),
        (left(0, state=1), "file read"),
        (left(0, state=2), "disk read"),
        (left(-1), "a page fault"),
        (left(16, 2, 0x4020AE46), "ioctl KVM_SET_USER_MEMORY_REGION"),
        (left(16, 2, 0xAE80), "ioctl KVM_RUN"),
        (left(16, 2, 0xFFFFFFFF4020AE46), "ioctl KVM_SET_USER_MEMORY_REGION"),  # sign-extended
        (left(16, 2, 0x3B72), "ioctl VFIO UNMAP_DMA"),
        (left(16, 2, 0xAEFE), "ioctl KVM 0xfe"),
        (left(16, 2, 0x5401), "ioctl 0x5401"),
        (left(11), "munmap"),
        (left(999), "system call 999"),
    ],
)
def test_a_wait_has_a_name(event: SchedulerEvent, what: str) -> None:
    assert waits_for(event) == what


@pytest.mark.parametrize(
    ("waiter", "call", "can"),
    [
        (left(202), 202, True),  # futex by futex
        (left(202), 60, True),  # a thread's end wakes who joins it
        (left(202), -1, False),  # a timer fired while some thread ran
        (left(202), 46, False),
        (left(271), 46, True),  # poll by sendmsg
        (left(271), 1, True),  # by an eventfd that is written
        (left(271), 202, False),
        (left(47), 3, True),  # the other end is closed
        (left(35), 202, False),  # sleep by its timer
        (left(35), 234, True),  # or a signal
        (left(16, 2, 0xAE46), 16, True),
        (left(16, 2, 0xAE46), 1, False),
        (left(-1, 2), 11, True),  # page fault behind a munmap
        (left(-1, 2), -1, False),
        (left(202, 4), 202, False),  # stopped: only a signal lets it go on
        (left(202, 4), 62, True),
        (None, 202, True),
        (None, -1, False),
    ],
)
def test_an_interrupted_thread_is_not_taken_for_the_waker(
    waiter: SchedulerEvent | None, call: int, can: bool
) -> None:
    assert can_wake(waiter, wake(call)) is can


def test_the_creator_of_a_thread_is_its_waker() -> None:
    assert can_wake(None, SchedulerEvent(2, "fork", 0, 9, 7))
