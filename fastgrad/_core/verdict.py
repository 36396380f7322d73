"""What the verdict on a gradient says: which entry, how far off, and why it may yet be right."""

from __future__ import annotations

import math

import numpy as np


def _power(number) -> str:
    """The nearest power of ten."""
    return f"1e{round(math.log10(number))}" if number > 0 else "0"


def sentence(name, worst, bad, what, rtol, blamed, factor) -> str:
    """Of the worst line of all, `bad` of which disagree; `blamed`: found along a direction."""
    if not bad.any():
        return f"all {bad.size} {what} agree; the worst is {name}, relative error {worst.error:.3g}"
    found = f"{np.count_nonzero(bad)} of {bad.size} {what} disagree"
    if blamed:
        found = "found along a random direction that disagrees"
    if factor is not None:
        digits = ".7g" if worst.rounding == 0 else ".2g"
        found += f"; every entry is {factor:{digits}} times the numerical one"
    numbers = (
        f"analytic {worst.analytic:.10g}, numerical {worst.numerical:.10g}, relative error "
        f"{worst.error:.3g} > {rtol:g} ({found})"
    )
    rounded = f"; f is rounded to about {_power(worst.rounding)}"
    if 3e-9 < worst.rounding < 1e-5:
        rounded += ": is it float32?"
    sides = f"derivative {worst.left:.10g} from the left, {worst.right:.10g} from the right"
    if not np.isfinite(worst.numerical):
        return f"{name} cannot be judged: {numbers}; f is not finite around theta"
    if worst.rounding > 0:
        verdict = "cannot be judged" if worst.undecided else "is wrong"
        return f"{name} {verdict}: {numbers}{rounded}"
    if not worst.kink:
        return f"{name} is wrong: {numbers}; f is smooth there, theta is not at a kink"
    if worst.undecided:
        return (
            f"{name} cannot be judged: {numbers}; theta is at a kink ({sides}) and the analytic "
            "value lies between, so it may be right: move theta off the kink"
        )
    return f"{name} is wrong: {numbers}; theta is at a kink ({sides}), but it does not lie between"
