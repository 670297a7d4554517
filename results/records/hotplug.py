"""What was hotplugged into a guest before its update, and its state afterwards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluggedMemory:
    """One hotplugged memory backend, before and after a transfer, in pages of 4 KiB.

    `address` is its guest-physical address, None if it is not mapped. Of the `pages` that were
    filled, `kept` had the same contents at that address after the transfer, and `same_frames` were
    in the same page frame. `found` describes what was there instead.
    """

    name: str
    address: int | None
    pages: int
    kept: int
    same_frames: int
    found: str = ""


@dataclass(frozen=True, slots=True)
class Plugging:
    """What was hotplugged around one transfer, and the guest's state after it.

    `plugged` and `unplugged` name the devices added to and removed from old QEMU, in order;
    `started` those on new QEMU's command line. Descriptors are given as `NAME ID`: `kept_before` is
    what old QEMU had saved while all devices were plugged and `kept` what it had saved at the
    transfer (from its log of saves and deletes); `stale` of these were closed by then. `asked` is
    what new QEMU looked up, `afresh` what of it was not found and was opened anew.
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
    connections: int | None = None  # to the chardev's peer, by both QEMUs; None without a chardev
    old_state: str = ""  # of old QEMU after a failed transfer
    beats: bool = False  # the guest beats at the end, in either QEMU
    revived: bool | None = None  # `cont` resumed it in old QEMU; None: not needed
