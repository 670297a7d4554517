"""Whether a guest came through a transfer unharmed, which a failed run need not deny.

A run also fails when its pause could not be measured. That is no evidence against a claim that the
guest can be transferred.
"""

from __future__ import annotations

from results.records.harm import harm_of
from results.records.run import Run

from .catalogue import Found


def guest_outcome(run: Run) -> Found:
    """`shown` for a valid run, `refuted` for harm, `not testable` where nothing is known of it."""
    harm = harm_of(run)
    if harm is None:
        return "shown"
    return "not testable" if harm == "measurement" else "refuted"
