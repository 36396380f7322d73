"""Sums in an order that the number of terms alone decides, wherever they are added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgrad._training.pairwise import PairwiseSum


def terms(n):
    return list(np.random.default_rng(n).standard_normal((n, 3)) * 10.0 ** np.arange(-8, 9, 8))


def alone(vectors):
    total = PairwiseSum(len(vectors))
    for index, vector in enumerate(vectors):
        total.add(vector.copy(), index)
    return total.result()


@given(st.integers(1, 40), st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_bits_do_not_depend_on_where_and_when_terms_are_added(n, random, places):
    vectors = terms(n)
    expected = alone(vectors)
    order = random.sample(range(n), n)
    sums = [PairwiseSum(n) for _ in range(places)]
    for index in order:
        random.choice(sums).add(vectors[index].copy(), index)
    total = PairwiseSum(n)
    for part in random.sample(sums, places):
        total.merge(part.nodes)
    np.testing.assert_array_equal(total.result(), expected)
    np.testing.assert_allclose(expected, np.sum(vectors, axis=0), rtol=1e-9)


def test_neighbours_leave_a_place_as_few_vectors():
    for first, last in ((0, 512), (512, 1000), (37, 801)):
        part = PairwiseSum(1000)
        for index in range(first, last):
            part.add(np.ones(1), index)
        assert len(part.nodes) <= 2 * 10


@pytest.mark.parametrize("missing", [[], [0], [3, 4], range(7)])
def test_what_adds_nothing_is_none_and_changes_no_bit(missing):
    vectors = terms(7)
    zeros = [np.zeros(3) if i in missing else vector for i, vector in enumerate(vectors)]
    total = PairwiseSum(7)
    for index, vector in enumerate(vectors):
        total.add(None if index in missing else vector.copy(), index)
    found = np.zeros(3) if total.result() is None else total.result()
    np.testing.assert_array_equal(found, alone(zeros))


def test_vectors_may_be_read_only():
    vectors = terms(5)
    total = PairwiseSum(5)
    for index, vector in enumerate(vectors):
        vector.setflags(write=False)
        total.add(vector, index)
    np.testing.assert_array_equal(total.result(), alone([np.array(v) for v in vectors]))
