"""Old × new as a table: the median blackout of each pair, or a numbered reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.harm_wording import FAILED_PAIRS
from reports.wording import ms

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

    from results.summary.matrix import MatrixCell

_GAP = 2


def matrix_table(cells: Sequence[MatrixCell], versions: Mapping[str, str], look: Look) -> Text:
    """Rows are old builds, columns new ones; each reason of a failure is written out once."""
    page = Page(look)
    labels = list(versions)
    reasons = list(dict.fromkeys(cell.reason for cell in cells if cell.reason))
    words = {(cell.old, cell.new): look.printable(_word(cell, reasons)) for cell in cells}
    first = max(len("old \\ new"), *(len(label) for label in labels))
    widths = [
        max(len(new), *(len(words[old, new]) for old in labels if (old, new) in words))
        for new in labels
    ]
    page.line(("median VM blackout, old QEMU (rows) to new QEMU (columns)", "bold"))
    page.line()
    header = ["old \\ new".ljust(first), *(n.ljust(w) for n, w in zip(labels, widths, strict=True))]
    page.line(((" " * _GAP).join(header).rstrip(), "bold"))
    for old in labels:
        row = [
            words.get((old, new), "-").ljust(width)
            for new, width in zip(labels, widths, strict=True)
        ]
        page.line((" " * _GAP).join([look.printable(old).ljust(first), *row]).rstrip())
    page.line()
    for number, reason in enumerate(reasons, 1):
        page.paragraph(f"[{number}] {reason}", indent=4, first=0, style="red")
    for label, version in versions.items():
        page.paragraph(f"{label}: QEMU {version}", indent=4, first=0, style="dim")
    return page.text()


def _word(cell: MatrixCell, reasons: Sequence[str]) -> str:
    mark = f"[{reasons.index(cell.reason) + 1}]" if cell.reason else ""
    if not cell.runs:
        return f"– {mark}"
    if cell.blackout_ns is None:
        return f"{FAILED_PAIRS.get(cell.harm, 'fails')} {mark}"
    of = "" if cell.valid == cell.runs else f" ({cell.valid} of {cell.runs}) {mark}"
    return f"{ms(cell.blackout_ns)}{of}"
