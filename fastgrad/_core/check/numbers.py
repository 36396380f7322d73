"""Numbers and switches."""

from __future__ import annotations

import operator

import numpy as np

from .arrays import F32

_F32_ZERO, _F32_INFINITE = 2.0**-150, 2.0**128 - 2.0**103  # from where on it rounds to these
_F32_RANGE = "1.4e-45 to 3.4e+38"


def scalar(value, name: str) -> float:
    """A real number that is not a bool; 0-d arrays pass."""
    if type(value) is float or isinstance(value, np.floating):
        return float(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if isinstance(value, (bool, str)) or kind not in "iuf" or np.ndim(value) != 0:
        raise TypeError(f"{name} is {value!r}; expected one number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; expected one number") from None
    except OverflowError:
        raise ValueError(f"{name} is {value!r}; expected a number that a float can hold") from None


def non_negative(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is {number}; expected a finite number, 0 or more")
    return number


def positive(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} is {number}; expected a finite number above 0")
    return number


def fraction(value, name: str) -> float:
    number = non_negative(value, name)
    if number >= 1:
        raise ValueError(f"{name} is {number}; expected 0 to below 1")
    return number


def greatest_rate(is_f32: bool) -> float:
    """From where on a learning rate is infinite in a dtype."""
    return _F32_INFINITE if is_f32 else float("inf")


def inside_unit(value, name: str) -> float:
    number = scalar(value, name)
    if not 0 < number < 1:
        raise ValueError(f"{name} is {number}; expected between 0 and 1")
    return number


def held(number: float, name: str, dtype, zero: bool = True) -> None:
    """Refuse a number that float32 would make infinite, or 0 unless `zero`: it may vanish."""
    if dtype != F32:
        return
    if number >= _F32_INFINITE or (0 < number <= _F32_ZERO and not zero):
        raise ValueError(f"{name} is {number}; expected a number that float32 holds: {_F32_RANGE}")


def integer(value, name: str, least: int = 1) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer") from None
    if number < least:
        raise ValueError(f"{name} is {number}; expected {least} or more")
    return number


def boolean(value, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; expected True or False")
    return bool(value)


def generator(seed, name: str) -> np.random.Generator:
    """What NumPy makes of a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} is {seed!r}; expected None, an integer of 0 or more, a SeedSequence or a "
            f"Generator"
        ) from None
