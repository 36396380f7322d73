"""Divisions of counts in kernels, beside Python's."""

import itertools

from fastgrad.kernels.counts import parts_of, quotient
from fastgrad.kernels.jit import kernel


@kernel
def _counts(a, b):
    return quotient(a, b), parts_of(a, b)


def test_counts_are_divided_as_python_divides_them():
    for a, b in itertools.product((0, 1, 2, 7, 8, 9, 63, 64, 10**12), (1, 2, 8, 9, 64, 10**6)):
        assert _counts(a, b) == (a // b, -(-a // b)), (a, b)


def test_nothing_has_no_parts():
    assert _counts(0, 0) == (0, 0)
