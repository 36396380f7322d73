"""scikit-learn estimators: `ReLURegressor`, `FastMLPClassifier`, `FastMLPRegressor`.

The two networks take the parameters of scikit-learn's `MLPClassifier` and `MLPRegressor` and mean
the same by them: `alpha` is divided by the number of samples of a batch, the squared loss has a
1/2. Data are checked and converted at the door (`mlp.py`); epochs run in compiled code
(`fastgrad.fit`), and what scikit-learn does between them is in `watch.py`.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError(
        'fastgrad.interop.sklearn needs scikit-learn: pip install "fastgrad[sklearn]"'
    ) from None

from ..._core.names import list_public
from .classifier import FastMLPClassifier
from .neuron import ReLURegressor
from .regressor import FastMLPRegressor

__all__ = ["FastMLPClassifier", "FastMLPRegressor", "ReLURegressor"]
list_public(globals())
