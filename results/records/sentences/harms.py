"""What a run that fails by a sentence did to its guest, by the code of the sentence's kind.

Every kind has an entry: None for one by which no run fails, as it only warns, or belongs to a check
of the proof that held or lacks evidence.
"""

from __future__ import annotations

from .kind import Harm

_DAMAGE = (
    "words-changed", "ram-changed",
    "stream-lost", "stream-repeated", "stream-wrong", "stream-torn",
    "device-numbers", "device-interrupts", "device-faults",
    # Of a broken proof.
    "frames-differ", "memory-owned", "files-differ",
    "pins-short", "dma-failed", "dma-other", "dma-unseen", "locks-short", "pin-events-fired",
    "mappings-remade", "owner-kept", "addresses-kept", "locked-less", "locked-twice",
)  # fmt: skip

_LOSS = (
    "guest-lost", "new-not-running", "vcpu-still", "vcpu-reset", "stream-ended",
    "device-idle", "device-reset",
)  # fmt: skip

_UPDATE_FAILED = (
    "transfer-failed",
    # A stored text that no template fits: only what QEMU said of a failed transfer is in no table.
    "other",
    "qemu-killed", "qemu-exited", "qemu-stopped",
    "old-not-ended", "process-changed", "process-kept", "no-execve", "descriptors-carried",
    "no-postcopy", "turned-postcopy", "no-multifd", "old-not-gone", "ran-too-early",
)  # fmt: skip

_MEASUREMENT = (
    "ram-empty", "ram-unchecked", "beats-missing",
    "witness-killed", "witness-exited", "witness-silent",
    "vcpu-never-left", "vcpu-never-entered", "vcpu-entered-early", "vcpu-unwatched",
    "nothing-seen", "records-lost", "no-stream",
    "descriptor-lost", "descriptor-unsent", "descriptor-nameless", "no-descriptor",
    "pause-too-long", "entered-before-start", "entered-before-resume", "left-after-stop",
    "entry-inside", "progress-unexplained", "left-before-stop",
    "no-gap", "no-gap-logged", "gap-too-short", "observer-elsewhere", "observer-disagrees",
    "bracket-unknown", "bracket-repeated", "bracket-copied", "thread-unknown", "threads-shared",
    "samples-disordered", "steps-disordered", "entered-before-migrate", "left-before-migrate",
    "entered-after-end", "value-impossible",
    "stream-disordered", "stream-gap-short", "stream-gap-missing",
)  # fmt: skip

_NONE = (
    "known-failure",  # explains the reason that it follows
    "more-alike",  # counts those that it follows
    "controller-stopped",
    "mark-silent", "mark-unentered", "mark-unreturned", "marks-disordered", "probes-skipped",
    "clock-unread", "wall-clock-moved", "clock-odd", "progress-slow",
    "scheduler-lost", "scheduler-late",
    "device-log-hidden", "device-whole", "device-whole-surplus",
    "control-missed", "control-lacking",
    "frames-hidden", "frames-unquiet", "frames-unmapped", "frames-absent",
    "frames-all", "frames-all-together", "frames-some", "frames-some-together",
    "frames-sample", "frames-sample-together",
    "memory-unread", "memory-unquiet", "files-uncompared", "files-same",
    "pins-holder-lost", "dma-holder-lost", "pin-events-holder-lost",
    "pins-refused", "pins-none", "pins-unread", "pins-unquiet", "pins-held",
    "pins-held-total-hidden", "dma-none", "dma-seen", "locks-unread", "locks-held",
    "pin-events-hidden", "pin-events-untraced", "pin-events-lost", "pin-events-none",
    "pin-events-none-shown",
    "mappings-unseen", "mappings-failed", "owner-changed", "addresses-changed",
    "paths-hidden", "paths-watched", "locked-unread", "locked-moved", "locked-moved-rest",
)  # fmt: skip

HARMS: dict[str, Harm | None] = {
    **dict.fromkeys(_DAMAGE, "damage"),
    **dict.fromkeys(_LOSS, "loss"),
    **dict.fromkeys(_UPDATE_FAILED, "update-failed"),
    **dict.fromkeys(_MEASUREMENT, "measurement"),
    **dict.fromkeys(_NONE),
}  # fmt: skip
