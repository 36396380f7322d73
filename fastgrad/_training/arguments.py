"""What `fit` and `fit_many` make of their arguments."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .. import metrics
from .._core import check
from .._core.vectors import empty_vector
from ..optimizers import get_optimizer
from ..second_order import SecondOrder
from .optimizer import Optimizer
from .sources import Arrays, Batches, Elsewhere

BATCH_SIZE = 32  # unless another is given


def source_of(net, optimizer, X, y, sample_weight, batch_size, shuffle: bool, epochs: int):
    """Where the rows come from; see `sources` and `windows`."""
    rows = check.integer(BATCH_SIZE if batch_size is None else batch_size, "batch_size")
    if isinstance(X, Elsewhere):
        if batch_size is not None and not isinstance(optimizer, Optimizer):
            refuse_batches(optimizer, batch_size)
        return X.source(net, batch_size, shuffle)
    is_stream = metrics.is_stream(X)
    if is_stream and (y is not None or sample_weight is not None):
        raise TypeError("y or sample_weight beside a stream, which has its own; expected none")
    if isinstance(optimizer, SecondOrder):
        return all_rows(net, optimizer, X, y, sample_weight, batch_size)
    if is_stream:
        return X._for_fit(net, None if optimizer is None else rows, shuffle)
    if y is not None:
        return Arrays(net, X, y, sample_weight, rows, shuffle)
    if optimizer is None:
        raise TypeError("optimizer 'lbfgs' takes all rows at once; expected arrays X and y")
    if sample_weight is not None:
        raise TypeError("sample_weight is given beside batches; expected (X, y, sample_weight)")
    return Batches(net, X, epochs)


def all_rows(net, optimizer, X, y, sample_weight, batch_size):
    """The rows for an optimiser that takes them all at once."""
    name = type(optimizer).__name__
    if metrics.is_stream(X):
        if batch_size is not None:
            refuse_batches(optimizer, batch_size)
        return X._for_fit(net, None, False)
    if y is None:
        raise TypeError(f"optimizer {name} takes all rows at once; expected arrays X and y")
    if batch_size is not None:
        refuse_batches(optimizer, batch_size)
    return Arrays(net, X, y, sample_weight, np.iinfo(np.int64).max, False)


def refuse_batches(optimizer, batch_size):
    name = "'lbfgs'" if optimizer is None else type(optimizer).__name__
    raise ValueError(
        f"batch_size is {batch_size}, and optimizer {name} takes all rows at once; expected none"
    )


def optimizer_of(value) -> Optimizer | None:
    """A copy; None for L-BFGS."""
    if isinstance(value, str) and value.lower() == "lbfgs":
        return None
    return get_optimizer(value).copy()


def start_of(net, theta, sequence) -> np.ndarray:
    if theta is None:
        return net.init(sequence)
    theta = metrics._converted(theta, "theta", net.dtype)
    start = empty_vector(net.n_parameters, net.dtype)
    start[:] = check.vector(theta, "theta", net.dtype, net.n_parameters, ": one flat vector")
    return start


def sequence_of(seed, name: str = "seed") -> np.random.SeedSequence:
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4).tolist())
    return np.random.SeedSequence(None if seed is None else check.integer(seed, name, least=0))


def _alike(a, b) -> bool:
    """Whether two models take columns to the same inputs, and targets to the same numbers."""
    numbers = ("mean", "scale", "target_mean", "target_scale")
    names = [{n: (e.values, e.fill) for n, e in m.encoding.items()} for m in (a, b)]
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in numbers)
        and names[0] == names[1]
        and (a.columns, a.classes) == (b.columns, b.classes)
    )


def validation_of(net, validation, data=None):
    """Of `fit`'s argument; `data`: its X, whose columns a stream's are compared with."""
    if validation is None:
        return None
    if metrics.is_stream(validation):
        given = validation.model(net)
        if metrics.is_stream(data) and not _alike(given, data.model(net)):
            raise ValueError(
                "validation has means, values or classes of its own, not those of the stream to "
                "train on; expected its held_out, or stream(..., like=it)"
            )
        if validation.rows > validation.window:
            return validation
        X, y, s = validation._arrays(net)
        return X, *metrics.targets(net, len(X), y, s, "validation ")
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise TypeError(
            f"validation is a {type(validation).__name__}; expected a pair (X, y) or a triple "
            f"(X, y, sample_weight)"
        )
    X = metrics.inputs(validation[0], "validation X", net)
    weight = validation[2] if len(validation) == 3 else None
    return X, *metrics.targets(net, X.shape[0], validation[1], weight, "validation ")


def hooks_of(callbacks):
    """(after an epoch, after a step) of one callback or several."""
    if callable(callbacks) or hasattr(callbacks, "on_epoch") or hasattr(callbacks, "on_step"):
        callbacks = [callbacks]
    elif not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks is {callbacks!r}; expected something to call, or a sequence")
    on_epoch, on_step = [], []
    for callback in callbacks:
        own = [getattr(callback, name, None) for name in ("on_epoch", "on_step")]
        if own == [None, None]:
            if not callable(callback):
                raise TypeError(f"callbacks has {callback!r}; expected something to call")
            own[0] = callback
        on_epoch += own[:1] if own[0] else []
        on_step += own[1:] if own[1] else []
    return on_epoch, on_step
