"""A few curves over a logarithmic axis, as a small SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 44, 110
_COLOURS = ("#b4451f", "#1f6fb4", "#b4451f", "#1f6fb4")


@dataclass(frozen=True)
class Curve:
    """Its values stand over the plot's places, one for each."""

    name: str
    values: Sequence[float]
    dashed: bool = False


def plot(title: str, x_name: str, y_name: str, places: Sequence[int], curves: Sequence[Curve]) -> str:
    """The SVG's text. The y axis begins at 0."""
    step = _step(max(value for curve in curves for value in curve.values) / 5)
    top = step * ceil(max(value for curve in curves for value in curve.values) / step)
    low, high = log10(places[0]), log10(places[-1])

    def x(place: float) -> float:
        return round(_LEFT + (log10(place) - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(middle_x, 24, title, size=15),
        _text(middle_x, _HEIGHT - _BOTTOM + 40, x_name),
        (
            f'<text transform="translate(18 {middle_y}) rotate(-90)" text-anchor="middle" font-size="13">'
            f"{escape(y_name)}</text>"
        ),
    ]
    for value in range(0, top + 1, step):
        parts.append(f'<path d="M{_LEFT} {y(value)}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, y(value) + 4, str(value), anchor="end"))
    for number, place in enumerate(places):
        anchor = "end" if number == len(places) - 1 else "middle"
        parts.append(f'<path d="M{x(place)} {_HEIGHT - _BOTTOM}v5" stroke="#333"/>')
        parts.append(_text(x(place), _HEIGHT - _BOTTOM + 20, f"{place:,}", anchor=anchor))
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        style = f'stroke="{colour}" stroke-width="2"' + (' stroke-dasharray="5 4"' if curve.dashed else "")
        points = [(x(place), y(value)) for place, value in zip(places, curve.values, strict=True)]
        parts.append(f'<polyline fill="none" {style} points="{" ".join(f"{a},{b}" for a, b in points)}"/>')
        parts += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in points]
        left, line = _LEFT + 330 * (number % 2), _HEIGHT - 40 + 22 * (number // 2)
        parts.append(f'<path d="M{left} {line - 4}h28" {style}/>')
        parts.append(_text(left + 36, line, curve.name, anchor="start"))
    return "\n".join([*parts, "</svg>", ""])


def _step(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, ..."""
    steps: list[int] = [size * 10**power for power in range(9) for size in (1, 2, 5)]
    return next(step for step in steps if step >= least)


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 13) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
