"""What failed runs did to their guests, and the exit status that follows from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import get_args

from .reasons import Reason, read_reasons
from .run import Run, reasons_of
from .sentences.kind import Harm
from .sentences.reason_kinds import KINDS

HARMS: tuple[Harm, ...] = get_args(Harm)  # the worst first
INVALID = 3  # exit status: a run failed in a way that the command does not expect

_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


def harm_of(run: Run) -> Harm | None:
    """The worst that a run's reasons say of its guest; None for a valid run."""
    if run.outcome == "completed":
        return None
    return _worst_said(reasons_of(run)) if run.reasons else harm_in(run.reason)


def harm_in(text: str) -> Harm:
    """The harm that the stored reason of a failed run states."""
    # Figures make no difference, and without them many runs have the same text.
    return _harm_in(_NUMBER.sub(lambda found: "0x0" if "x" in found[0] else "0", text))


@lru_cache(maxsize=4096)
def _harm_in(text: str) -> Harm:
    return _worst_said(read_reasons(text))


def _worst_said(reasons: Iterable[Reason]) -> Harm:
    kinds = (KINDS.get(reason.code) for reason in reasons)  # None: written by a newer version
    return worst(kind.harm for kind in kinds if kind is not None) or "measurement"


def worst(harms: Iterable[Harm | None]) -> Harm | None:
    """The worst of some runs' harms; None where no run failed."""
    found = set(harms)
    return next((harm for harm in HARMS if harm in found), None)


def at_least(harm: Harm) -> tuple[Harm, ...]:
    """`harm` and everything worse."""
    return HARMS[: HARMS.index(harm) + 1]


def exit_status(harms: Iterable[Harm | None], fails_on: Harm = "measurement") -> int:
    """3 if any run's harm is `fails_on` or worse, else 0; damage fails every command.

    A command whose own rule judges lesser failures passes what that rule does not: in a matrix an
    update that is refused is a result.
    """
    return INVALID if worst(harms) in at_least(fails_on) else 0
