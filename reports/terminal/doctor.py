"""The host's requirements, as text and as values for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from results.records.host_needs import Need, measurable

from .style import Look, Page

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"ok": "green", "limited": "yellow", "missing": "bold red"}
_STATE_WIDTH = 9  # the longest state and a gap
_NAME_WIDTH = 20
_NARROW = 60


def doctor_page(needs: Sequence[Need], look: Look) -> Text:
    """One line per requirement, consequence and fix below those not met, and a verdict."""
    page = Page(look)
    name_width = min(_NAME_WIDTH, max((len(n.name) for n in needs), default=0) + 2)
    if look.width < _NARROW:
        name_width = 0  # every name gets its own line
    for need in needs:
        _need(page, need, name_width)
    page.line()
    counts = Counter[str](need.state for need in needs)
    tally = ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state])
    if measurable(needs):
        limits = " with the limits above" if counts["limited"] else ""
        page.paragraph(f"{tally}. This host can measure{limits}.", style="bold")
        page.line("next: ", ("make bench", "bold"))
    else:
        page.paragraph(
            f"{tally}. This host cannot measure until what is missing is installed.",
            style=_STYLES["missing"],
        )
    return page.text()


def _need(page: Page, need: Need, name_width: int) -> None:
    indent = _STATE_WIDTH + name_width
    name = page.look.printable(need.name)
    if len(name) > name_width - 2:  # such as a build's long label: it gets its own line
        page.line((f"{need.state:<{_STATE_WIDTH}}", _STYLES[need.state]), name)
        page.paragraph(need.found, indent)
    else:
        first, *more = page.look.wrap(need.found, indent)
        state = (f"{need.state:<{_STATE_WIDTH}}", _STYLES[need.state])
        page.line(state, f"{name:<{name_width}}", first.strip())
        for line in more:
            page.line(line)
    if need.state == "ok":
        return
    if need.consequence:
        page.paragraph(f"→ {need.consequence}", indent + 3, first=indent)
    if need.fix:
        page.paragraph(f"fix: {need.fix}", indent + 5, first=indent, style="bold")


def to_json(needs: Sequence[Need]) -> list[dict[str, Any]]:
    """The requirements as values that JSON has: name, state, found, consequence, fix."""
    return [asdict(need) for need in needs]
