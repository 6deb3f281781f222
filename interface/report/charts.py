"""Charts as SVG: lines, stacked bars, bands of states, dots on a logarithmic axis.

Whatever is drawn is drawn here and not in the page, so that it is there without scripts and on paper. A chart has
no colours of its own: its shapes have classes, and `page.css` has a light and a dark form of each. Nor does it
scale: text would become small with it. So each is drawn for places of several widths, and the page shows one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from markupsafe import Markup, escape

from interface.report.scales import Axis

__all__ = ["FULL", "NARROW", "WIDE", "Band", "Bar", "Dot", "Line", "bands", "bars", "dots", "lines"]

FULL: Final = 1130
WIDE: Final = 560
NARROW: Final = 340
HEIGHT: Final = 190
ROW: Final = 26

_TOP, _BOTTOM, _RIGHT = 22, 42, 14
_LETTER: Final = 6.6
"""Of the width that a letter has about, at the size of the labels."""


class Line(msgspec.Struct, frozen=True):
    """A curve. `name` is a class of the style; where a value is None it is interrupted."""

    name: str
    points: Sequence[tuple[float, float | None]]
    steps: bool = False


class Bar(msgspec.Struct, frozen=True):
    """What is stacked between two places of an axis, the lowest first: classes and heights."""

    first: float
    last: float
    parts: Sequence[tuple[str, float]]


class Band(msgspec.Struct, frozen=True):
    """A stretch of a row, with the class that it has, what is told of it, and its height, 0.0 to 1.0."""

    first: float
    last: float
    name: str
    told: str
    height: float = 1.0


class Dot(msgspec.Struct, frozen=True):
    """A value in a row, with the class that it has, what is written above it, and what is told of it."""

    value: float
    name: str
    label: str
    told: str


def _tag(name: str, *inside: str, **attributes: object) -> Markup:
    names = (key.rstrip("_").replace("_", "-") for key in attributes)
    told = [
        Markup(' {}="{}"').format(key, _plain(value))
        for key, value in zip(names, attributes.values(), strict=True)
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(told), Markup("").join(inside))


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


class _Frame:
    """A rectangle between two axes, and where values lie in it."""

    def __init__(self, width: int, height: int, left: float, x: Axis) -> None:
        self.width, self.height, self.left, self.axis = width, height, left, x
        self.right, self.top, self.bottom = width - _RIGHT, _TOP, height - _BOTTOM
        self.drawn: list[Markup] = []

    def x(self, value: float) -> float:
        return self.left + self.axis.place(value) * (self.right - self.left)

    def draw(self, *shapes: Markup) -> None:
        self.drawn += shapes

    def text(self, x: float, y: float, text: str, anchor: str, name: str = "tick") -> None:
        self.draw(_tag("text", escape(text), x=x, y=y, text_anchor=anchor, class_=name))

    def line(self, x1: float, y1: float, x2: float, y2: float, name: str) -> None:
        self.draw(_tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=name))

    def across(self) -> None:
        """The lower axis; ticks that would run into each other or out of the picture are left unwritten."""
        taken = float("-inf")
        for value, label in self.axis.ticks:
            x, half = self.x(value), len(label) * _LETTER / 2
            self.line(x, self.bottom, x, self.bottom + 4, "axis")
            centre = min(max(x, half), self.width - half)
            if centre - half > taken + 6:
                self.text(centre, self.bottom + 18, label, "middle")
                taken = centre + half
        self.line(self.left, self.bottom, self.right, self.bottom, "axis")
        self.text((self.left + self.right) / 2, self.height - 6, self.axis.label, "middle", "label")

    def svg(self, told: str) -> Markup:
        box = f"0 0 {self.width} {self.height}"
        return _tag("svg", *self.drawn, viewBox=box, role="img", aria_label=told, class_="chart")


def _upright(width: int, x: Axis, y: Axis) -> tuple[_Frame, Callable[[float], float]]:
    """A frame with a vertical axis, too, and where values lie on that."""
    longest = max(len(label) for _, label in y.ticks)
    frame = _Frame(width, HEIGHT, longest * _LETTER + 12, x)

    def up(value: float) -> float:
        return frame.bottom - y.place(value) * (frame.bottom - frame.top)

    for value, label in y.ticks:
        frame.line(frame.left, up(value), frame.right, up(value), "grid")
        frame.text(frame.left - 6, up(value) + 3.5, label, "end")
    frame.text(0, 11, y.label, "start", "label")
    return frame, up


def lines(width: int, x: Axis, y: Axis, curves: Sequence[Line], told: str) -> Markup:
    """Curves over one axis. `told` says in words what is drawn."""
    frame, up = _upright(width, x, y)
    for curve in curves:
        path = _path(curve, frame.x, up)
        if path:
            frame.draw(_tag("path", d=path, class_=f"line {curve.name}"))
    frame.across()
    return frame.svg(told)


def _path(curve: Line, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    steps: list[str] = []
    pen = "M"
    for at, value in curve.points:
        if value is None:
            pen = "M"
            continue
        if curve.steps and pen == "L":
            steps.append(f"H{x(at):.1f}")
        steps.append(f"{pen}{x(at):.1f} {y(value):.1f}")
        pen = "L"
    return "".join(steps)


def bars(width: int, x: Axis, y: Axis, stacks: Sequence[Bar], told: str) -> Markup:
    frame, up = _upright(width, x, y)
    for stack in stacks:
        left, right = frame.x(stack.first), frame.x(stack.last)
        gap = 1.0 if right - left > 4 else 0.0
        base = 0.0
        for name, height in stack.parts:
            if height:
                top = up(base + height)
                tall = up(base) - top
                shape = {"x": left, "y": top, "width": max(0.5, right - left - gap), "height": tall}
                frame.draw(_tag("rect", **shape, class_=f"fill {name}"))
                base += height
    frame.across()
    return frame.svg(told)


def bands(width: int, x: Axis, rows: Mapping[str, Sequence[Band]], told: str) -> Markup:
    """Rows with stretches that have a class each. One shorter than a pixel and a half is drawn as long as that.

    Of stretches of a class that share their pixels only one is drawn.
    """
    frame = _rows(width, x, rows)
    for number, stretches in enumerate(rows.values()):
        seen: set[tuple[str, int, int]] = set()
        for band in stretches:
            left = frame.x(band.first)
            wide = max(1.5, frame.x(band.last) - left)
            place = (band.name, round(left), round(left + wide))
            if place in seen:
                continue
            seen.add(place)
            title = _tag("title", escape(band.told))
            tall = (ROW - 8) * band.height
            shape = {"x": left, "y": _TOP + (number + 1) * ROW - 4 - tall, "width": wide, "height": tall}
            frame.draw(_tag("rect", title, **shape, class_=f"fill {band.name}"))
    frame.across()
    return frame.svg(told)


def dots(width: int, x: Axis, rows: Mapping[str, Sequence[Dot]], told: str) -> Markup:
    """Rows with values on one axis, each with its label above it where there is room."""
    frame = _rows(width, x, rows, tall=ROW + 12)
    for number, values in enumerate(rows.values()):
        y = _TOP + (number + 0.5) * (ROW + 12) + 6
        taken = float("-inf")
        if values:
            frame.line(frame.x(values[0].value), y, frame.x(values[-1].value), y, "range")
        for dot in values:
            at, half = frame.x(dot.value), len(dot.label) * _LETTER / 2
            title = _tag("title", escape(dot.told))
            frame.draw(_tag("circle", title, cx=at, cy=y, r=4.5, class_=f"fill {dot.name}"))
            if at - half > taken + 3:
                frame.text(at, y - 9, dot.label, "middle")
                taken = at + half
    frame.across()
    return frame.svg(told)


def _rows(width: int, x: Axis, rows: Mapping[str, object], tall: int = ROW) -> _Frame:
    longest = max(len(name) for name in rows)
    frame = _Frame(width, _TOP + tall * len(rows) + _BOTTOM, longest * _LETTER + 10, x)
    for number, name in enumerate(rows):
        middle = _TOP + (number + 0.5) * tall
        frame.text(0, middle + 4, name, "start", "row")
        frame.line(frame.left, middle + tall / 2, frame.right, middle + tall / 2, "grid")
    return frame
