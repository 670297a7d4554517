"""Whether a guest came through a transfer unharmed, which a failed run need not deny.

A run also fails when its pause could not be measured. That is no evidence against a claim that the
guest can be transferred.
"""

from __future__ import annotations

from results.records.reasons import FAILED, OTHER
from results.records.run import Run, reasons_of

from .catalogue import Found

# Reasons by which the transfer failed, or the guest, its RAM, its devices or their streams were
# harmed; the lines of a broken proof, too. All others say that evidence is missing, or that two
# witnesses of the pause contradict each other.
_HARM = frozenset({
    FAILED, OTHER,
    "old-not-ended", "new-not-running", "process-kept",
    "vcpu-still", "words-changed", "ram-changed",
    "stream-lost", "stream-repeated", "stream-wrong", "stream-torn", "stream-ended",
    "device-idle", "device-numbers", "device-interrupts", "device-faults",
    "frames-differ", "memory-owned", "files-differ",
    "pins-short", "dma-failed", "dma-other", "dma-unseen", "locks-short", "pin-events-fired",
    "mappings-remade", "owner-kept", "addresses-kept", "locked-less", "locked-twice",
})  # fmt: skip


def guest_outcome(run: Run) -> Found:
    """`shown` for a valid run, `refuted` for harm, `not testable` where nothing is known of it."""
    if run.outcome == "completed":
        return "shown"
    harmed = any(reason.code in _HARM for reason in reasons_of(run))
    return "refuted" if harmed else "not testable"
