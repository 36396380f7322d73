"""Trained models in files: what was saved is what is loaded, from Python and from the shell."""

import json

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import __main__ as entry
from fastgrad._core import files
from fastgrad.models import Model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def network(loss="mse", sizes=(3, 4, 2), **options):
    net = fg.MLP(sizes, loss=loss, **options)
    return net, net.init(seed=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_regression_in_the_units_of_its_data(path, rng, dtype):
    net, theta = network(dtype=dtype, l2=0.1)
    X = rng.random((5, 3))
    mean, scale, target_scale = rng.random(3), 1 + rng.random(3), np.array([10.0, 100.0])
    fg.save_model(path, net, theta, mean=mean, scale=scale, target_mean=7, features=list("abc"),
                  target_scale=target_scale, target="price", summary={"rows": 5})  # fmt: skip
    model = fg.load_model(path)
    assert model.net == net and model.theta.tobytes() == theta.tobytes()
    assert (model.features, model.target, model.summary) == (list("abc"), "price", {"rows": 5})
    assert model.task == "regression" and model.classes is None
    want = net.predict(theta, ((X - mean) / scale).astype(dtype)) * target_scale + 7
    np.testing.assert_array_equal(model.predict(X), want)
    with pytest.raises(ValueError, match="no classes"):
        model.classify(X)


@pytest.mark.parametrize("names", [["b", "a", "c"], [5, 3, 9], np.array([0.5, 1.5, -1.0]), None])
def test_classes_by_name(path, rng, names):
    net, theta = network("cross_entropy", (3, 3))
    X = rng.integers(0, 200, (9, 3)).astype(np.uint8)
    fg.save_model(path, net, theta, scale=16, classes=names)
    model = fg.load_model(path)
    want = np.array(range(3) if names is None else names)[net.classify(theta, X / 16)]
    np.testing.assert_array_equal(model.classify(X), want)
    np.testing.assert_array_equal(model.predict_proba(X), net.predict_proba(theta, X / 16))


def test_logistic(path, rng):
    X = rng.standard_normal((9, 3))
    net, theta = network("logistic", (3, 1))
    fg.save_model(path, net, theta, classes=["no", "yes"])
    model = fg.load_model(path)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (model.classify(X) == np.where(p[:, 1] > 0.5, "yes", "no")).all()
    net, theta = network("logistic", (3, 2))
    fg.save_model(path, net, theta, overwrite=True)
    assert fg.load_model(path).classify(X).shape == (9, 2)


def test_the_command_line_reads_what_python_wrote_and_the_other_way(path, rng, capsys):
    X = rng.standard_normal((20, 3))
    names = np.array(["b", "a", "c"])[X.argmax(axis=1)]
    table = path.with_name("t.csv")
    table.write_text("x,y,z,kind\n" + "".join(f"{r[0]},{r[1]},{r[2]},{k}\n"
                                             for r, k in zip(X.tolist(), names)))  # fmt: skip
    net = fg.MLP([3, 3], loss="cross_entropy")
    theta = net.flatten([(np.eye(3), np.zeros(3))])
    fg.save_model(path, net, theta, features=["x", "y", "z"], classes=["b", "a", "c"])
    assert entry.main(["predict", str(path), str(table)]) == 0
    assert capsys.readouterr().out.split()[1:] == names.tolist()
    assert entry.main(["check", str(path), str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    other = path.with_name("other.npz")
    arguments = ["train", str(table), "--epochs", "2", "--json", "-o", str(other)]
    assert entry.main(arguments) == 0
    model = fg.load_model(other)
    assert entry.main(["predict", str(other), str(table)]) == 0
    found = capsys.readouterr().out.splitlines()[2:]
    assert found == model.classify(X).tolist() and model.target == "kind"


def test_many_targets_from_python_and_the_shell(path, capsys):
    net, theta = network()
    with pytest.raises(ValueError, match="target has 1 names; expected 2"):
        fg.save_model(path, net, theta, target=["u"])
    fg.save_model(path, net, theta, target=["u", "v"], target_scale=[1, 10])
    table = path.with_name("t.npy")
    np.save(table, np.eye(3))
    assert entry.main(["predict", str(path), str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prediction_u,prediction_v"
    found = [list(map(float, line.split(","))) for line in lines[1:]]
    np.testing.assert_array_equal(found, fg.load_model(path).predict(np.eye(3)))


def test_nothing_is_overwritten_unasked(path):
    net, theta = network()
    fg.save_model(path, net, theta)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"path .*model\.npz exists; pass overwrite=True"):
        fg.save_model(path, net, theta + 1)
    assert path.read_bytes() == before
    fg.save_model(path, net, theta + 1, overwrite=True)
    np.testing.assert_array_equal(fg.load_model(path).theta, theta + 1)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"net": "mlp"}, TypeError, "net is a str"),
        ({"theta": np.zeros(3)}, ValueError, r"theta has shape \(3,\)"),
        ({"theta": np.zeros(26, "f4")}, TypeError, "theta has dtype float32"),
        ({"theta": np.full(26, np.nan)}, ValueError, "theta has the value nan at position 0"),
        ({"mean": np.zeros(2)}, ValueError, r"mean has shape \(2,\); expected one number or \(3"),
        ({"mean": "a"}, TypeError, "mean has dtype <U1"),
        ({"scale": 0}, ValueError, r"scale has the value 0\.0; expected numbers above 0"),
        ({"scale": np.inf}, ValueError, "scale has the value inf"),
        ({"target_mean": np.zeros(3)}, ValueError, r"target_mean has shape \(3,\)"),
        ({"features": "abc"}, TypeError, "features is 'abc'"),
        ({"features": ["a"]}, ValueError, "features has 1 names; expected 3"),
        ({"target": 3}, TypeError, "target is 3"),
        ({"classes": ["a", "b"]}, ValueError, "classes are for one classification"),
        ({"summary": {"a": np.ones(2)}}, TypeError, "summary cannot be written as JSON"),
        ({"path": "no/model.npz"}, ValueError, "path no/model.npz: no folder no"),
    ],
)
def test_errors_name_the_argument(path, changes, error, words):
    net, theta = network()
    arguments = {"path": path, "net": net, "theta": theta, **changes}
    with pytest.raises(error, match=words):
        fg.save_model(**arguments)
    assert not path.exists()


@pytest.mark.parametrize(
    ("classes", "error", "words"),
    [
        (["a", "b"], ValueError, r"classes is \['a', 'b'\]; expected 3 that are all different"),
        (["a", "b", "a"], ValueError, "all different"),
        ([[1, 2, 3]], TypeError, "expected names, or numbers, one for each class"),
        ("abc", TypeError, "classes is 'abc'"),
    ],
)
def test_classes_that_do_not_fit(path, classes, error, words):
    with pytest.raises(error, match=words):
        fg.save_model(path, *network("cross_entropy", (3, 3)), classes=classes)
    with pytest.raises(ValueError, match="target_mean is for a regression"):
        fg.save_model(path, *network("cross_entropy", (3, 3)), target_mean=1)


def test_files_that_are_no_models(path):
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(ValueError, match=r"model\.npz is not a fastgrad model, or it is damaged"):
        fg.load_model(path)
    path.unlink()
    fg.fit(fg.MLP([1, 1]), np.ones((4, 1)), np.ones(4), epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"it is a 'checkpoint': read it with fastgrad\.load_ch"):
        fg.load_model(path)
    net, theta = network()
    Model(net, theta).save(path, overwrite=True)
    header, arrays = files.read(path, "model")
    del header["kind"], header["version"]
    for change in ({"theta": theta[1:]}, {"scale": np.zeros(3)}, {"mean": np.zeros(4)}):
        files.write(path, "model", header, {**arrays, **change})
        with pytest.raises(ValueError, match=r"model\.npz is a damaged fastgrad model"):
            fg.load_model(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row29_a_poisson_model_predicts_rates_and_evaluate_agrees(path, rng, dtype):
    net, theta = network("poisson", dtype=dtype)
    X = rng.random((40, 3))
    y = rng.poisson(np.exp(X[:, :2])).astype(dtype)
    fg.save_model(path, net, theta, mean=0.5, scale=2.0, target=["deaths", "births"])
    model = fg.load_model(path)
    Z = model.inputs(X)
    rates = model.predict(X)
    assert model.task == "regression" and rates.dtype == np.float64
    np.testing.assert_array_equal(rates, np.exp(net.predict(theta, Z).astype(np.float64)))
    scores = fg.evaluate(net, theta, Z, y)
    left, about = ((rates - y) ** 2).sum(axis=0), ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert scores.score == pytest.approx((1 - left / about).mean(), rel=1e-6)
    theta[-1] = 1e4
    with pytest.raises(ValueError, match="row 0: the prediction is inf; expected a finite one"):
        Model(net, theta).predict(X)
    for name in ("target_mean", "target_scale"):
        with pytest.raises(ValueError, match=f"{name} is for a regression whose outputs are targ"):
            Model(net, theta, **{name: 2.0})


@pytest.mark.parametrize("loss", ["mse", "poisson", "cross_entropy"])
def test_an_ensemble_in_a_file(path, rng, loss):
    net = fg.MLP([3, 4, 2], loss)
    thetas, X = fg.stack.init(net, range(5)), rng.standard_normal((9, 3))
    scale = {"target_scale": 10.0} if loss == "mse" else {}
    fg.save_model(path, net, thetas, mean=0.5, **scale)
    model = fg.load_model(path)
    assert model.theta.tobytes() == thetas.tobytes() and model.theta.shape == thetas.shape
    alone = [Model(net, theta, mean=0.5, **scale) for theta in thetas]
    if loss == "cross_entropy":
        wanted = np.mean([one.predict_proba(X) for one in alone], axis=0)
        np.testing.assert_allclose(model.predict_proba(X), wanted, rtol=1e-12)
        assert model.classify(X).tolist() == wanted.argmax(axis=1).tolist()
    else:
        wanted = np.mean([one.predict(X) for one in alone], axis=0)
        np.testing.assert_allclose(model.predict(X), wanted, rtol=1e-12)
    for wrong in (thetas[:0], thetas[:, 1:], thetas.astype("f4")):
        with pytest.raises((TypeError, ValueError), match="theta "):
            fg.save_model(path, net, wrong, overwrite=True)


def test_a_damaged_number_of_networks_is_named(path):
    net = fg.MLP([3, 4, 2])
    fg.save_model(path, net, fg.stack.init(net, range(5)))
    header, arrays = files.read(path, "model")
    header = {key: value for key, value in header.items() if key not in ("kind", "version")}
    for wrong, words in ((0, "networks is 0"), (4, "theta has shape"), (None, "networks is None")):
        files.write(path, "model", {**header, "networks": wrong}, arrays)
        with pytest.raises(ValueError, match=rf"model\.npz is a damaged fastgrad model: {words}"):
            fg.load_model(path)
