"""What QEMU must refuse in a cpr-transfer, in which words, and the hazards around a transfer.

The words are from QEMU's sources (migration/migration.c, migration/cpr-transfer.c,
migration/options.c, system/physmem.c, target/i386/kvm/kvm.c) and were seen with 10.0 and 11.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .catalogue import Topic

Version = tuple[int, int]
_FIRST: Version = (10, 0)  # with cpr-transfer
ACCEPTED = "not refused: "  # prefix of the failure of an attempt that QEMU did not refuse

_PRIVATE = (
    r"Memory region {} is not compatible with CPR\. share=on is required for memory-backend "
    r"objects, and aux-ram-share=on is required\."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that a cpr-transfer cannot do. `words` matches QEMU's in full."""

    name: str
    claim: int
    test: str
    words: str
    means: str
    fix: str
    since: Version = _FIRST
    until: Version | None = None  # the first release that supports it
    topic: Topic = "refusal"
    quoted: bool = True  # the words are QEMU's own, not our description of what it did

    def belongs(self, version: Version) -> bool:
        """Whether a build of `version` must refuse it."""
        return self.since <= version and (self.until is None or version < self.until)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "private-aux-ram",
        6,
        "without aux-ram-share: VGA memory, ROMs and firmware in anonymous RAM",
        _PRIVATE.format(r"\S+"),
        "RAM without a memory backend is private to old QEMU",
        "start old QEMU with -machine aux-ram-share=on; it cannot be enabled later",
    ),
    Refusal(
        "private-backend",
        7,
        "a pc-dimm on a memory backend with share=off",
        _PRIVATE.format("m1"),
        "the backend's RAM is private to old QEMU",
        "set share=on on every memory backend",
    ),
    Refusal(
        "no-cpr-channel",
        4,
        "migrate with only a main channel",
        r"missing 'cpr' migration channel",
        "without a cpr channel no descriptor can be sent",
        "pass a channel of channel-type cpr to `migrate`",
    ),
    Refusal(
        "two-cpr-channels",
        4,
        "migrate with two cpr channels",
        r"Channel list has more than one cpr entry",
        "there can be only one cpr channel",
        "pass each channel once",
    ),
    Refusal(
        "no-main-channel",
        0,
        "migrate with only a cpr channel",
        r"Channel list has no main entry",
        "QEMU uses the main channel's address before it checks that there is one",
        "never send `migrate` without a channel of channel-type main",
    ),
    Refusal(
        "cpr-over-tcp",
        8,
        "a cpr channel over TCP",
        r"bad cpr channel address; must be unix",
        "TCP cannot carry descriptors (SCM_RIGHTS)",
        "use a unix socket for the cpr channel; the main channel may be of any type",
    ),
    Refusal(
        "cpr-over-file",
        8,
        "a cpr channel to a file",
        r"bad cpr channel address; must be unix",
        "a file cannot carry descriptors (SCM_RIGHTS)",
        "use a unix socket for the cpr channel",
    ),
    Refusal(
        "incoming-cpr-over-tcp",
        8,
        "new QEMU started with a cpr channel over TCP",
        r".*bad cpr channel socket type; must be unix",
        "TCP cannot carry descriptors (SCM_RIGHTS)",
        "use a unix socket for the cpr channel of -incoming",
    ),
    Refusal(
        "incoming-cpr-over-file",
        8,
        "new QEMU started with a cpr channel from a file",
        r".*bad cpr channel socket type; must be unix",
        "a file cannot carry descriptors (SCM_RIGHTS)",
        "use a unix socket for the cpr channel of -incoming",
    ),
    Refusal(
        "postcopy",
        0,
        "capability postcopy-ram is on",
        r"Cannot use postcopy with CPR",
        "RAM stays in place, so that there is nothing to fetch later",
        "turn postcopy-ram off, and dirty-bitmaps, which has the same effect here",
    ),
    Refusal(
        "background-snapshot",
        0,
        "capability background-snapshot is on",
        r"Cannot use background snapshot with CPR",
        "a background snapshot needs the guest to keep running in old QEMU",
        "turn background-snapshot off",
    ),
    Refusal(
        "colo",
        0,
        "capability x-colo is on",
        r"Cannot use COLO with CPR",
        "COLO needs both QEMUs to keep running",
        "turn x-colo off",
    ),
    Refusal(
        "invtsc",
        0,
        "a CPU with invtsc",
        r"State blocked by non-migratable CPU device \(invtsc flag\)",
        "CPR migrates CPU state, and invtsc blocks every migration",
        "disable invtsc, or set a fixed tsc-frequency",
    ),
    Refusal(
        "ivshmem-peer",
        0,
        "an ivshmem-plain device without master=on",
        r"Migration is disabled when using feature 'peer mode' in device 'ivshmem'",
        "a peer's shared memory belongs to another VM",
        "set master=on where this guest owns the memory, or remove the device",
    ),
    Refusal(
        "virtio-sound",
        0,
        "a virtio-sound device",
        r"State blocked by non-migratable device '.*virtio-sound-device'",
        "the device does not support migration",
        "remove the device from guests that are to be updated",
    ),
    Refusal(
        "nvme",
        0,
        "an nvme controller",
        r"State blocked by non-migratable device '.*nvme'",
        "nvme does not support migration before QEMU 11.0",
        "use virtio-blk or virtio-scsi, or a newer QEMU",
        until=(11, 0),
    ),
    Refusal(
        "cpr-exec-without-command",
        0,
        "mode cpr-exec without cpr-exec-command",
        r"cpr-exec mode requires setting cpr-exec-command",  # seen with 11.1
        "QEMU does not know which program to exec",
        "set cpr-exec-command with migrate-set-parameters first",
        since=(10, 2),
    ),
)

EPC = Refusal(
    "epc-backend",
    7,
    "memory-backend-epc",
    r"Memory region .* is not compatible with CPR\..*",
    "SGX memory cannot be shared between two QEMUs",
    "remove SGX memory from guests that are to be updated",
)
VFIO = Refusal(
    "vfio-too-old",
    0,
    "an assigned device on a build without CPR support in vfio",
    r".*migration.* not supported.*",
    "vfio supports CPR since QEMU 10.1",
    "use a build of 10.1 or newer (pausebench build add debian:trixie-backports)",
    until=(10, 1),
)
# Of QEMU's hw/vfio/cpr-legacy.c and cpr-iommufd.c, both added with the feature.
VFIO_FUNCTIONS = ("vfio_legacy_cpr_register_container", "vfio_iommufd_cpr_register_container")

HAZARDS: tuple[Refusal, ...] = (
    Refusal(
        "new-waits",
        0,
        "new QEMU is started and old QEMU never migrates",
        r"no monitor in .*",
        "new QEMU waits for its cpr channel without a timeout, and its monitor does not open",
        "set a timeout and kill new QEMU when it expires",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "new-dies-before-hang-up",
        0,
        "new QEMU is killed while old waits for it to hang up",
        r"Failed to connect to .*",
        "its exit looks like the hang-up: old cannot connect the main channel and keeps running",
        "start another new QEMU and migrate again",
        topic="hazard",
    ),
    Refusal(
        "new-never-hangs-up",
        0,
        "new QEMU never closes the cpr channel; migrate_cancel on old QEMU",
        r"setup for .*, then cancelled",
        "old stays in `setup` without a timeout; migrate_cancel ends that",
        "set a timeout; then migrate_cancel, kill new QEMU and migrate again",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "new-dies-after-completion",
        0,
        "new QEMU is killed after it has resumed the guest",
        r"completed, new QEMU ran the guest and is gone",
        "old keeps the guest in `postmigrate` and does not restart it by itself",
        "quit old QEMU only after new QEMU has run the guest",
        topic="hazard",
        quoted=False,
    ),
    Refusal(
        "cont-in-postmigrate",
        0,
        "`cont` on old QEMU after the guest has run in new QEMU, which was then killed",
        r"cont was accepted",
        "old restarts the guest with its old CPU and device state, and with RAM as new left it",
        "quit an old QEMU whose transfer completed; never `cont` it while new may be alive: both "
        "would write the same RAM",
        topic="hazard",
        quoted=False,
    ),
)


def find(name: str) -> Refusal:
    """The refusal or hazard named `name`. Raises KeyError."""
    return {each.name: each for each in (*REFUSALS, *HAZARDS, EPC, VFIO)}[name]


def release(version: str) -> Version:
    """Major and minor of a build's version, like (11, 1) of `11.1.3 (Debian ...)`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
