"""What a user passed to what a kernel may touch: the one place that looks at arguments.

By kind of argument: `arrays.py`, `sparse.py`, `loss_inputs.py` (targets, labels, weights),
`numbers.py`. Every function takes a value and the argument's name, and returns what is right or
raises an error that names the argument, what was given and what was expected. Nothing is written
before all checks of a call have passed. The first line of each is the fast path: an array that
needs nothing costs a few attribute look-ups.
"""

from .arrays import (
    BOOL,
    F32,
    F64,
    I64,
    addressable,
    as_array,
    common_dtype,
    float_array,
    float_dtype,
    is_a_stream,
    is_float,
    is_sparse,
    mask,
    matrix,
    output,
    plain_step,
    rows,
    vector,
)  # fmt: skip
from .loss_inputs import (
    count_targets,
    labels,
    near_one,
    row_weights,
    scaled_weights,
    targets,
    unit_targets,
    weights,
)  # fmt: skip
from .numbers import (
    boolean,
    fraction,
    generator,
    greatest_rate,
    held,
    inside_unit,
    integer,
    non_negative,
    positive,
    scalar,
)  # fmt: skip
from .sparse import inputs, sparse_rows

__all__ = [
    "BOOL", "F32", "F64", "I64", "addressable", "as_array", "boolean", "common_dtype",
    "count_targets", "float_array", "float_dtype", "fraction", "generator", "greatest_rate", "held",
    "inputs", "inside_unit", "integer", "is_a_stream", "is_float", "is_sparse", "labels", "mask",
    "matrix", "near_one", "non_negative", "output", "plain_step", "positive", "row_weights", "rows",
    "scalar", "scaled_weights", "sparse_rows", "targets", "unit_targets", "vector", "weights",
]  # fmt: skip
