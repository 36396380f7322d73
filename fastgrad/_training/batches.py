"""The rows of an epoch, in order, in pieces that fit in memory.

An epoch is a row of windows, each an array of row numbers that is a whole number of batches (but
the last). Up to `WINDOW_ROWS` rows are one window and shuffled as a whole. Above, runs of
consecutive rows are shuffled, a window takes as many runs as it has room for, and its rows are
shuffled among themselves: 8 MB of row numbers for any n, and a file on disk is read about once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WINDOW_ROWS = 2**20
RUN_ROWS = 256
FILE_WINDOW_BYTES = 64 * 2**20  # rows of a memory map that a window touches
BUFFER_BYTES = 8 * 2**20  # rows of a memory map that are converted at a time


def window_rows(n: int, batch_size: int, row_bytes: int, in_file: bool, converted: bool) -> int:
    """Rows of a window: n, or a whole number of batches."""
    most = WINDOW_ROWS
    if in_file:
        most = min(most, FILE_WINDOW_BYTES // row_bytes)
    if converted:
        most = min(most, BUFFER_BYTES // row_bytes)
    return n if n <= most else max(1, most // batch_size) * batch_size


def windows(n: int, batch_size: int, window: int, rng=None) -> Iterator[np.ndarray]:
    """Row numbers of one epoch, window by window; in order where `rng` is None."""
    if n <= window:
        yield np.arange(n) if rng is None else rng.permutation(n)
        return
    if rng is None:
        for start in range(0, n, window):
            yield np.arange(start, min(start + window, n))
        return
    runs = rng.permutation(-(-n // RUN_ROWS)).astype(np.int64, copy=False)
    per_window = max(1, window // RUN_ROWS)
    rest = np.empty(0, np.int64)
    for first in range(0, runs.size, per_window):
        chosen = runs[first : first + per_window]
        rows = (chosen[:, None] * RUN_ROWS + np.arange(RUN_ROWS)).reshape(-1)
        rows = np.concatenate([rest, rows[rows < n]])
        rng.shuffle(rows)
        whole = rows.size // batch_size * batch_size
        if first + per_window >= runs.size:
            whole = rows.size
        if whole:
            yield rows[:whole]
        rest = rows[whole:]
