"""Analytic derivatives against differences, line by line: what `fastgrad.gradcheck` judges by.

A line is θ + t v along a coordinate or a direction. Where an entry disagrees and the differences
show a kink the step is shortened; where f is rounded more than float64 is, its rounding is measured
and no step is shortened further than that lets it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..differences import (
    NOISE,
    coordinate_line,
    direction_line,
    one_sided_slopes,
    rounding_on,
    slope_on,
)

# Where a kink disturbs the differences the step is shortened by these factors, not below 2⁻²⁵:
# there the rounding, 64 ε |f| / h, is 5e-7 |f|. For a network 5-20-1 on 400 rows, 6 of 150 right
# gradients stayed undecided down to 1e-6.
_SHORTER = (1.0, 2.0**-5, 2.0**-10, 2.0**-15)
_SHORTEST = 2.0**-25
_ROUNDINGS = 4.0  # of a rounded f that a difference may hold, divided by h
_SAME_RATIO, _SAME_ROUNDED = 1e-4, 2e-2  # how far ratios of one factor may be from one another
_LINES = 3  # on which the rounding of f is looked for: f may be constant along one


class Settings(NamedTuple):
    """How to differentiate and compare, and the rounding of f on lines that disagreed."""

    step: float
    stencil: str
    rtol: float
    floor: float
    roundings: list

    def rounding(self, line):
        """On this line, or where there is none, the most so far; not looked for again in vain."""
        if len(self.roundings) >= _LINES and not np.any(self.roundings):
            return self.roundings[0]
        self.roundings.append(rounding_on(line))
        own = self.roundings[-1]
        return np.where(own > 0, own, np.max(self.roundings, axis=0))


class Line(NamedTuple):
    """Outcome on one line, (m,) each: the entries of one column of the Jacobian."""

    analytic: np.ndarray
    numerical: np.ndarray
    error: np.ndarray
    kink: np.ndarray
    left: np.ndarray
    right: np.ndarray
    undecided: np.ndarray
    rounding: np.ndarray


def _assess(line, unit, analytic, settings):
    """Compare the analytic derivatives with the differences along one line, (m,) each."""
    step, stencil, rtol, floor, _ = settings
    pending = np.ones(analytic.shape, dtype=bool)
    explained, rounding = np.zeros(analytic.shape, bool), np.zeros(analytic.shape)
    numerical = error = left = right = apart = np.full(analytic.shape, np.nan)
    for trial, shorter in enumerate(_SHORTER):
        h = step * shorter
        if h < min(step, _SHORTEST):
            break
        slope, noise = (part / unit for part in slope_on(line, h, stencil))
        least = np.maximum(floor, noise / rtol)
        with np.errstate(under="ignore", invalid="ignore", over="ignore"):
            gap = abs(analytic - slope) / np.maximum.reduce([abs(analytic), abs(slope), least])
        numerical, error = np.where(pending, slope, numerical), np.where(pending, gap, error)
        pending &= ~(gap <= rtol)
        if not pending.any():
            break
        if trial == 0:
            rounding, full = settings.rounding(line), (slope, gap)
        if trial <= 1:  # a kink may be nearer than the first step, and rounding hides the third
            with np.errstate(under="ignore", invalid="ignore", over="ignore"):
                explained |= abs(analytic - slope) <= _ROUNDINGS * rounding * noise / NOISE
        left, right = (part / unit for part in one_sided_slopes(line, h))
        halved = slope_on(line, h / 2, stencil)[0] / unit
        with np.errstate(under="ignore", invalid="ignore", over="ignore"):
            before, apart = apart, abs(left - right)
            tolerance = rtol * np.maximum.reduce([abs(left), abs(right), least])
            pending &= ~(np.maximum(apart, abs(halved - slope)) <= tolerance)
    rounded = ~(error <= rtol) & (rounding > 0)
    if rounded.any():  # of all differences the longest has least of it
        numerical, error = (np.where(rounded, *pair) for pair in zip(full, (numerical, error)))
    kink = pending & ~rounded & np.isfinite(left) & np.isfinite(right)
    if kink.any():  # the two sides of a kink do not come nearer with the step
        kink &= ~(apart <= np.maximum(tolerance, 0.7 * np.nan_to_num(before)))
    slack = rtol * np.maximum(abs(analytic), least)
    inside = (np.fmin(left, right) - slack <= analytic) & (analytic <= np.fmax(left, right) + slack)
    undecided = (kink & inside) | (rounded & explained)
    return Line(analytic, numerical, error, kink, left, right, undecided, rounding * rounded)


def assess_entries(call, theta, jacobian, settings):
    """Assess every entry: fields (m, p)."""
    lines = []
    for j in range(theta.size):
        line, unit = coordinate_line(call, theta, j)
        lines.append(_assess(line, unit, jacobian[:, j], settings))
    return Line(*(np.stack(part, axis=1) for part in zip(*lines, strict=True)))


def assess_directions(call, theta, jacobian, settings, directions, seed):
    """Assess random directions, fields (m, directions); stop at an entry (i, j) that is wrong."""
    rng = np.random.default_rng(seed)
    unit = np.maximum(1.0, abs(theta.ravel())) / np.sqrt(theta.size)
    lines = []
    for _ in range(directions):
        # signs, not normal numbers: every entry has the same weight in every direction
        v = rng.choice([-1.0, 1.0], theta.size) * unit
        line = direction_line(call, theta, v)
        lines.append(_assess(line, 1.0, jacobian @ v, settings))
        wrong = ~(lines[-1].error <= settings.rtol) & ~lines[-1].undecided
        if wrong.any():
            i = int(np.argmax(wrong))
            j = _blame(call, theta, jacobian, i, v, settings)
            line, unit = coordinate_line(call, theta, j)
            entry = _assess(line, unit, jacobian[:, j], settings)
            if not entry.error[i] <= settings.rtol and not entry.undecided[i]:
                factor = _factor_of_directions(call, theta, jacobian, settings, rng, unit)
                return Line(*(part[i : i + 1, None] for part in entry)), (i, j), factor
            break
    return Line(*(np.stack(part, axis=1) for part in zip(*lines, strict=True))), None, None


def _factor_of_directions(call, theta, jacobian, settings, rng, unit):
    """The one ratio of analytic to numerical derivatives along three more directions, or None."""
    lines = []
    for _ in range(3):
        v = rng.choice([-1.0, 1.0], theta.size) * unit
        lines.append(_assess(direction_line(call, theta, v), 1.0, jacobian @ v, settings))
    lines = Line(*(np.stack(part, axis=1) for part in zip(*lines, strict=True)))
    return factor_of(lines, ~(lines.error <= settings.rtol), settings.floor)


def _blame(call, theta, jacobian, i, v, settings):
    """Halve a direction along which row i disagrees, keeping the worse half, down to one entry."""
    entries = np.arange(v.size)
    while entries.size > 1:
        halves, gaps = np.array_split(entries, 2), []
        for half in halves:
            part = np.zeros_like(v)
            part[half] = v[half]
            line = direction_line(call, theta, part)
            outcome = _assess(line, 1.0, jacobian @ part, settings)
            gaps.append(abs(outcome.analytic[i] - outcome.numerical[i]))
        entries = halves[int(np.argmax(gaps))]
    return int(entries[0])


def factor_of(lines, bad, floor):
    """The one ratio of all analytic to all numerical entries, or None."""
    size = np.maximum(abs(lines.analytic), abs(lines.numerical))
    counted = size > floor
    if not bad.any() or np.count_nonzero(counted) < 2 or lines.kink.any():
        return None
    if abs(lines.error[counted]).max() < 10 * _SAME_ROUNDED and np.any(lines.rounding > 0):
        return None  # nothing but rounding
    with np.errstate(under="ignore", divide="ignore", invalid="ignore", over="ignore"):
        ratios = lines.analytic[counted] / lines.numerical[counted]
    middle = np.median(ratios)
    if not np.isfinite(middle) or middle == 0:
        return None
    rounded = np.any(lines.rounding > 0)
    spread = abs(ratios / middle - 1).max()
    return float(middle) if spread <= (_SAME_ROUNDED if rounded else _SAME_RATIO) else None
