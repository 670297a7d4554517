"""What differs between the environments of two sessions."""

from __future__ import annotations

from results.comparison.compatibility import doubts
from results.records.scenario import Session

# Recorded with the facts of the host, but chosen for each session.
_NOT_FACTS = frozenset({"seed", "order", "night", "purpose", "anchor"})


def environment_changes(before: Session, after: Session) -> tuple[str, ...]:
    """`kernel: 6.1 → 6.12` for every fact that differs, and the versions of QEMU."""
    was, now = ({b.label: b.version for b in s.builds} for s in (before, after))
    return (
        *fact_changes(before, after),
        *(f"QEMU {k}: {was[k]} → {now[k]}" for k in now if k in was and was[k] != now[k]),
    )


def fact_changes(before: Session, after: Session) -> tuple[str, ...]:
    """`kernel: 6.1 → 6.12` for every fact of the host that differs.

    Those known to move pauses come first.
    """
    first = [text.partition(":")[0] for text in doubts(before, after)]
    keys = [*first, *sorted({*before.environment, *after.environment} - set(first))]
    old, new = before.environment, after.environment
    return tuple(
        f"{key}: {old.get(key, 'not recorded')} → {new.get(key, 'not recorded')}"
        for key in keys
        if old.get(key) != new.get(key) and key not in _NOT_FACTS
    )
