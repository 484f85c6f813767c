"""Drawings: a few kinds of marks, written as SVG for a page or a file, and as PNG.

Lengths are in CSS pixels, y downwards. Colours are roles (``ink``, ``accent``, ``series3``). The page fills them with
the colours of its theme, and a file with those of the light theme.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from nonverbal.files import whole
from nonverbal.text import one_line

SERIES = ("#0f6b72", "#c2571a", "#6b4ea0", "#3f7d2c", "#b03a5b", "#2f63b0", "#8a6d1a", "#555c66")
"""Colours of models in the same drawing."""

LIGHT = {
    "ink": "#1f2428",
    "muted": "#6b7178",
    "grid": "#d9d6cf",
    "paper": "#ffffff",
    "accent": SERIES[0],
    "warm": SERIES[1],
} | {f"series{number}": colour for number, colour in enumerate(SERIES)}
"""Colours by role."""

WIDE = 350.0
"""Wider drawings are scrolled on a narrow screen instead of becoming too small."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: list[tuple[float, float]]
    role: str = "ink"
    width: float = 1.4
    dashes: str = ""
    """SVG's ``stroke-dasharray``."""
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: list[tuple[float, float]]
    role: str = "accent"
    opacity: float = 0.15


@dataclass(frozen=True)
class Dot:
    """A disc."""

    x: float
    y: float
    radius: float
    role: str = "accent"
    opacity: float = 1.0
    title: str = ""
    """Tooltip."""
    clip: str = ""
    """Id of the clip that it plays on a page."""
    under: str = ""
    """Roles in each of the page's colourings, separated by spaces."""


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    role: str = "accent"
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True)
class Words:
    """A text."""

    x: float
    y: float
    """Vertical centre."""
    text: str
    role: str = "ink"
    size: float = 12.0
    anchor: str = "start"
    """start, middle or end."""
    bold: bool = False
    turned: bool = False
    """Turned by 90 degrees, so that it reads upwards."""
    title: str = ""
    """Tooltip, if it differs from the text."""


Mark = Line | Area | Dot | Box | Words


@dataclass(frozen=True)
class Drawing:
    """Marks on a sheet."""

    name: str
    """Name of its file, without ending; unique on a page."""
    title: str
    """Heading above it."""
    description: str
    """Description in words, for those who cannot see it."""
    width: float
    height: float
    marks: list[Mark] = field(default_factory=list)


FOLDERS = re.compile(r"(?<![^\s:])/?(?:[^/\s,:]+/)+(?=[^/\s,]+/[^/\s,]+)")
"""The folders before the last two names of a path."""


def shortened(text: str, most: int = 34) -> str:
    """Return a text of at most ``most`` characters that still distinguishes models.

    Names of models differ at their beginnings (``initialised:``, the first of a pair) and at the ends of paths. So
    folders are left out first, then characters in the middle.
    """
    text = one_line(text)
    if len(text) > most:
        text = FOLDERS.sub("…/", text)
    if len(text) <= most:
        return text
    begins = 2 * most // 5
    return f"{text[:begins]}…{text[len(text) - most + begins + 1 :]}".replace("……", "…")


def svg(drawing: Drawing, alone: bool = False) -> str:
    """Return a drawing as SVG, in which every text is escaped.

    Args:
        drawing: what is drawn.
        alone: for a file, with colours and a white background; otherwise the page styles the classes.
    """
    return framed(drawing, "".join(map(element, drawing.marks)), alone)


def framed(drawing: Drawing, inside: str, alone: bool = False) -> str:
    """Return the SVG of a drawing whose marks are already written, as ``inside``; see ``svg``."""
    size = f"{drawing.width:g} {drawing.height:g}"
    # Assistive technology cannot reach single marks of an image, but can reach those of a group.
    role = "group" if any(isinstance(mark, Dot) and mark.clip for mark in drawing.marks) else "img"
    attributes = f'viewBox="0 0 {size}" role="{role}" aria-label={quoteattr(_clean(drawing.description))}'
    ground = style = ""
    if alone:
        attributes = (
            f'xmlns="http://www.w3.org/2000/svg" width="{drawing.width:g}" height="{drawing.height:g}" {attributes}'
        )
        rules = "".join(f".f-{role}{{fill:{colour}}}.s-{role}{{stroke:{colour}}}" for role, colour in LIGHT.items())
        style = f"<style>text{{font-family:{FONT}}}{rules}</style>"
        ground = f'<rect class="f-paper" width="{drawing.width:g}" height="{drawing.height:g}"/>'
    else:
        wide = ' class="wide"' if drawing.width > WIDE else ""
        attributes += f'{wide} style="width:{drawing.width:g}px"'
    return f"<svg {attributes}>{style}{ground}{inside}</svg>"


def element(mark: Mark) -> str:
    """Return a mark as SVG; its class is its role."""
    if isinstance(mark, Line):
        dashes = f' stroke-dasharray="{mark.dashes}"' if mark.dashes else ""
        attributes = f'class="s-{mark.role}" fill="none" stroke-width="{mark.width:g}"{dashes}{_opacity(mark.opacity)}'
        return f'<polyline {attributes} stroke-linejoin="round" points="{_points(mark.points)}"/>'
    if isinstance(mark, Area):
        return f'<polygon class="f-{mark.role}"{_opacity(mark.opacity)} points="{_points(mark.points)}"/>'
    if isinstance(mark, Dot):
        place = f'cx="{_number(mark.x)}" cy="{_number(mark.y)}" r="{_number(mark.radius)}"'
        place += f" data-clip={quoteattr(_clean(mark.clip))}" if mark.clip else ""
        place += f' data-under="{mark.under}"' if mark.under else ""
        return f'<circle class="f-{mark.role}"{_opacity(mark.opacity)} {place}{_closed("circle", mark.title)}'
    if isinstance(mark, Box):
        place = f'x="{_number(mark.x)}" y="{_number(mark.y)}"'
        size = f'width="{_number(mark.width)}" height="{_number(mark.height)}"'
        return f'<rect class="f-{mark.role}"{_opacity(mark.opacity)} {place} {size} rx="2"{_closed("rect", mark.title)}'
    return _text(mark)


def _text(mark: Words) -> str:
    place = f'x="{_number(mark.x)}" y="{_number(mark.y)}" dy=".35em" text-anchor="{mark.anchor}"'
    weight = ' font-weight="600"' if mark.bold else ""
    turned = f' transform="rotate(-90 {_number(mark.x)} {_number(mark.y)})"' if mark.turned else ""
    title = f"<title>{escape(_clean(mark.title))}</title>" if mark.title and mark.title != mark.text else ""
    attributes = f'class="f-{mark.role}" font-size="{mark.size:g}" {place}{weight}{turned}'
    return f"<text {attributes}>{title}{escape(_clean(mark.text))}</text>"


def _closed(tag: str, title: str) -> str:
    return f"><title>{escape(_clean(title))}</title></{tag}>" if title else "/>"


def _opacity(value: float) -> str:
    return "" if value == 1 else f' opacity="{value:.3g}"'


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    """Remove characters that XML cannot contain, even escaped."""
    return one_line(text)


def png(drawing: Drawing, path: Path, scale: float = 3.0) -> None:
    """Write a drawing as PNG in the light colours, atomically.

    Args:
        drawing: what is drawn.
        path: the file.
        scale: pixels per CSS pixel; 3 is 288 dots per inch.
    """
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(drawing.width / 96, drawing.height / 96), facecolor=LIGHT["paper"])
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for order, mark in enumerate(drawing.marks):
        _paint(axes, mark, order)
    with whole(path) as unfinished:
        canvas.savefig(unfinished, dpi=96 * scale, format="png")


def _paint(axes: Any, mark: Mark, order: int) -> None:
    from matplotlib.patches import Circle, Polygon, Rectangle

    paint: dict[str, Any] = {"color": LIGHT[mark.role], "zorder": order}
    points = 0.75  # of a CSS pixel, which is 1/96 inch
    if isinstance(mark, Line):
        style = (0, [float(length) / mark.width for length in mark.dashes.split()]) if mark.dashes else "solid"
        paint |= {"linewidth": mark.width * points, "linestyle": style, "alpha": mark.opacity}
        axes.plot(*zip(*mark.points, strict=True), solid_joinstyle="round", **paint)
    elif isinstance(mark, Area):
        axes.add_patch(Polygon(mark.points, alpha=mark.opacity, linewidth=0, **paint))
    elif isinstance(mark, Dot):
        axes.add_patch(Circle((mark.x, mark.y), mark.radius, alpha=mark.opacity, linewidth=0, **paint))
    elif isinstance(mark, Box):
        place = (mark.x, mark.y)
        axes.add_patch(Rectangle(place, mark.width, mark.height, alpha=mark.opacity, linewidth=0, **paint))
    else:
        side = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
        if mark.turned:
            paint |= {"rotation": 90, "ha": "center", "va": {"left": "bottom", "right": "top"}.get(side, "center")}
        else:
            paint |= {"ha": side, "va": "center_baseline"}
        weight = "bold" if mark.bold else "normal"
        # DejaVu Sans is wider than the system fonts for which the drawing is made.
        size = mark.size * points * 0.88
        axes.text(mark.x, mark.y, _clean(mark.text), fontsize=size, weight=weight, parse_math=False, **paint)
