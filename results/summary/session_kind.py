"""What kind of session one was, and whether it measured guests for their own sake."""

from __future__ import annotations

from typing import Literal

from results.records.scenario import Session

SessionKind = Literal[
    "run",
    "compare",
    "sweep",
    "matrix",
    "nightly",
    "lab",
    "claims",
    "calibration",
    "overhead",
    "self-check",
]

# The second side of a build against itself (A/A) has the first one's label and this.
AGAIN = "-again"
_PURPOSES: dict[str, SessionKind] = {
    "calibration": "calibration",
    "overhead": "overhead",
    "sweep": "sweep",
    "claims": "claims",
}
_COMMANDS: dict[str, SessionKind] = {
    "compare": "compare",
    "sweep": "sweep",
    "matrix": "matrix",
    "nightly": "nightly",
    "lab": "lab",
    "claims": "claims",
    "calibrate": "calibration",
    "overhead": "overhead",
}
# Blackouts of these are not those of an update that anyone would make: they hold injected pauses,
# other sets of probes, or attempts to make QEMU refuse and fail.
_INSTRUMENT: frozenset[SessionKind] = frozenset({"calibration", "overhead", "claims"})


def kind_of(session: Session) -> SessionKind:
    """By the purpose that the session recorded, by its builds, else by its command.

    `run` for a command that is none of ours, such as a benchmark's.
    """
    if purpose := _PURPOSES.get(session.environment.get("purpose", "")):
        return purpose
    if _against_itself(session):
        return "self-check"
    if "night" in session.environment:
        return "nightly"
    return _COMMANDS.get(next(iter(session.command[1:2]), ""), "run")


def has_measured(session: Session) -> bool:
    """Whether `last` and `worst` may mean it: it measured updates, and not to check the instrument.

    A comparison of a build with itself counts where it was the command, not where a night made it
    after its own measurement.
    """
    kind = kind_of(session)
    if kind == "self-check":
        return "night" not in session.environment
    return kind not in _INSTRUMENT


def _against_itself(session: Session) -> bool:
    labels = [build.label for build in session.builds]
    return len(labels) == 2 and labels[1] == labels[0] + AGAIN
