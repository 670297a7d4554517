"""What QEMU is to refuse in a cpr-transfer, in which words, and what goes wrong around one.

Texts were read in QEMU's sources (migration/migration.c, migration/cpr-transfer.c,
migration/options.c, system/physmem.c, target/i386/kvm/kvm.c) and heard from 10.0 and 11.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .catalogue import Topic

Version = tuple[int, int]
_FIRST: Version = (10, 0)  # with cpr-transfer
ACCEPTED = "not refused: "  # begins the failure of an attempt that QEMU did not refuse

_PRIVATE = (
    r"Memory region {} is not compatible with CPR\. share=on is required for memory-backend "
    r"objects, and aux-ram-share=on is required\."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that a cpr-transfer cannot do. `said` matches the whole of QEMU's words."""

    name: str
    claim: int
    tried: str
    said: str
    means: str
    fix: str
    since: Version = _FIRST
    until: Version | None = None  # the first release that does it
    topic: Topic = "refusal"
    quoted: bool = True  # the words are QEMU's own, not a description of what it did

    def belongs(self, version: Version) -> bool:
        """Whether a build of `version` is to refuse it."""
        return self.since <= version and (self.until is None or version < self.until)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "private-aux-ram",
        6,
        "no aux-ram-share, with a VGA's memory, ROM and firmware as anonymous RAM",
        _PRIVATE.format(r"\S+"),
        "RAM without a backend of its own is private to old QEMU",
        "start old QEMU with -machine aux-ram-share=on; it cannot be turned on later",
    ),
    Refusal(
        "private-backend",
        7,
        "a pc-dimm on a memory backend with share=off",
        _PRIVATE.format("m1"),
        "the backend's RAM is private to old QEMU",
        "share=on for every memory backend",
    ),
    Refusal(
        "no-cpr-channel",
        4,
        "migrate with a main channel alone",
        r"missing 'cpr' migration channel",
        "without the second channel no descriptor can be carried",
        "add a channel of channel-type cpr to `migrate`",
    ),
    Refusal(
        "two-cpr-channels",
        4,
        "migrate with two cpr channels",
        r"Channel list has more than one cpr entry",
        "there is one cpr channel",
        "name each channel once",
    ),
    Refusal(
        "no-main-channel",
        0,
        "migrate with a cpr channel alone",
        r"Channel list has no main entry",
        "QEMU reads the main channel's address before it asks whether there is one",
        "never send `migrate` without a channel of channel-type main",
    ),
    Refusal(
        "cpr-over-tcp",
        8,
        "a cpr channel over TCP",
        r"bad cpr channel address; must be unix",
        "TCP cannot carry descriptors (SCM_RIGHTS)",
        "a unix socket for the cpr channel; the main channel may be any",
    ),
    Refusal(
        "cpr-over-file",
        8,
        "a cpr channel into a file",
        r"bad cpr channel address; must be unix",
        "a file cannot carry descriptors (SCM_RIGHTS)",
        "a unix socket for the cpr channel",
    ),
    Refusal(
        "incoming-cpr-over-tcp",
        8,
        "new QEMU started with a cpr channel over TCP",
        r".*bad cpr channel socket type; must be unix",
        "TCP cannot carry descriptors (SCM_RIGHTS)",
        "a unix socket for the cpr channel of -incoming",
    ),
    Refusal(
        "incoming-cpr-over-file",
        8,
        "new QEMU started with a cpr channel from a file",
        r".*bad cpr channel socket type; must be unix",
        "a file cannot carry descriptors (SCM_RIGHTS)",
        "a unix socket for the cpr channel of -incoming",
    ),
    Refusal(
        "postcopy",
        0,
        "capability postcopy-ram is on",
        r"Cannot use postcopy with CPR",
        "RAM stays where it is: nothing is left to be fetched later",
        "turn postcopy-ram (and dirty-bitmaps, which means the same here) off",
    ),
    Refusal(
        "background-snapshot",
        0,
        "capability background-snapshot is on",
        r"Cannot use background snapshot with CPR",
        "a snapshot needs its guest to go on in old QEMU",
        "turn background-snapshot off",
    ),
    Refusal(
        "colo",
        0,
        "capability x-colo is on",
        r"Cannot use COLO with CPR",
        "COLO needs both QEMUs to go on",
        "turn x-colo off",
    ),
    Refusal(
        "invtsc",
        0,
        "a CPU with invtsc",
        r"State blocked by non-migratable CPU device \(invtsc flag\)",
        "CPR hands the CPU over as a migration does, and invtsc forbids every migration",
        "leave invtsc out, or give the CPU a fixed tsc-frequency",
    ),
    Refusal(
        "ivshmem-peer",
        0,
        "an ivshmem-plain device that is not master",
        r"Migration is disabled when using feature 'peer mode' in device 'ivshmem'",
        "a peer's shared memory is somebody else's",
        "master=on where this guest owns the memory, or no such device",
    ),
    Refusal(
        "virtio-sound",
        0,
        "a virtio-sound device",
        r"State blocked by non-migratable device '.*virtio-sound-device'",
        "the device has no state that could be handed over",
        "no such device in guests that are to be updated",
    ),
    Refusal(
        "nvme",
        0,
        "an nvme controller",
        r"State blocked by non-migratable device '.*nvme'",
        "until QEMU 11.0 nvme has no state that could be handed over",
        "virtio-blk or virtio-scsi, or a newer QEMU",
        until=(11, 0),
    ),
    Refusal(
        "cpr-exec-without-command",
        0,
        "mode cpr-exec without cpr-exec-command",
        r"cpr-exec mode requires setting cpr-exec-command",  # heard from 11.1
        "QEMU does not know what to become",
        "set cpr-exec-command by migrate-set-parameters first",
        since=(10, 2),
    ),
)

EPC = Refusal(
    "epc-backend",
    7,
    "memory-backend-epc",
    r"Memory region .* is not compatible with CPR\..*",
    "SGX memory cannot be shared between two QEMUs",
    "no SGX memory in guests that are to be updated",
)
VFIO = Refusal(
    "vfio-too-old",
    0,
    "an assigned device on a build that cannot hand one over",
    r".*migration.* not supported.*",
    "vfio came to CPR with QEMU 10.1",
    "a build of 10.1 or newer (pausebench build add debian:trixie-backports)",
    until=(10, 1),
)
# Of QEMU's hw/vfio/cpr-legacy.c and cpr-iommufd.c: both came with the feature.
VFIO_FUNCTIONS = ("vfio_legacy_cpr_register_container", "vfio_iommufd_cpr_register_container")

HAZARDS: tuple[Refusal, ...] = (
    Refusal(
        "new-waits",
        0,
        "new QEMU is started and nobody migrates",
        r"no monitor in .*",
        "new QEMU waits on its cpr channel without a bound, and its monitor does not open",
        "bound the wait and end new QEMU by a signal",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "new-dies-before-hang-up",
        0,
        "new QEMU is killed while old waits for its hang-up",
        r"Failed to connect to .*",
        "its death looks like its hang-up: old finds nobody on the main channel and goes on",
        "start another new QEMU and migrate again",
        topic="hazard",
    ),
    Refusal(
        "new-never-hangs-up",
        0,
        "new QEMU never closes the cpr channel, until migrate_cancel on old",
        r"setup for .*, then cancelled",
        "old waits in `setup` without a bound; migrate_cancel ends that",
        "bound the wait, migrate_cancel, end new QEMU and migrate again",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "new-dies-after-completion",
        0,
        "new QEMU is killed after it has taken the guest over",
        r"completed, new QEMU ran the guest and is gone",
        "old keeps the guest in `postmigrate` and does not start it by itself",
        "quit old QEMU only when new has been seen to run the guest",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "cont-in-postmigrate",
        0,
        "`cont` on old QEMU after the guest has run in new, which is dead by now",
        r"cont was accepted",
        "old starts the guest again, with CPUs and devices as they were and RAM as new left it",
        "end an old QEMU that completed; never `cont` it while new may live, for both would write "
        "the same RAM",
        topic="hazard",
        quoted=False,
    ),
)


def find(name: str) -> Refusal:
    """The refusal or hazard called `name`. Raises KeyError."""
    return {each.name: each for each in (*REFUSALS, *HAZARDS, EPC, VFIO)}[name]


def release(version: str) -> Version:
    """Major and minor of a build's version, like (11, 1) of `11.1.3 (Debian ...)`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
