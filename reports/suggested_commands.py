"""Commands to repeat a session and to show its runs, ready to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from results.records.scenario import Session


def repeat_command(session: Session) -> str:
    """The session's own command, with its seed, so that the order of boots is the same."""
    words = list(session.command)
    seed = session.environment.get("seed", "")
    # Only these commands have a schedule; a benchmark's command takes no seed.
    if seed and words[1:2] and words[1] in ("run", "compare", "matrix") and not _has_seed(words):
        words += ["--seed", seed]
    return shlex.join(words)


def _has_seed(words: Sequence[str]) -> bool:
    return any(word == "--seed" or word.startswith("--seed=") for word in words)


def show_command(run_id: str, store: str) -> str:
    """`pausebench show RUN`; the default store needs no option."""
    option = "" if store == "out" else f" --store {shlex.quote(store)}"
    return f"pausebench show {run_id}{option}"
