"""Opening a store to read it, and what its damage means for a command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.printable import one_line
from results.store.store import Store, open_store

RUNS_LOST = 3  # exit code


@contextmanager
def stored(path: Path) -> Iterator[Store]:
    """An existing store; its damage, if any was noticed, is reported on standard error at the end.

    Raises UsageError, RecordInvalid.
    """
    with open_store(path, create=False) as store:
        try:
            yield store
        finally:
            for damage in store.damages:
                print(f"pausebench: {one_line(damage.text)}", file=sys.stderr)


def exit_code(store: Store, code: int = 0, lost: int = RUNS_LOST) -> int:
    """`code`, but `lost` instead of success when something that was stored is lost."""
    if code == 0 and any(damage.lost for damage in store.damages):
        return lost
    return code
