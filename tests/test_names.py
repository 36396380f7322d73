"""Names and how things are shown: what `dir` lists, what a console and a notebook print."""

import ast
import importlib
import pkgutil
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import fastgrad as fg
from fastgrad.interop import numba as fgn

GUESTS = {"jax": "jax", "scipy": "scipy", "sklearn": "sklearn", "torch": "torch", "numba": "numba",
          "dask": "distributed"}  # fmt: skip
MODULES = [
    "fastgrad",
    *(
        f"fastgrad.{module.name}" for module in pkgutil.iter_modules(fg.__path__)
        if not module.name.startswith("_") and module.name not in ("interop", "kernels")
    ),
    *(f"fastgrad.interop.{guest}" for guest in GUESTS),
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_its_public_names_alone(name):
    guest = name.removeprefix("fastgrad.interop.")
    if guest in GUESTS:
        pytest.importorskip(GUESTS[guest])
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None
        assert not public.startswith("_") or public == "__version__"


def test_a_checker_knows_every_name_of_the_package():
    """Names that are imported when they are first needed stand in a block for checkers too."""
    names = set()
    for node in ast.walk(ast.parse(Path(fg.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    assert set(fg.__all__) <= names


def test_what_is_not_public_is_no_attribute_of_the_package():
    for name in ("split", "Optimiser"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(fg, name)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Things that results are made of, by name."""
    net, path = fg.MLP([3, 4, 1]), tmp_path_factory.mktemp("shown")
    X = np.random.default_rng(0).standard_normal((40, 3))
    y = X[:, 0]
    result = fg.fit(net, X, y, epochs=3, seed=0, progress=False, validation=(X, y),
                    checkpoint=path / "c.npz")  # fmt: skip
    many = fg.fit_many(net, X, y, seeds=range(2), folds=2, epochs=1, progress=False)
    fg.save_model(path / "m.npz", net, result.theta, target="price")
    formula = fg.explain.formula(16)
    return {
        "result": result, "history": result.history, "many": many, "setting": many.settings[0],
        "model": fg.load_model(path / "m.npz"), "net": net, "optimizer": result.optimizer,
        "checkpoint": fg.load_checkpoint(path / "c.npz"), "norms": fg.GradientNorms(net, X, y),
        "scaling": fg.datasets.standardize(fg.datasets.load_digits().X)[1],
        "explanation": repr(formula), "steps": formula.steps, "values": formula.steps[0].values,
        "handle": fgn.network(net, 8), "step": fgn.optimizer(fg.Adam(), net),
        "data": fg.datasets.load_digits(), "order": fg.NewtonCG(),
        "check": fg.check_gradient((lambda t: t @ t, lambda t: 2 * t), np.ones(50)),
    }  # fmt: skip


def test_everything_is_shown_in_a_few_lines(fitted):
    for name, thing in fitted.items():
        shown = repr(thing)
        assert len(shown.splitlines()) <= 4 and len(shown) < 500, name
        assert "array(" not in shown and " at 0x" not in shown, name
    assert repr(fitted["result"]).startswith("FitResult(3 epochs in ")
    assert "theta (21,) float64" in repr(fitted["result"]) and "val_r2" in repr(fitted["result"])
    assert repr(fitted["many"]).startswith(
        "FitResults(4 fits: 1 optimizers, 1 l2, 2 seeds, 2 folds; last loss "
    )
    assert repr(fitted["model"]).endswith("regression of 'price' from 3 columns)")


def test_the_guests_objects_are_shown_in_a_line(fitted):
    pytest.importorskip("scipy")
    from fastgrad.interop.scipy import LeastSquares, objective

    net, X = fitted["net"], np.ones((4, 3))
    shown = repr(fitted["net"])
    assert repr(objective(net, X, X[:, 0])) == f"Objective({shown}, X (4, 3), kind='hessian')"
    assert repr(LeastSquares(net, X, X[:, 0])) == f"LeastSquares({shown}, X (4, 3))"
    assert repr(fitted["handle"]).startswith(f"Network({shown}, n=8, copies=")


def pictures(html):
    found = re.findall(r"<svg.*?</svg>", html)
    return [ElementTree.fromstring(picture) for picture in found]


def points(picture, tag="polyline"):
    lines = picture.iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    if tag == "circle":
        return [tuple(float(line.get(at)) for at in ("cx", "cy")) for line in lines]
    return [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines]


def test_a_notebook_shows_the_history_as_lines(fitted):
    loss, score = pictures(fitted["history"]._repr_html_())
    assert [len(line) for line in points(loss)] == [3, 3] and len(points(score)) == 1
    (first, *_, last), _ = points(loss)
    assert first[0] < last[0] and first[1] < last[1]  # to the right, and down: y counts from above
    assert "validation R²" in score.get("aria-label")
    assert len(pictures(fitted["result"]._repr_html_())) == 2
    assert "&lt;" in fg.History({"<b>": [1.0]})._repr_html_()


@pytest.mark.parametrize(
    ("losses", "lines", "dots"),
    [
        ([0.5], 0, 1),
        ([np.nan] * 3, 0, 0),
        ([3.0, 2.0, np.nan, 1.0, np.inf, 1.0, 0.5], 2, 1),
        ([1e308, -1e308], 1, 0),
        ([1e-310, 2e-310], 1, 0),
        ([2.0, 2.0], 1, 0),
    ],
)
def test_any_history_can_be_shown(losses, lines, dots):
    (picture,) = pictures(fg.History({"loss": losses})._repr_html_())
    drawn = [p for line in points(picture) for p in line] + points(picture, "circle")
    assert (len(points(picture)), len(points(picture, "circle"))) == (lines, dots)
    assert all(0 <= x <= 360 and 0 <= y <= 230 for x, y in drawn)
    assert fg.History({"loss": []})._repr_html_().startswith("<code>History(0 epochs")
