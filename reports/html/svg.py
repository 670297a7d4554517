"""Drawing charts: matplotlib to inline SVG with the page's own colours and font.

A chart is drawn in placeholder colours; in the SVG they become CSS variables, so that one drawing
serves light, dark and print. Text stays text, sized for a phone's width.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PANEL, BAD = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PANEL: "panel", BAD: "bad"}
SERIES = tuple(f"#0a000{i}" for i in range(6))
_VARIABLES |= {colour: f"series-{i}" for i, colour in enumerate(SERIES)}
PHASES = tuple(f"#0b00{i:02x}" for i in range(19))
_VARIABLES |= {colour: f"phase-{i}" for i, colour in enumerate(PHASES)}

# In addition to colour, so that no reader depends on it.
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)), (0, (3, 3)), (0, (8, 3)))

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "path.simplify": False,
    "text.parse_math": False,  # a build's label may hold any character
}
WIDTH_INCHES = 4.6


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: a colour's CSS variable, a text, and a distinct mark."""

    variable: str
    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title, caption and legend, and its numbers as a table."""

    title: str
    caption: str
    svg: str
    keys: tuple[Key, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False  # fills a row of the page, with its numbers on the right


@contextmanager
def drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of the page's width and `height` inches, in the page's style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        axes.tick_params(length=0)
        yield figure, axes


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an inline `<svg>`; `name` makes its ids unique in the page.

    `label` is its accessible description. Must be called inside `drawing`. The same figure gives
    the same text.
    """
    text = _drawn(figure, name)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'((?:xlink:)?href=")#|(url\()#', rf"\1\2#{name}-", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--font)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    head = (
        f'<svg class="chart" role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'
    )
    return head + text[text.index(">") + 1 :]


def _drawn(figure: Figure, name: str) -> str:
    import matplotlib as mpl

    out = StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": name}):
        # Text stays text: the reader's font has to have the glyphs of a label, not matplotlib's.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)
        # A label that is wider than the page: the numbers are in the table.
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        engine = figure.get_layout_engine()
        if engine is not None:
            # Here, once: savefig would lay it out and draw it twice.
            engine.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return out.getvalue()


def series_key(number: int, text: str) -> Key:
    """The legend entry of series `number`; colours and marks repeat after the last."""
    marks = ("●", "■", "▲", "◆", "▼", "✚")
    return Key(f"series-{number % len(SERIES)}", text, marks[number % len(marks)])
