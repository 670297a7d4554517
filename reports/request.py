"""What a report is asked for, and what every format answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from results.files import Content
    from results.store.store import Store
    from results.summary.report_data import Material

    # One file, or several by name in a directory of their own.
    Written: TypeAlias = Content | Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class Request:
    """A report of `material`, which was taken from `store`.

    `strict` lets what is undecided fail; `run` is the one run that is wanted, where a format shows
    single runs.
    """

    material: Material
    store: Store
    strict: bool = False
    run: str | None = None
