"""Block sizes as a function of the machine's caches and vectors (thresholds: `kernels/tuning.py`).

The model is that of Low, Igual, Smith and Quintana-Ortí, "Analytical modeling is enough for
high-performance BLIS" (ACM TOMS 43, 2016): each block has a level of cache, and takes the part of
it that what streams by leaves. Its numbers are bytes, so that both dtypes share them; a plan makes
rows and products of them. They decide the order of sums: the same numbers, the same bits.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from ..kernels.jit import jitable
from ..kernels.micro_kernel import MR, NV
from ..kernels.simd import VECTOR_BYTES
from .machine import KIB, MIB, Caches, caches

VARIABLE = "FASTGRAD_TUNING"


class Tuning(NamedTuple):
    """What a plan is told of the machine, all in bytes."""

    panel: int  # of a weight gradient's A and B for one tile: a block of k in the L1
    weights: int  # of A for a weight task's block of k, in the L2
    rows: int  # activations of a row block, beside the panels of weights in the L2
    wide: int  # gradients from which they are split by rows of W, as the L2 does not hold them
    chunk: int  # activations and deltas kept for the weight tasks, in the L3


LEAST = Tuning(4096, 16_384, 16_384, 65_536, MIB)
MOST = Tuning(MIB, 16 * MIB, 16 * MIB, 1024 * MIB, 4096 * MIB)


def model(machine: Caches) -> Tuning:
    """The numbers for a core with these caches."""
    l1, l2, l3 = machine
    wanted = Tuning(
        panel=l1 * 3 // 4,
        weights=l2 * 2 // 5,
        rows=l2 * 3 // 16,
        wide=l2 * 8 // 5,
        chunk=4 * l3,
    )
    return Tuning(*(min(max(x, low), high) for x, low, high in zip(wanted, LEAST, MOST)))


@jitable
def block_of_k(panel: int, itemsize: int) -> int:
    """Products of a block of k, in which `panel` bytes hold MR rows of A and NR columns of B."""
    return min(max(panel // (MR * itemsize + NV * VECTOR_BYTES) // 8 * 8, 32), 512)


def as_text(tuning: Tuning) -> str:
    """What `FASTGRAD_TUNING` is set to for these numbers."""
    return ",".join(f"{name}={number}" for name, number in zip(tuning._fields, tuning))


def described(machine: Caches) -> str:
    return ", ".join(
        f"{name.upper()} {size // KIB} KiB" for name, size in machine._asdict().items()
    )


def parsed(text: str) -> Tuning:
    """The numbers of a text such as `as_text` writes, in any order."""
    expected = f"expected {','.join(f'{name}=BYTES' for name in Tuning._fields)}"
    found = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in Tuning._fields or name in found or not number.isdecimal():
            raise ValueError(f"{VARIABLE} is {text!r}, with {part!r} in it; {expected}")
        found[name] = int(number)
    missing = [name for name in Tuning._fields if name not in found]
    if missing:
        raise ValueError(f"{VARIABLE} is {text!r}, without {', '.join(missing)}; {expected}")
    for name, number in found.items():
        low, high = getattr(LEAST, name), getattr(MOST, name)
        if not low <= number <= high:
            raise ValueError(f"{VARIABLE} has {name}={number}; expected {low} to {high} bytes")
    return Tuning(**found)


_found: Caches | None = None
_chosen: Tuning | None = None
shared = np.zeros(len(Tuning._fields), np.int64)  # the same, where compiled code finds them


def found() -> Caches:
    """The caches that the model is asked about."""
    global _found
    if _found is None:
        _found = caches()
    return _found


def is_given() -> bool:
    """Whether the variable fixes them."""
    return bool(os.environ.get(VARIABLE, "").strip())


def tuned() -> Tuning:
    """The numbers of this process: of the variable, where it is set, else of the model."""
    if _chosen is None:
        choose(None)
    return _chosen


def choose(tuning: Tuning | None) -> None:
    """Other numbers from here on, None: as at the start. Plans that were made stay as they are."""
    global _chosen
    if tuning is None:
        tuning = parsed(os.environ[VARIABLE]) if is_given() else model(found())
    _chosen = tuning
    shared[:] = tuning
