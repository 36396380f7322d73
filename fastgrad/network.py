"""Networks of layers on one flat parameter vector.

`MLP` holds shapes and a loss, never parameters: theta (p,) is the caller's array, layer by layer
W (d, k) row-major and b (k,). Each method is check -> plan -> one kernel call -> result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, overload

import numpy as np
from numpy.typing import NDArray

from ._core import check, spec
from ._core.csr import Csr, bound_rows, named_arrays
from ._core.fast_path import FastPath
from ._core.names import list_public
from ._core.plan import network_plan
from ._core.run import run, run_outputs
from ._core.threads import check_threads
from ._core.vectors import empty_vector
from .kernels import records as at
from .kernels.bind import run_forward, run_step
from .kernels.engine import probabilities
from .kernels.fast_path import (
    quick_rows,
    quick_step,
    quick_vjp,
    shared_rows,
    shared_step,
    shared_vjp,
)
from .typing import (
    ActivationName,
    ArrayOf,
    D,
    Float32,
    Float64,
    InitName,
    LossName,
    Numbers,
    OutputActivationName,
    Rows,
    Seed,
    T,
)

if TYPE_CHECKING:
    from ._core.spec import Network

__all__ = ["MLP"]
list_public(globals())

_ndarray, _empty = np.ndarray, np.empty


class MLP(Generic[D]):
    """A multilayer perceptron: layers with one activation, one loss, one flat parameter vector.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs d, hidden widths, outputs k: at least two sizes, each 1 or more.
    loss : str
        One of `fastgrad.losses.LOSSES`:

        - "mse": mean over samples *and* outputs of (a - y)^2, no 1/2 (formula 18);
        - "huber": mean over samples and outputs of 1/2 e^2 within `huber_delta`,
          `huber_delta` (|e| - `huber_delta`/2) outside (formula 27);
        - "logistic": labels 0/1 on logits, summed over outputs, mean over samples (formula 26);
        - "cross_entropy": integer labels on logits, mean over samples (formula 25);
        - "absolute_error": mean over samples and outputs of |a - y| (formula 29);
        - "quantile": mean over samples and outputs of `quantile` (y - a) where a is below y,
          (1 - `quantile`) (a - y) above (formula 29);
        - "poisson": exp(a) - y a, a the logarithm of the rate and y 0 or more, summed over outputs,
          mean over samples (formula 29).

        With `sample_weight` s a mean over samples is sum(s * loss) / sum(s).
    activation : str
        Of the hidden layers, one of `fastgrad.activations.ACTIVATIONS`: "relu", "identity", "tanh",
        "sigmoid", "softplus" or "leaky_relu" (formula 28).
    output_activation : {"identity", "relu"}
        "relu" makes the last layer a ReLU too (only for losses that take no logits).
    dtype : float32 or float64
        Of the parameters, and of every array that meets them.
    l2 : float
        `l2`/2 times the sum of squared weights is added to the loss; biases are not penalised.
    **parameters : float
        Of the loss, by name: `huber_delta` (1.0), where the Huber loss turns linear; `quantile`
        (0.5), which quantile the quantile loss is for.

    Attributes
    ----------
    n_parameters : int
        p, the size of theta.
    n_inputs, n_outputs : int
        d and k.
    layer_sizes : tuple of int
    loss_name : str
        The `loss`.
    activation, output_activation : str
    dtype : numpy.dtype
    l2, huber_delta, quantile : float
        As given. All are read-only: a network with other numbers is another `MLP`. Two networks are
        equal, and hash alike, when all these are.

    Raises
    ------
    TypeError, ValueError
        If a size, a name or a number is not of that form.

    Notes
    -----
    Formulas 23 and 24 of the guide's table (Parr & Howard, arXiv 1802.01528, extended to
    layers), 38 where X is sparse. ReLU'(0) = 0; NaN passes every ReLU and shows in the loss. The
    same call gives the same bits on any number of threads. Methods take `threads=`, the most
    threads of that call.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> net = fg.MLP([2, 8, 1], loss="mse")
    >>> theta = net.init(seed=0)
    >>> theta.shape
    (33,)
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> loss, grad = net.loss_and_grad(theta, X, np.array([1.0, 1.0, 0.0]))
    >>> grad.shape
    (33,)
    """

    _made = False

    if TYPE_CHECKING:  # read-only, as `__setattr__` says

        @property
        def layer_sizes(self) -> tuple[int, ...]: ...
        @property
        def n_inputs(self) -> int: ...
        @property
        def n_outputs(self) -> int: ...
        @property
        def n_parameters(self) -> int: ...
        @property
        def loss_name(self) -> LossName: ...
        @property
        def activation(self) -> ActivationName: ...
        @property
        def output_activation(self) -> OutputActivationName: ...
        @property
        def dtype(self) -> np.dtype[D]: ...
        @property
        def l2(self) -> float: ...
        @property
        def huber_delta(self) -> float: ...
        @property
        def quantile(self) -> float: ...
        @property
        def spec(self) -> Network: ...

    @overload
    def __init__(
        self: MLP[np.float64], layer_sizes: Iterable[int], loss: LossName = ..., *,
        activation: ActivationName = ..., output_activation: OutputActivationName = ...,
        dtype: Float64 = ..., l2: float = ..., **parameters: float,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: MLP[np.float32], layer_sizes: Iterable[int], loss: LossName = ..., *,
        activation: ActivationName = ..., output_activation: OutputActivationName = ...,
        dtype: Float32, l2: float = ..., **parameters: float,
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: MLP[Any], layer_sizes: Iterable[int], loss: LossName = ..., *,
        activation: ActivationName = ..., output_activation: OutputActivationName = ...,
        dtype: str | np.dtype[Any] | type[np.float32 | np.float64], l2: float = ...,
        **parameters: float,
    ) -> None: ...  # fmt: skip
    def __init__(
        self,
        layer_sizes: Iterable[int],
        loss: LossName = "mse",
        *,
        activation: ActivationName = "relu",
        output_activation: OutputActivationName = "identity",
        dtype: Any = np.float64,
        l2: float = 0.0,
        **parameters: float,
    ) -> None:
        made = spec.network(
            layer_sizes, loss, activation=activation, output_activation=output_activation,
            dtype=dtype, l2=l2, **parameters,
        )  # fmt: skip
        self._set(made)

    def _set(self, made: Network) -> None:
        self.spec, self._loss = made, made.loss
        self.layer_sizes, self.dtype = made.layer_sizes, made.dtype
        self.loss_name, self.activation = made.loss.name, made.activation.name
        self.output_activation = made.output_activation.name
        self.l2 = made.l2
        for name, number in made.parameters:
            setattr(self, name, number)
        self.n_inputs, self.n_outputs = made.layer_sizes[0], made.layer_sizes[-1]
        self.n_parameters = made.n_parameters
        self._plans: dict = {}
        self._path = FastPath(quick_step, shared_step)  # of loss_and_grad, by X's rows
        self._row_path = FastPath(quick_rows, shared_rows)  # of what is of each row
        self._vjp_path = FastPath(quick_vjp, shared_vjp)
        self._made = True

    # Plans and compiled calls hold what the network was made with, so that stays as it is. Not by
    # properties: a step reads plain attributes.
    def __setattr__(self, name: str, value: object) -> None:
        if self._made and not name.startswith("_"):
            raise AttributeError(self._refusal(name))
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if not name.startswith("_"):
            raise AttributeError(self._refusal(name))
        object.__delattr__(self, name)

    def _refusal(self, name: str) -> str:
        if not hasattr(self, name):
            return f"an MLP has no attribute {name!r}, and takes no new ones"
        return f"{name} of an MLP is read-only; make another network, as MLP(...) with your {name}"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def __repr__(self) -> str:
        parts = [str(list(self.layer_sizes)), f"loss={self.loss_name!r}"]
        if self.activation != "relu":
            parts.append(f"activation={self.activation!r}")
        if self.output_activation != "identity":
            parts.append(f"output_activation={self.output_activation!r}")
        parts.append(f"dtype={self.dtype.name!r}")
        if self.l2:
            parts.append(f"l2={self.l2}")
        if self._loss.parameter:
            name = self._loss.parameter.name
            parts.append(f"{name}={getattr(self, name)}")
        return f"MLP({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.spec.settings())

    # parameters

    def init(self, seed: Seed = None, method: InitName = "he") -> NDArray[D]:
        """Initial parameters: random weights, zero biases.

        Parameters
        ----------
        seed : None, int, numpy.random.SeedSequence or numpy.random.Generator
            As for `numpy.random.default_rng`; an integer repeats the same parameters.
        method : {"he", "glorot"}
            "he": normal with variance 2/d before a ReLU, which halves it, and 1/d in an identity
            output layer (He et al., *Delving Deep into Rectifiers*, arXiv 1502.01852, section 2.2);
            before other activations that of their row in `fastgrad.activations`.
            "glorot": uniform within sqrt(6/(d + k)) (Glorot and Bengio, *Understanding the
            difficulty of training deep feedforward neural networks*, 2010, equation 16): smaller
            outputs at the start, which suits wide layers before few outputs.

        Returns
        -------
        theta : ndarray (p,) of `dtype`

        Raises
        ------
        TypeError, ValueError
            If the seed or the method is not one of these.

        Examples
        --------
        >>> import fastgrad as fg
        >>> fg.MLP([3, 4, 1]).init(seed=0).shape
        (21,)
        """
        if method not in ("he", "glorot"):
            raise ValueError(f"method is {method!r}; expected 'he' or 'glorot'")
        rng = check.generator(seed, "seed")
        theta = empty_vector(self.n_parameters, self.dtype)
        theta[:] = 0.0
        layers = self.unflatten(theta)
        for index, (W, _) in enumerate(layers):
            d, k = W.shape
            if method == "glorot":
                bound = np.sqrt(6.0 / (d + k))
                W[...] = rng.uniform(-bound, bound, W.shape)
                continue
            is_last = index == len(layers) - 1
            after = self.spec.output_activation if is_last else self.spec.activation
            W[...] = np.sqrt(after.variance / d) * rng.standard_normal(W.shape)
        return theta

    def unflatten(self, theta: NDArray[T]) -> list[tuple[NDArray[T], NDArray[T]]]:
        """The layers [(W, b), ...] as views of theta: writing to one writes to theta.

        Parameters
        ----------
        theta : ndarray (p,)
            Any dtype; a gradient unflattens the same way.

        Raises
        ------
        ValueError
            If theta is not a one-dimensional array of p elements.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP([3, 4, 1])
        >>> [(W.shape, b.shape) for W, b in net.unflatten(net.init(seed=0))]
        [((3, 4), (4,)), ((4, 1), (1,))]
        """
        if not isinstance(theta, np.ndarray):
            raise TypeError(f"theta is a {type(theta).__name__}; expected a NumPy array")
        if theta.shape != (self.n_parameters,):
            raise ValueError(f"theta has shape {theta.shape}; expected ({self.n_parameters},)")
        layers, start = [], 0
        for d, k in zip(self.layer_sizes, self.layer_sizes[1:]):
            stop = start + d * k
            layers.append((theta[start:stop].reshape(d, k), theta[stop : stop + k]))
            start = stop + k
        return layers

    def flatten(self, layers: Iterable[tuple[ArrayOf[D], ArrayOf[D]]]) -> NDArray[D]:
        """[(W, b), ...] copied to a new flat vector: the way back from `unflatten`.

        Parameters
        ----------
        layers : sequence of (W (d, k), b (k,))

        Returns
        -------
        theta : ndarray (p,) of `dtype`

        Raises
        ------
        TypeError, ValueError
            If the number of layers, a shape or a dtype differs from the network's.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([3, 4, 1])
        >>> theta = net.init(seed=0)
        >>> np.array_equal(net.flatten(net.unflatten(theta)), theta)
        True
        """
        layers = list(layers)
        theta = np.empty(self.n_parameters, self.dtype)
        views = self.unflatten(theta)
        if len(layers) != len(views):
            raise ValueError(f"layers has {len(layers)} pairs (W, b); expected {len(views)}")
        for i, (layer, view) in enumerate(zip(layers, views)):
            try:
                W, b = layer
            except (TypeError, ValueError):
                raise ValueError(f"layers[{i}] is {layer!r}; expected a pair (W, b)") from None
            for name, value, target in (("W", W, view[0]), ("b", b, view[1])):
                name = f"{name} of layers[{i}]"
                array = check.float_array(value, name, self.dtype, target.ndim)
                if array.shape != target.shape:
                    raise ValueError(f"{name} has shape {array.shape}; expected {target.shape}")
                target[...] = array
        return theta

    # what every method does

    def _plan(self, n: int, want: int, weighted: bool, sparse: bool = False):
        plan = self._plans.get((n, want, weighted, sparse))
        if plan is not None:
            return plan
        if len(self._plans) >= 32:
            self._plans.clear()
            for path in (self._path, self._row_path, self._vjp_path):
                path.plans.clear()
        plan = network_plan(self.spec, n, want, weighted, sparse)
        self._plans[n, want, weighted, sparse] = plan
        return plan

    def _inputs(self, theta, X, nonempty: bool, sparse: bool = True):
        """`sparse`: whether X may be."""
        theta = check.vector(theta, "theta", self.dtype, self.n_parameters, ": one flat vector")
        checked = check.inputs if sparse else check.matrix
        return theta, checked(X, "X", self.dtype, self.n_inputs, nonempty)

    def _run(self, want, theta, X, y, sample_weight, out, dx, threads):
        """Checked arrays to the loss; `out` and `dx` are written where they are not None."""
        plan = self._plan(len(X), at.LOSS | want, sample_weight is not None, type(X) is Csr)
        with bound_rows(plan, X) as rows:
            return run(plan, run_step, (theta, rows, y, sample_weight, out, dx), threads)

    def _open_fast_path(self, theta, X, y, grad):
        """After a call of this size was checked in Python: the next may take the fast path."""
        plan = self._plans.get((len(X), at.LOSS | at.GRADIENT, False, False))
        if plan is None:  # another thread made room for other sizes
            return
        given = [(theta, X, targets, grad) for targets in self._forms(y)]
        self._path.open(len(X), plan, *given)

    def _forms(self, y):
        """Checked targets as users pass them: (n, k), or (n,) too where k is 1."""
        forms = [y] if self._loss.labelled else [y.reshape(-1, self.n_outputs)]
        return [*forms, y] if self.n_outputs == 1 else forms

    def _checked(self, theta, X, y, sample_weight, sparse: bool = True):
        if not check.plain_step(theta, self.n_parameters, X, self.n_inputs, self.dtype):
            theta, X = self._inputs(theta, X, True, sparse)
        n = len(X)
        y = self._loss.targets(y, "y", self.dtype, n, self.n_outputs)
        if y.ndim != 1:
            y = y.ravel()
        if sample_weight is not None:
            sample_weight = check.weights(sample_weight, "sample_weight", self.dtype, n)
        return theta, X, y, sample_weight

    # outputs

    def predict(self, theta: ArrayOf[D], X: Rows, *, threads: int | None = None) -> NDArray[D]:
        """Outputs of the last layer: values for a regression, logits for "logistic" and
        "cross_entropy", logarithms of rates for "poisson".

        Parameters
        ----------
        theta : array (p,)
        X : array (n, d), or sparse
            0 rows are allowed.
        threads : int, optional
            The most threads of this call.

        Returns
        -------
        out : ndarray (n, k) of `dtype`
            A row's output has the same bits in any batch.

        Raises
        ------
        TypeError, ValueError
            If a dtype or a shape does not fit; the message names the argument.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([2, 8, 3])
        >>> net.predict(net.init(seed=0), np.zeros((5, 2))).shape
        (5, 3)
        """
        theta, X = self._inputs(theta, X, nonempty=False)
        out = np.empty((X.shape[0], self.n_outputs), self.dtype)
        if threads is not None:
            check_threads(threads)
        if X.shape[0]:
            plan = self._plan(len(X), at.OUTPUTS, False, type(X) is Csr)
            with bound_rows(plan, X) as rows:
                flops = 2 * self.n_parameters * X.shape[0]
                run_outputs(plan, run_forward, (theta, theta, rows, out, None), flops, threads)
        return out

    def predict_proba(
        self, theta: ArrayOf[D], X: Rows, *, threads: int | None = None
    ) -> NDArray[D]:
        """Probabilities: the softmax of the logits ("cross_entropy") or their sigmoid ("logistic").

        Parameters
        ----------
        theta : array (p,)
        X : array (n, d), or sparse
        threads : int, optional

        Returns
        -------
        proba : ndarray (n, k) of `dtype`
            Rows sum to 1 for "cross_entropy"; each entry stands alone for "logistic".

        Raises
        ------
        ValueError
            If the loss has no probabilities.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([2, 4], loss="cross_entropy")
        >>> net.predict_proba(np.zeros(net.n_parameters), np.ones((1, 2)))
        array([[0.25, 0.25, 0.25, 0.25]])
        """
        if not self._loss.takes_logits:
            raise ValueError(f"the loss {self.loss_name!r} has no probabilities; use predict")
        out = self.predict(theta, X, threads=threads)
        if out.size:
            probabilities(out, self._loss.link == "softmax")
        return out

    def classify(
        self, theta: ArrayOf[D], X: Rows, *, threads: int | None = None
    ) -> NDArray[np.int64]:
        """Class labels: the largest logit ("cross_entropy"), or logit > 0 ("logistic").

        Parameters
        ----------
        theta : array (p,)
        X : array (n, d), or sparse
        threads : int, optional

        Returns
        -------
        labels : ndarray of int64
            (n,) for "cross_entropy" and for "logistic" with one output, else (n, k) of 0 and 1.

        Raises
        ------
        ValueError
            If the loss is not one of these two, or a row has an output that is NaN.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([2, 3], loss="cross_entropy")
        >>> net.classify(net.init(seed=0), np.ones((4, 2))).shape
        (4,)
        """
        if not self._loss.takes_logits:
            raise ValueError(f"the loss {self.loss_name!r} has no classes; use predict")
        out = self.predict(theta, X, threads=threads)
        unknown = np.isnan(out).any(axis=1)
        if unknown.any():
            raise ValueError(f"the outputs of row {unknown.argmax()} of X are NaN: it has no class")
        if self._loss.labelled:
            return out.argmax(axis=1)
        labels = (out > 0).astype(np.int64)
        return labels[:, 0] if self.n_outputs == 1 else labels

    # loss and gradients

    def loss(
        self,
        theta: ArrayOf[D],
        X: Rows,
        y: Numbers,
        sample_weight: Numbers | None = None,
        *,
        threads: int | None = None,
    ) -> float:
        """The loss alone; parameters and errors as for `loss_and_grad`, and the same bits.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([2, 1], loss="mse")
        >>> net.loss(np.zeros(3), np.ones((4, 2)), np.full(4, 3.0))
        9.0
        """
        theta, X, y, sample_weight = self._checked(theta, X, y, sample_weight)
        return self._run(0, theta, X, y, sample_weight, None, None, threads)

    def loss_and_grad(
        self,
        theta: ArrayOf[D],
        X: Rows,
        y: Numbers,
        sample_weight: Numbers | None = None,
        *,
        out: NDArray[D] | None = None,
        threads: int | None = None,
    ) -> tuple[float, NDArray[D]]:
        """The loss and its gradient with respect to all parameters, in one pass over X.

        Parameters
        ----------
        theta : array (p,)
            Parameters, of the network's dtype.
        X : array (n, d), or sparse
            Inputs, n >= 1; any layout (C order needs no copy). CSR of `scipy.sparse`, matrix or
            array, in any order, with duplicates (which add up) and explicit zeros, is read where
            it is: Z = sum over stored entries of x_ij W_j, and dW beyond the columns that occur is
            l2's alone (formula 38). Entries that are not stored are not multiplied, so NaN in
            their weights stays there.
        y : array
            (n, k) values, or (n,) for k = 1 ("logistic": labels 0/1 or probabilities; "poisson":
            0 or more); (n,) integer labels 0 to k-1 ("cross_entropy").
        sample_weight : array (n,), optional
            Not negative, not all zero.
        out : ndarray (p,), optional
            Where to write the gradient: same dtype, contiguous, disjoint from the inputs.
            Overwritten, never added to. Without it a fresh array is returned.
        threads : int, optional
            The most threads of this call; the bits do not depend on it.

        Returns
        -------
        loss : float
            Normalised as the class says.
        grad : ndarray (p,)
            In the order of theta; `unflatten` gives it layer by layer.

        Raises
        ------
        TypeError, ValueError
            If a dtype, a shape or a label does not fit: the message names the argument, and nothing
            has been written.

        Notes
        -----
        Formulas 18 to 20, 23 and 24. As `scipy.optimize.minimize(net.loss_and_grad, theta,
        args=(X, y), jac=True)` for a float64 network.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="mse")
        >>> net.loss_and_grad(np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0]))
        (6.5, array([-3.,  1.]))
        """
        plain = type(theta) is type(X) is type(y) is _ndarray
        plain = plain and (out is None or type(out) is _ndarray)
        if plain and sample_weight is threads is None:
            grad = _empty(self.n_parameters, self.dtype) if out is None else out
            try:
                rows = len(X)  # 50 ns less than its shape
            except TypeError:  # it has none
                rows = -1
            loss = self._path.call(rows, theta, X, y, grad)
            if loss is not None:
                return loss, grad
        given = (theta, X, y, sample_weight)
        theta, X, y, sample_weight = self._checked(*given)
        if out is None:
            out = np.empty(self.n_parameters, self.dtype)
        else:  # what the user passed, of which a copy may have been made
            check.output(
                out, "out", theta.shape, self.dtype,
                *zip(given, ("theta", "X", "y", "sample_weight")),
                (theta, "theta"), *named_arrays(X), (y, "y"), (sample_weight, "sample_weight"),
            )  # fmt: skip
        loss = self._run(at.GRADIENT, theta, X, y, sample_weight, out, None, threads)
        if sample_weight is None and threads is None and type(X) is _ndarray:
            self._open_fast_path(theta, X, y, out)
        return loss, out

    def grad_input(
        self,
        theta: ArrayOf[D],
        X: Numbers,
        y: Numbers,
        sample_weight: Numbers | None = None,
        *,
        threads: int | None = None,
    ) -> NDArray[D]:
        """The gradient of the loss with respect to X, (n, d); parameters as for `loss_and_grad`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgrad as fg
        >>> net = fg.MLP([1, 1], loss="mse")
        >>> net.grad_input(np.array([2.0, 1.0]), np.array([[1.0], [3.0]]), np.array([0.0, 9.0]))
        array([[ 6.],
               [-4.]])
        """
        if check.is_sparse(X):
            raise TypeError("X is sparse, but its gradient is not: use X.toarray()")
        theta, X, y, sample_weight = self._checked(theta, X, y, sample_weight, sparse=False)
        dx = np.empty(X.shape, self.dtype)
        self._run(at.INPUT_GRADIENT, theta, X, y, sample_weight, None, dx, threads)
        return dx


def _restored(kind, settings: dict) -> MLP:
    net = kind.__new__(kind)
    net._set(spec.network(**settings))
    return net
