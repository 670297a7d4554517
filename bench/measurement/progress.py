"""Progress on standard error: a bar on a terminal, a line per boot elsewhere."""

from __future__ import annotations

import os
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from results.claims.catalogue import SET_ASIDE
from results.printable import printable
from results.records.run import Run
from results.stats.intervals import median_ns


class SessionProgress:
    """Shows what is being done and how much remains."""

    def __init__(self, total: int | None, *, boot_lines: bool = True) -> None:
        """`total` is the number of runs, None if it is not known in advance."""
        self.planned = total
        self._console = Console(stderr=True)
        self._boot_lines = boot_lines
        self._live = self._console.is_terminal
        # The lab's progress is forwarded line by line: each step takes seconds there.
        self._verbose = not self._live and bool(os.environ.get("PAUSEBENCH_LAB"))
        self._bar = Bar(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("setting up", total=total)
        self._boot: list[Run] = []

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._print_boot()
        self._bar.stop()

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=printable(what))
        if self._verbose:
            self._print(what)

    def finished(self, run: Run) -> None:
        self._bar.advance(self._task)
        if self._live and run.outcome == "failed" and not run.scenario.startswith(SET_ASIDE):
            self._print(f"failed {run.id}: {run.reason}")
        if not self._boot_lines:
            return
        if self._boot and _guest_of(self._boot[0]) != _guest_of(run):
            self._print_boot()
        self._boot.append(run)

    def note(self, text: str) -> None:
        """Show what is being done, without a terminal as a line of its own."""
        self.doing(text)
        if not self._live:
            self._print(text)

    def skipped(self, updates: int) -> None:
        self._bar.advance(self._task, updates)

    def _print_boot(self) -> None:
        """Without a terminal: one line per boot, for the log of a nightly job."""
        runs, self._boot = self._boot, []
        if self._live or not runs:
            return
        valid = [r.blackout_ns for r in runs if r.outcome == "completed" and r.blackout_ns]
        middle = median_ns(valid)
        figure = "no valid run" if middle is None else f"median blackout {middle / 1e6:.3f} ms"
        self._print(
            f"{runs[0].scenario} on {_builds_of(runs[0])}, boot {runs[0].boot}: "
            f"{len(valid)} of {len(runs)} updates valid, {figure}"
        )

    def _print(self, text: str) -> None:
        """One line; no name or reason in it acts on the terminal."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _builds_of(run: Run) -> str:
    """The build, or `OLD to NEW` for a guest that is updated from one to another."""
    return (
        run.new_build
        if run.update > 1
        else " to ".join(dict.fromkeys((run.old_build, run.new_build)))
    )


def _guest_of(run: Run) -> tuple[str, int]:
    """What the runs of one guest have in common: the boot, and the id without the update."""
    return run.id.rpartition(".")[0], run.boot
