"""What was plugged into a guest before its update, and what came of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluggedMemory:
    """One plugged memory backend, before and after a transfer, in pages of 4 KiB.

    `address` is where the guest sees it, None where it does not. Of `pages` that were filled,
    `kept` held the same bytes after the transfer, at that address, and `same_frames` lay in the
    same page frame. `found` says what was there instead.
    """

    name: str
    address: int | None
    pages: int
    kept: int
    same_frames: int
    found: str = ""


@dataclass(frozen=True, slots=True)
class Plugging:
    """What was plugged around one transfer, and how the guest was after it.

    `plugged`, `unplugged` and `started` name the devices in the order of the events: plugged into
    old QEMU and taken away again, and those that new QEMU was started with. Descriptors are told
    as `NAME ID`: what old QEMU kept while all was plugged and what it kept at the transfer (by
    its log of saves and deletes), which of these were closed by then, and what new QEMU looked
    up and found or did not find, which it opened afresh.
    """

    plugged: tuple[str, ...]
    unplugged: tuple[str, ...]
    started: tuple[str, ...]
    kept_before: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    afresh: tuple[str, ...] = ()
    memory: tuple[PluggedMemory, ...] = ()
    connections: int | None = None  # to the chardev's peer, by both QEMUs; None without one
    old_state: str = ""  # of old QEMU after a transfer that failed
    beats: bool = False  # the guest beats at the end, in whichever QEMU it is
    revived: bool | None = None  # `cont` brought it back to life in old QEMU; None: not needed
