"""What a checkpoint and a model hold: the fields of the header and the arrays, with their types.

`HEADERS` is the description: a dict is an object of these fields ("?" at the end of a name: it may
be missing), anything else is a rule for one value. `ARRAYS` gives the shapes and dtypes that follow
from a checked header; None stands for any length up to 16. Fields and arrays that are not named
here are left alone. A value that does not fit is a ValueError that names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..activations import ACTIVATIONS
from ..losses import LOSSES, parameters

VERSION = 1
_SHOWN = 60  # characters of a wrong value in a message


class Rule(NamedTuple):
    """What one value has to be."""

    expected: str
    holds: Callable[[object], bool]


def _real(value) -> float | None:
    """A number of JSON as a float; None for what is none, or has no float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _number(expected: str, holds) -> Rule:
    return Rule(expected, lambda value: _real(value) is not None and holds(_real(value)))


def _whole(least: int, most: int, odd: bool = False) -> Rule:
    def holds(value):
        return type(value) is int and least <= value <= most and not (odd and value % 2 == 0)

    return Rule(f"{'an odd' if odd else 'an'} integer from {least} to {most}", holds)


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names if _text(value) else 0)


def _many(rule: Rule, least: int = 0) -> Rule:
    def holds(value):
        return isinstance(value, list) and len(value) >= least and all(map(rule.holds, value))

    return Rule(f"a list{f' of {least} or more' if least else ''}, each {rule.expected}", holds)


def _either(*rules: Rule) -> Rule:
    return Rule(
        " or ".join(rule.expected for rule in rules),
        lambda value: any(rule.holds(value) for rule in rules),
    )


def _mapping(rule: Rule) -> Rule:
    return Rule(
        f"an object whose values are each {rule.expected}",
        lambda value: isinstance(value, dict) and all(map(rule.holds, value.values())),
    )


def _text(value) -> bool:
    return isinstance(value, str)


TEXT = Rule("text", _text)
NAME = Rule("a name", lambda value: _text(value) and value.isidentifier())
NULL = Rule("null", lambda value: value is None)
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
ANYTHING = Rule("anything", lambda value: True)
KNOWN = _number("a number that is not NaN", lambda number: not math.isnan(number))
FINITE = _number("a finite number", math.isfinite)
POSITIVE = _number("a finite number above 0", lambda number: 0 < number < math.inf)
NOT_NEGATIVE = _number("a finite number, 0 or more", lambda number: 0 <= number < math.inf)
COUNT = _whole(0, 2**53)


def _is_position(value) -> bool:
    """Windows done, the pair that their losses add up to, and the sum of what they count."""
    return (
        isinstance(value, dict)
        and set(value) == {"windows", "total", "weight"}
        and _whole(1, 2**53).holds(value["windows"])
        and isinstance(value["total"], list)
        and [_real(number) is not None for number in value["total"]] == [True, True]
        and NOT_NEGATIVE.holds(value["weight"])
    )


POSITION = Rule("an object of windows, total and weight, as within an epoch", _is_position)


NETWORK = {
    "layer_sizes": _many(_whole(1, 2**47), least=2),
    "loss": _one_of(*LOSSES),
    "activation?": _one_of(*ACTIVATIONS),
    "output_activation": _one_of("identity", "relu"),
    "dtype": _one_of("float32", "float64"),
    "l2": NOT_NEGATIVE,
    **{f"{name}?": FINITE for name in parameters()},
}
HEADERS = {
    "checkpoint": {
        "network": NETWORK,
        "optimizer": {
            "name": TEXT,
            "steps": COUNT,
            "numbers?": _mapping(FINITE),
            "settings": _mapping(_either(FINITE, TEXT, NULL)),
        },
        "generator": {
            "bit_generator": _one_of("PCG64"),
            "state": {"state": _whole(0, 2**128 - 1), "inc": _whole(0, 2**128 - 1, odd=True)},
            "has_uint32": _whole(0, 1),
            "uinteger": _whole(0, 2**32 - 1),
        },
        "run": {
            "network": NETWORK,
            "rows?": COUNT,
            "batch_size?": COUNT,
            "shuffle?": FLAG,
            "weighted?": FLAG,
            "batches?": FLAG,
            "window?": COUNT,  # of a stream
            "files?": _many(TEXT),
            "columns?": TEXT,
            "position?": POSITION,
            "optimizer": TEXT,
            "settings": _mapping(_either(FINITE, TEXT, NULL)),
            "validation": FLAG,
            "seed": TEXT,
            "theta": TEXT,
            "epoch": COUNT,
            "best_epoch": COUNT,
            "best": KNOWN,
            "waited": COUNT,
            "seconds": NOT_NEGATIVE,
        },
        "history": _many(NAME, least=1),
    },
    "model": {
        "network": NETWORK,
        "networks?": _whole(1, 2**31),  # of an ensemble
        "features": _either(NULL, _many(TEXT)),
        "target": _either(TEXT, _many(TEXT, least=1)),
        "encoding?": ANYTHING,  # checked by what makes it (`_tables/encode.py`)
        "classes": _either(NULL, _many(TEXT), _many(FLAG), _many(FINITE)),
        "summary": _mapping(ANYTHING),
        "target_mean": _either(FINITE, _many(FINITE)),
        "target_scale": _either(POSITIVE, _many(POSITIVE)),
    },
}


def _checkpoint_arrays(header) -> dict:
    p, dtype = _network(header)
    columns = ((header["run"]["epoch"],), "f8")
    return {
        "theta": ((p,), dtype),
        "best_theta": ((p,), dtype),
        "state?": ((None, p), dtype),
        **{f"history_{name}": columns for name in header["history"]},
    }


def _model_arrays(header) -> dict:
    p, dtype = _network(header)
    inputs = ((header["network"]["layer_sizes"][0],), "f8")
    theta = (header["networks"], p) if "networks" in header else (p,)
    return {"theta": (theta, dtype), "mean": inputs, "scale": inputs}


ARRAYS = {"checkpoint": _checkpoint_arrays, "model": _model_arrays}


def _network(header) -> tuple[int, str]:
    """How many parameters, and their dtype."""
    network = header["network"]
    return sum((d + 1) * k for d, k in pairwise(network["layer_sizes"])), network["dtype"]


def check_header(value, rule, name: str = "") -> None:
    """A ValueError that names the first field that is not as the table says."""
    if not isinstance(rule, dict):
        if not rule.holds(value):
            raise ValueError(f"{name} is {shown(value)}; expected {rule.expected}")
        return
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {shown(value)}; expected an object")
    for key, inner in rule.items():
        field, optional = key.rstrip("?"), key.endswith("?")
        path = f"{name}.{field}" if name else field
        if field in value:
            check_header(value[field], inner, path)
        elif not optional:
            raise ValueError(f"{path} is missing")


def check_shape(name: str, shape, dtype, expected, expected_dtype) -> None:
    """A ValueError where an array is not as the table says."""
    fits = len(shape) == len(expected) and all(
        size == wanted or wanted is None for size, wanted in zip(shape, expected)
    )
    if not fits or dtype.newbyteorder("=") != np.dtype(expected_dtype):
        sizes = ", ".join("any" if size is None else str(size) for size in expected)
        comma = "," if len(expected) == 1 else ""
        raise ValueError(
            f"{name} has shape {shape} and dtype {dtype}; expected ({sizes}{comma}) of "
            f"{np.dtype(expected_dtype)}"
        )


def shown(value) -> str:
    """A value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
