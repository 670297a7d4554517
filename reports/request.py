"""The input of every report format, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from results.files import Content
    from results.store.store import Store
    from results.summary.report_data import ReportData

    # One file, or a directory of files by name.
    Written: TypeAlias = Content | Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class Request:
    """A report of `data`, which was read from `store`.

    With `strict` an undecided verdict is a failure; `run` is the id of the one run to show, in
    formats that show single runs.
    """

    data: ReportData
    store: Store
    strict: bool = False
    run: str | None = None
