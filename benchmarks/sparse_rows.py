"""Sparse rows of rcv1's shape and density, by a generator."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS, DENSITY = 20_000, 47_236, 0.0016


def rows_like_rcv1(n=ROWS, d=COLUMNS, density=DENSITY, dtype="float32", skewed=False, seed=0):
    """(n, d) in CSR, sorted, of norm 1: rows of about d * density entries, in columns of equal
    chances or, `skewed`, of chances that fall as words' do."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.poisson(d * density, n), d)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    if skewed:
        chances = np.cumsum(1 / (np.arange(d) + 50.0))
        drawn = np.searchsorted(chances, rng.random(indptr[-1]) * chances[-1])
        indices = rng.permutation(d)[np.minimum(drawn, d - 1)].astype(np.int32)
    else:
        indices = rng.integers(0, d, indptr[-1], dtype=np.int32)
    X = csr_matrix((rng.random(indptr[-1]).astype(dtype), indices, indptr), shape=(n, d))
    X.sum_duplicates()
    squares = np.asarray(X.multiply(X).sum(axis=1)).reshape(-1)
    X.data /= np.repeat(np.sqrt(np.maximum(squares, 1e-9)), np.diff(X.indptr)).astype(dtype)
    return X
