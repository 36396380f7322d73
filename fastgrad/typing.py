"""Names for annotations: what functions take, for type checkers and for signatures of your own.

``MLP[np.float32]`` is a network of float32, and so are its parameters and gradients: a checker says
where two dtypes meet that may not. A plain ``MLP`` has any dtype. Arrays are
`numpy.typing.NDArray`. To NumPy's own types a float32 array divided by an integer is float64, which
is wrong: `affine` and the like want ``X / np.float32(16)`` there, networks take either.

Examples
--------
>>> import numpy as np
>>> import fastgrad as fg
>>> from fastgrad.typing import ArrayOf, LossName
>>> def train(X: ArrayOf[np.float64], y: ArrayOf[np.float64], loss: LossName) -> fg.FitResult:
...     return fg.fit(fg.MLP([1, 4, 1], loss), X, y, epochs=1, seed=0, progress=False)
>>> train([[0.0], [1.0]], [0.0, 1.0], "huber").epochs
1
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core.names import list_public

__all__ = [
    "ActivationName", "ArrayOf", "CurvatureName", "Float32", "Float64", "InitName",
    "LayoutName", "LossName", "Numbers", "OperationName", "OptimizerName", "OutputActivationName",
    "PathLike", "Rate", "Rows", "Scalar", "Seed", "SparseRows", "StencilName", "Values",
]  # fmt: skip
list_public(globals())

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    F = TypeVar("F", np.float32, np.float64, default=np.float64)
    D = TypeVar("D", bound=np.float32 | np.float64, default=Any)
    T = TypeVar("T", bound=np.generic)
    T_co = TypeVar("T_co", bound=np.generic, covariant=True)
else:
    from typing import TypeVar

    F = TypeVar("F", np.float32, np.float64)  # of functions of arrays alone: float64 by default
    D = TypeVar("D", bound=np.float32 | np.float64)  # of a network
    T = TypeVar("T", bound=np.generic)  # any dtype, kept
    T_co = TypeVar("T_co", bound=np.generic, covariant=True)

Integers: TypeAlias = NDArray[np.integer[Any] | np.bool_]
Sequences: TypeAlias = (
    Sequence[float] | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]
)


class SupportsArray(Protocol[T_co]):
    """What NumPy makes an array of: a data frame or its column, a tensor."""

    def __array__(self) -> np.ndarray[Any, np.dtype[T_co]]: ...


class SparseRows(Protocol):
    """Sparse rows: a matrix or an array of `scipy.sparse`."""

    def tocsr(self) -> Any: ...


Scalar: TypeAlias = float | np.floating[Any] | np.integer[Any]
# An array of a dtype; integers, booleans and lists take the dtype of what they meet.
ArrayOf: TypeAlias = NDArray[D] | SupportsArray[D] | Integers | Sequences
Values: TypeAlias = Scalar | ArrayOf[D]  # or one number
Function: TypeAlias = Callable[..., Any]  # of theta and more
# Numbers of any dtype. Beside a network's theta they have its dtype, or are converted by what says
# so: checkers are not asked, since to NumPy's types a float32 array divided by 2 is float64.
Real: TypeAlias = np.floating[Any] | np.integer[Any] | np.bool_
Numbers: TypeAlias = NDArray[Real] | SupportsArray[Real] | Sequences
Rows: TypeAlias = Numbers | SparseRows  # the same, or sparse (CSR)
PathLike: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = int | np.integer[Any] | np.random.SeedSequence | np.random.Generator | None
Rate: TypeAlias = Scalar | Callable[[int], float]  # a learning rate, or a function of the step

Float32: TypeAlias = type[np.float32] | np.dtype[np.float32] | Literal["float32", "f4"]
Float64: TypeAlias = (
    type[np.float64] | type[float] | np.dtype[np.float64] | Literal["float64", "f8"]
)

LossName: TypeAlias = Literal[
    "mse", "huber", "logistic", "cross_entropy", "absolute_error", "quantile", "poisson"
]
ActivationName: TypeAlias = Literal["relu", "identity", "tanh", "sigmoid", "softplus", "leaky_relu"]
OutputActivationName: TypeAlias = Literal["identity", "relu"]
InitName: TypeAlias = Literal["he", "glorot"]
OptimizerName: TypeAlias = Literal[
    "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "levenbergmarquardt", "newtoncg",
    "lbfgs",
]  # fmt: skip
LayoutName: TypeAlias = Literal["numerator", "denominator"]
StencilName: TypeAlias = Literal["five_point", "central"]
CurvatureName: TypeAlias = Literal["hessian", "ggn"]
OperationName: TypeAlias = Literal["add", "subtract", "multiply", "divide", "maximum", "greater"]
