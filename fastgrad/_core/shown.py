"""How results are shown: in some lines, and in a notebook as pictures without any other package."""

from __future__ import annotations

import math
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 28, 36  # margins, for the numbers and names of axes
# Okabe and Ito's blue and vermilion; the second line is dashed too.
_STYLES = ('stroke="#0072B2"', 'stroke="#D55E00" stroke-dasharray="6 3"')


def short(array: NDArray[np.generic] | None) -> str:
    """An array by its shape and dtype."""
    return "None" if array is None else f"{array.shape} {array.dtype}"


def line_plot(title: str, curves: dict[str, NDArray[np.float64]]) -> str:
    """SVG of one or two curves over the epochs, from 1; numbers that are not finite are gaps.

    Examples
    --------
    >>> line_plot("loss", {"training": np.array([1.0, 0.5])}).count("<polyline")
    1
    """
    known = [values[np.isfinite(values)] for values in curves.values()]
    low, high = _range(np.concatenate(known))
    last = max(map(len, curves.values()))

    def x(epoch: float) -> float:
        return LEFT + (epoch - 1) / max(last - 1, 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        part = (value / 2 - low / 2) / (high / 2 - low / 2)  # the whole range may overflow
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in _ticks(low, high):
        parts.append(_line(LEFT, y(value), WIDTH - RIGHT, y(value), 'stroke="#ddd"'))
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:.3g}", "end"))
    for epoch in sorted({1, (1 + last) // 2, last}):
        parts.append(_text(x(epoch), HEIGHT - BOTTOM + 15, str(epoch), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "epoch", "middle"))
    parts.append(_text(LEFT, 16, title, "start"))
    for place, ((label, values), style) in enumerate(zip(curves.items(), _STYLES)):
        for first, run in _runs(values):
            points = [(round(x(first + i), 1), round(y(value), 1)) for i, value in enumerate(run)]
            if len(run) == 1:
                ((cx, cy),) = points
                parts.append(f'<circle cx="{cx}" cy="{cy}" r="2" fill="none" {style}/>')
                continue
            line = " ".join(f"{px},{py}" for px, py in points)
            parts.append(f'<polyline points="{line}" fill="none" {style} stroke-width="1.8"/>')
        if len(curves) > 1:
            start = WIDTH - RIGHT - 190 + 100 * place
            parts.append(_line(start, 12, start + 22, 12, f'{style} stroke-width="1.8"'))
            parts.append(_text(start + 27, 16, label, "start"))
    return "".join([*parts, "</svg>"])


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """A little more than what the values span; of any size."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high / 2 - low / 2) * 2 or 0.05 * abs(high) or 1.0
    return max(low - margin, -1e308), min(high + margin, 1e308)


def _ticks(low: float, high: float) -> list[float]:
    """Some round numbers between the two."""
    size = high / 4 - low / 4
    power = 10.0 ** math.floor(math.log10(size)) if 1e-300 < size < 1e300 else size
    step = next((power * k for k in (1, 2, 5) if power * k >= size), power * 10)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _runs(values: NDArray[np.float64]):
    """(epoch of the first, values) of each run of finite numbers."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(finite[1:] != finite[:-1]).tolist()
    return [
        (start + 1, values[start:stop].tolist()) for start, stop in zip(edges[::2], edges[1::2])
    ]


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'
