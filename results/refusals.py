"""What QEMU is to refuse in a cpr-transfer, in which words, and whether an attempt shows it.

Texts were read in QEMU's sources (migration/migration.c, migration/cpr-transfer.c,
migration/options.c, system/physmem.c, target/i386/kvm/kvm.c) and heard from 10.0 and 11.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .claims import Finding, Found, Topic
from .records import Aftermath, Recording, Run

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
        4,
        "migrate with a cpr channel alone",
        r"Channel list has no main entry",
        "device state goes over the main channel",
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
        r"cpr-exec mode requires setting cpr-exec-command",
        "QEMU does not know what to become",
        "set cpr-exec-command by migrate-set-parameters first",
        since=(10, 2),
    ),
)

HAZARDS: tuple[Refusal, ...] = (
    Refusal(
        "new-dies-before-hang-up",
        0,
        "new QEMU is killed while old waits for its hang-up",
        r"(Failed to connect to|Unable to (connect|write)|Channel error).*",
        "the hang-up of a QEMU that died looks like that of one that is ready: old then finds "
        "nobody on the main channel and goes on",
        "start another new QEMU and migrate again",
        topic="hazard",
    ),
    Refusal(
        "new-never-hangs-up",
        0,
        "new QEMU never closes the cpr channel; after a while migrate_cancel",
        r"setup until it was cancelled.*",
        "old waits without a bound in `setup`, its guest runs",
        "bound the wait, then migrate_cancel, end new QEMU and migrate again",
        topic="hazard",
    ),
)

EPC = Refusal(
    "epc-backend",
    7,
    "memory-backend-epc",
    r".*",
    "SGX memory cannot be shared between two QEMUs",
    "no SGX memory in guests that are to be updated",
)


def find(name: str) -> Refusal:
    """The refusal or hazard called `name`. Raises KeyError."""
    return {each.name: each for each in (*REFUSALS, *HAZARDS, EPC)}[name]


def release(version: str) -> Version:
    """Major and minor of a build's version, like (11, 1) of `11.1.3 (Debian ...)`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def decide(
    refusal: Refusal, attempt: Recording, build: str, afterwards: Run | None = None
) -> Finding:
    """What one attempt says of what was to be refused.

    Shown: QEMU refused in the words that are known of it and the guest runs on unharmed in old
    QEMU, and where it was handed over `afterwards`, with the cause removed, that went well.
    """
    quote = "" if attempt.failure.startswith(ACCEPTED) else attempt.failure
    troubles = [*_wrong_words(refusal, attempt), *harm(attempt.aftermath)]
    if afterwards is not None and afterwards.outcome != "completed":
        troubles.append(f"handed over afterwards it failed: {afterwards.reason}")
    detail = "; ".join(troubles) or f"{refusal.means}; {fared(attempt.aftermath, afterwards)}"
    evidence = (attempt.id, *((afterwards.id,) if afterwards is not None else ()))
    found: Found = "refuted" if troubles else "shown"
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, found, detail, evidence, quote,
        refusal.fix,
    )  # fmt: skip


def positive(refusal: Refusal, run: Run, build: str, tried: str) -> Finding:
    """What a hand-over of the same guest says, once the cause of its refusal is left out."""
    fine = run.outcome == "completed"
    detail = "handed over with its RAM intact" if fine else run.reason
    found: Found = "shown" if fine else "refuted"
    return Finding(refusal.topic, refusal.claim, build, tried, found, detail, (run.id,))


def untestable(refusal: Refusal, build: str, why: str, quote: str = "") -> Finding:
    """What could not be tried on this host or build, and why."""
    return Finding(
        refusal.topic, refusal.claim, build, refusal.tried, "not testable", why, (), quote,
        refusal.fix,
    )  # fmt: skip


def _wrong_words(refusal: Refusal, attempt: Recording) -> list[str]:
    if not attempt.failure:
        return ["QEMU did not refuse it: the guest was handed over"]
    if attempt.failure.startswith(ACCEPTED):
        return [attempt.failure]
    if re.fullmatch(refusal.said, attempt.failure, re.DOTALL) is None:
        return [f"refused in other words than `{refusal.said}`: {attempt.failure}"]
    return []


def harm(aftermath: Aftermath | None) -> list[str]:
    """How the guest in old QEMU was harmed; empty when it runs on whole."""
    if aftermath is None:
        return ["nobody looked at the guest afterwards"]
    found = []
    if aftermath.runstate != "running":
        found.append(f"old QEMU is {aftermath.runstate} afterwards, not running")
    moved = list(zip(aftermath.beats_before, aftermath.beats_after, strict=True))
    still = [str(vcpu) for vcpu, (then, now) in enumerate(moved) if then == now]
    if still or not moved:
        found.append(f"vCPU {', '.join(still)} stands still" if still else "no vCPU was seen")
    if aftermath.pattern_errors:
        found.append(f"the guest found {aftermath.pattern_errors} changed words in its RAM")
    if aftermath.ram is None:
        found.append("guest RAM was not checked")
    elif aftermath.ram.bad_pages or not aftermath.ram.pages:
        found.append(
            f"{aftermath.ram.bad_pages} of {aftermath.ram.pages} pages of guest RAM changed"
        )
    return found


def fared(aftermath: Aftermath | None, afterwards: Run | None = None) -> str:
    """The guest after the attempt in a few words with figures."""
    if aftermath is None or aftermath.ram is None:
        return "the guest was not looked at"
    beats = zip(aftermath.beats_before, aftermath.beats_after, strict=True)
    gained = ", ".join(f"+{(now - then) & 0xFFFFFFFF}" for then, now in beats)
    text = (
        f"refused by {aftermath.said_by}; old QEMU {aftermath.runstate}, beats {gained}, "
        f"{aftermath.ram.pages} pages of RAM unchanged"
    )
    return text + ("; then handed over properly" if afterwards is not None else "")
