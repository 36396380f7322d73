"""The rows that `early_stopping` holds out."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split


def hold_out(X, y, sample_weight, labels, fraction: float, random_state):
    """(X, y, weights to train on, (X, y, weights) to score).

    `labels` (n,), where there are any, are shared out in proportion. Of several classes some may
    have too few rows for that: then, as in scikit-learn, chance decides; of two it is an error.
    """
    arrays = [X, y] + ([] if sample_weight is None else [sample_weight])
    if labels is not None and not _can_be_shared(labels, fraction):
        labels = None
    parts = train_test_split(
        *arrays, random_state=random_state, test_size=fraction, stratify=labels
    )
    if parts[1].shape[0] < 2:
        raise ValueError(
            f"The validation set is too small ({parts[1].shape[0]} rows of {X.shape[0]}; expected "
            f"2 or more). Increase 'validation_fraction' or the size of your dataset."
        )
    trained, held = parts[4:] or (None, None)
    for name, s in (("held out for", held), ("left to train on beside", trained)):
        if s is not None and not s.any():
            raise ValueError(
                f"sample_weight is 0 in all {len(s)} rows {name} early_stopping; expected at least "
                f"one that counts: change validation_fraction, or set early_stopping=False"
            )
    return parts[0], parts[2], trained, (parts[1], parts[3], held)


def _can_be_shared(labels, fraction: float) -> bool:
    counts = np.unique(labels, return_counts=True)[1]
    held = int(np.ceil(fraction * len(labels)))
    enough = counts.min() >= 2 and counts.size <= min(held, len(labels) - held)
    return enough or counts.size <= 2
