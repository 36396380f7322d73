"""The command line: what it writes, its errors in one line, its exit codes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import __main__ as entry
from fastgrad._cli import inputs as models
from fastgrad._cli import train


def flowers(path, rows=60, header=True, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, 3))
    kinds = np.where(X[:, 0] > 0, "rose", np.where(X[:, 1] > 0, "tulip", "aster"))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["a", "b", "c", "kind"])
        writer.writerows([*row, kind] for row, kind in zip(X.round(6), kinds))
    return X, kinds


def prices(path, rows=80):
    X = np.random.default_rng(1).standard_normal((rows, 3))
    y = 100 + 20 * X[:, 0] - 7 * X[:, 2]
    with open(path, "w") as file:
        file.write("price,a,b,c\n")
        file.writelines(f"{t},{r[0]},{r[1]},{r[2]}\n" for t, r in zip(y.tolist(), X.tolist()))
    return X, y


def rows_of(path_or_text):
    text = path_or_text if isinstance(path_or_text, str) else path_or_text.read_text()
    return list(csv.DictReader(text.splitlines()))


def test_train_digits_reaches_97_percent(cli, folder):
    code, out, err = cli("train", "digits", "--json")
    summary = json.loads(out)
    assert code == 0 and err == ""
    assert summary["val_accuracy"] >= 0.97
    assert summary["network"]["layer_sizes"] == [64, 128, 10]
    assert sorted(os.listdir(folder)) == ["digits-model.history.csv", "digits-model.npz"]
    again = json.loads(cli("train", "digits", "--json")[1])
    assert again["saved"]["model"] == "digits-model-2.npz"
    for name in ("val_loss", "train_loss", "val_accuracy"):
        assert again[name] == summary[name]
    assert models.load("digits-model.npz").theta.tobytes() == (
        models.load("digits-model-2.npz").theta.tobytes()
    )


def test_train_shows_progress_loss_and_accuracy(cli):
    code, out, err = cli("train", "digits", "--epochs", 20)
    assert code == 0
    assert "1438 rows to train on, 359 held out; network 64-128-10" in err
    assert "epoch 20/20: loss" in err and "val accuracy" in err
    assert "validation: loss" in out and "accuracy 9" in out and "digits-model.npz" in out
    assert cli("train", "digits", "--epochs", 2, "--quiet")[2].count("\n") == 1


def test_train_diamonds(cli):
    code, out, _ = cli("train", "diamonds", "--epochs", 2, "--batch-size", 128, "--json")
    summary = json.loads(out)
    assert code == 0 and summary["task"] == "regression"
    assert summary["val_r2"] > 0.95 and 300 < summary["val_rmse"] < 900


def test_text_classes_from_csv_to_predictions(cli, folder):
    X, kinds = flowers(folder / "f.csv")
    code, out, _ = cli("train", "f.csv", "--layers", "16,8", "--epochs", 200, "--lr", 0.01,
                       "--json", "-o", "m.npz")  # fmt: skip
    summary = json.loads(out)
    assert code == 0 and summary["task"] == "classification" and summary["target"] == "kind"
    code, out, _ = cli("predict", "m.npz", "f.csv", "--proba")
    found = rows_of(out)
    assert code == 0 and len(found) == 60
    assert np.mean([row["prediction"] == kind for row, kind in zip(found, kinds)]) > 0.9
    p = np.array([[float(row[f"p_{k}"]) for k in ("aster", "rose", "tulip")] for row in found])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    history = rows_of(folder / "m.history.csv")
    assert len(history) == 200 and set(history[0]) >= {"epoch", "loss", "val_accuracy"}
    with open(folder / "g.csv", "w") as file:  # other order, more columns, no target
        file.write("c,extra,b,a\n")
        file.writelines(f"{r[2]},7,{r[1]},{r[0]}\n" for r in X.round(6).tolist())
    assert rows_of(cli("predict", "m.npz", "g.csv", "--proba")[1]) == found


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenbergmarquardt", "newtoncg"])
def test_regression_in_the_units_of_the_target(cli, folder, optimizer):
    _, y = prices(folder / "p.csv")
    code, out, _ = cli("train", "p.csv", "--target", "price", "--layers", "none", "--optimizer",
                       optimizer, "--epochs", 50, "--json", "--dtype", "float64")  # fmt: skip
    summary = json.loads(out)
    assert summary["optimizer"] == optimizer
    assert code == 0 and summary["val_r2"] > 0.999 and summary["val_rmse"] < 0.1
    code, out, _ = cli("predict", "p-model.npz", "p.csv", "-o", "out.csv", "--json")
    assert json.loads(out) == {"predictions": "out.csv", "rows": 80}
    found = [float(row["prediction"]) for row in rows_of(folder / "out.csv")]
    np.testing.assert_allclose(found, y, atol=0.1)


def counts(path, rows=300):
    X = np.random.default_rng(2).uniform(-1, 1, (rows, 2)).round(4)
    rates = np.exp(1 + X[:, 0])
    y = np.random.default_rng(3).poisson(rates)
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header="a,b,calls", comments="")
    return X, y, rates


def test_row29_a_poisson_model_predicts_rates(cli, folder):
    X, y, rates = counts(folder / "c.csv")
    poisson = ["train", "c.csv", "--task", "regression", "--loss", "poisson"]
    options = ["--layers", 8, "--activation", "tanh", "--lr", 0.01, "--json", "-o", "m.npz"]
    code, out, _ = cli(*poisson, *options)
    summary, model = json.loads(out), fg.load_model("m.npz")
    assert code == 0 and summary["network"]["loss"] == "poisson"
    assert summary["network"]["activation"] == "tanh"
    assert model.target_mean == 0 and model.target_scale == 1
    found = model.predict(X)[:, 0]
    assert (found > 0).all() and np.abs(found / rates - 1).mean() < 0.15
    _, out, _ = cli("predict", "m.npz", "c.csv", "--json")
    np.testing.assert_array_equal(json.loads(out)["prediction"], found)
    _, out, _ = cli("evaluate", "m.npz", "c.csv", "--json")
    scores = json.loads(out)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((found - y) ** 2)), rel=1e-9)
    assert scores["mae"] == pytest.approx(np.abs(found - y).mean(), rel=1e-9)
    assert scores["r2"] == pytest.approx(1 - np.sum((found - y) ** 2) / y.var() / len(y), rel=1e-6)
    # Both parts' errors together are those of all rows.
    squares = summary["rows"] * summary["train_rmse"] ** 2 + 60 * summary["val_rmse"] ** 2
    assert squares == pytest.approx(np.sum((found - y) ** 2), rel=1e-9)
    assert cli("check", "m.npz", "c.csv")[0] == 0
    (folder / "c.csv").write_text("a,b,calls\n" + "1,2,3\n1,2,-1\n0,1,4\n" * 5)
    for args in (poisson, ["evaluate", "m.npz", "c.csv"]):
        code, out, err = cli(*args)
        assert code == 2 and out == "" and err.count("\n") == 1
        assert "row 2, column calls: -1.0; expected 0 or more for the loss poisson" in err


@pytest.mark.parametrize("loss", ["quantile", "absolute_error"])
def test_row29_quantiles_in_the_units_of_the_target(cli, folder, loss):
    X = np.random.default_rng(2).uniform(-1, 1, (400, 1)).round(4)
    y = 1000 + 50 * np.random.default_rng(3).exponential(size=400)
    np.savetxt(folder / "t.csv", np.column_stack([X, y]), delimiter=",", header="a,t", comments="")
    level = ["--quantile", "0.9"] if loss == "quantile" else []
    code, _, _ = cli("train", "t.csv", "--loss", loss, *level, "--layers", "none", "--lr", "0.01",
                     "--epochs", 100, "-o", "m.npz", "--quiet")  # fmt: skip
    model = fg.load_model("m.npz")
    assert code == 0 and model.net.quantile == (0.9 if level else 0.5)
    share = (y <= model.predict(X)[:, 0]).mean()
    assert share == pytest.approx(model.net.quantile, abs=0.04)


def test_no_standardize_and_logistic(cli, folder):
    X = np.random.default_rng(0).standard_normal((80, 2))
    np.savez(folder / "d.npz", X=X, y=(X[:, 0] > 0).astype(int))
    code, out, _ = cli("train", "d.npz", "--loss", "logistic", "--no-standardize", "--json",
                       "--optimizer", "nesterov", "--weight-decay", 0.001,
                       "--clip-norm", 5)  # fmt: skip
    summary = json.loads(out)
    assert code == 0 and summary["network"]["layer_sizes"] == [2, 128, 1]
    assert summary["val_accuracy"] > 0.8
    model = models.load("d-model.npz")
    assert (model.mean == 0).all() and (model.scale == 1).all()
    found = rows_of(cli("predict", "d-model.npz", "d.npz", "--proba")[1])
    assert set(found[0]) == {"prediction", "p_0", "p_1"}


@pytest.mark.parametrize("kind", ["npy", "npz", "npz one array", "parquet", "tsv", "csv no header"])
def test_other_kinds_of_files(cli, folder, kind):
    rng = np.random.default_rng(0)
    data = np.hstack([rng.standard_normal((30, 2)), rng.integers(0, 2, (30, 1))])
    name = f"t.{kind.split()[0]}"
    if kind == "npy":
        np.save(name, data)
    elif kind == "npz":
        np.savez(name, X=data[:, :2], y=data[:, 2])
    elif kind == "npz one array":
        np.savez(name, data=data)
    elif kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        columns = {"a": data[:, 0], "b": data[:, 1], "t": data[:, 2].astype(int)}
        pyarrow.parquet.write_table(pyarrow.table(columns), name)
    else:
        np.savetxt(name, data, delimiter="\t" if kind == "tsv" else ",")
    options = ["--no-header"] if kind in ("tsv", "csv no header") else []
    code, out, _ = cli("train", name, "--epochs", 2, "--json", "-o", "m.npz", *options)
    assert code == 0 and json.loads(out)["task"] == "classification"
    model = models.load("m.npz")
    mean = data[:, :2].mean(axis=0)
    np.testing.assert_allclose(model.mean, mean, atol=0.5)  # of the training rows
    found = rows_of(cli("predict", "m.npz", name, *options)[1])
    assert [row["prediction"] for row in found] == list(map(str, model.predict(data[:, :2])))
    if kind == "csv no header":
        np.savetxt("x.csv", data[:, [2, 0, 1]], delimiter=",")
        cli("train", "x.csv", "--epochs", 2, "--no-header", "--target", 0, "-o", "first.npz")
        np.testing.assert_allclose(models.load("first.npz").mean, model.mean)
        assert models.load("first.npz").target == "0"


def test_checked_gradient(cli):
    cli("train", "digits", "--epochs", 1, "-o", "m.npz")
    code, out, _ = cli("check", "m.npz", "digits", "--rows", 20)
    assert code == 0 and out.startswith("right on 20 rows")
    code, out, _ = cli("check", "m.npz", "digits", "--rows", 5, "--json")
    assert code == 0 and json.loads(out)["ok"] is True


def test_a_wrong_gradient_fails_the_check(cli, monkeypatch):
    cli("train", "digits", "--epochs", 1, "-o", "m.npz")
    right = fg.MLP.loss_and_grad

    def wrong(self, *args, **kwargs):
        loss, grad = right(self, *args, **kwargs)
        return loss, grad * 1.01

    monkeypatch.setattr(fg.MLP, "loss_and_grad", wrong)
    code, out, _ = cli("check", "m.npz", "digits", "--rows", 5, "--json")
    assert code == 1 and json.loads(out)["ok"] is False


def test_info(cli):
    code, out, _ = cli("info")
    assert code == 0 and "simd" in out and "threads" in out and "cache" in out
    assert set(json.loads(cli("info", "--json")[1])) >= {"cpu", "simd", "threads", "cache", "numba"}


def test_warmup(cli):
    code, out, _ = cli("warmup", "--dtypes", "float32", "--json")
    assert code == 0 and len(json.loads(out)["kernels"]) == 3


def test_nothing_is_overwritten_without_force(cli, folder):
    (folder / "m.npz").write_text("mine")
    code, _, err = cli("train", "digits", "--epochs", 1, "-o", "m.npz")
    assert code == 2 and "m.npz exists" in err and (folder / "m.npz").read_text() == "mine"
    assert cli("train", "digits", "--epochs", 1, "-o", "m.npz", "--force")[0] == 0
    (folder / "p.csv").write_text("mine")
    code, _, err = cli("predict", "m.npz", "digits", "-o", "p.csv")
    assert code == 2 and (folder / "p.csv").read_text() == "mine"
    assert cli("predict", "m.npz", "digits", "-o", "p.csv", "--force")[0] == 0
    (folder / "run.npz").write_text("mine")
    code, _, err = cli("train", "digits", "--checkpoint", "run.npz")
    assert code == 2 and "--resume" in err and (folder / "run.npz").read_text() == "mine"
    options = ["--epochs", 1, "--checkpoint", "run.npz", "-o", "m.npz", "--force"]
    for _ in range(2):
        assert cli("train", "digits", *options)[0] == 0
    assert fg.load_checkpoint("run.npz").run["epoch"] == 1


def test_a_file_that_appears_meanwhile_is_kept(cli, folder, monkeypatch):
    real = train.fit

    def slow(*args, **kwargs):
        (folder / "m.npz").write_text("somebody else's")
        return real(*args, **kwargs)

    monkeypatch.setattr(train, "fit", slow)
    code, out, _ = cli("train", "digits", "--epochs", 1, "-o", "m.npz", "--json")
    saved = json.loads(out)["saved"]["model"]
    assert code == 0 and saved != "m.npz" and models.load(saved).task == "classification"
    assert (folder / "m.npz").read_text() == "somebody else's"


def test_checkpoint_and_resume(cli):
    options = ["--json", "--validation", "0.1"]
    cli("train", "digits", "--epochs", 3, "--checkpoint", "run.npz", "-o", "a.npz", *options)
    code, out, _ = cli("train", "digits", "--epochs", 6, "--checkpoint", "run.npz", "--resume",
                       "-o", "b.npz", *options)  # fmt: skip
    assert code == 0 and json.loads(out)["epochs"] == 6
    cli("train", "digits", "--epochs", 6, "-o", "c.npz", *options)
    assert models.load("b.npz").theta.tobytes() == models.load("c.npz").theta.tobytes()


def test_plot(cli, folder):
    code, *_ = cli("train", "digits", "--epochs", 2, "-o", "m.npz", "--plot")
    assert code == 0 and (folder / "m.png").read_bytes()[:4] == b"\x89PNG"
    assert cli("train", "digits", "--epochs", 2, "--plot", "h.svg")[0] == 0
    assert "<svg" in (folder / "h.svg").read_text()


def test_help_gives_the_defaults_and_the_rule_of_the_task(capsys):
    with pytest.raises(SystemExit):
        entry.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("(adam)", "(0.01 for sgd, momentum, nesterov, rmsprop; 0.001 for adam, adamw)",
                  "0.01 for adamw", "(50)", "(32)", "(float32)", "few differ (at most 50, and a",
                  "cross_entropy for a classification, mse for a regression"):  # fmt: skip
        assert words in text


def test_predictions_as_json(cli, folder):
    flowers(folder / "f.csv")
    cli("train", "f.csv", "--epochs", 1, "-o", "m.npz")
    code, out, _ = cli("predict", "m.npz", "f.csv", "--json", "--proba")
    found, rows = json.loads(out), rows_of(cli("predict", "m.npz", "f.csv", "--proba")[1])
    assert code == 0 and found.pop("rows") == len(rows)
    for name, column in found.items():
        assert list(map(str, column)) == [row[name] for row in rows]


def test_a_decimal_comma_in_a_comma_separated_file_is_hinted(cli, folder):
    (folder / "p.csv").write_text("a,price\n" + "".join(f'{i},"{i},5"\n' for i in range(9)))
    for options in ([], ["--task", "regression"], ["--target", "a"]):
        code, _, err = cli("train", "p.csv", *options)
        assert code == 2 and "column price" in err and "'0,5'" in err and "--decimal , reads" in err
    code, out, _ = cli("train", "p.csv", "--decimal", ",", "--epochs", 1, "--json")
    assert code == 0 and json.loads(out)["task"] == "regression"
    assert cli("train", "p.csv", "--task", "classification", "--epochs", 1)[0] == 0


def test_plot_without_matplotlib(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = cli("train", "digits", "--plot")
    assert code == 2 and "fastgrad[plot]" in err


BAD_FILES = {
    "letter.csv": ("a,b\n1,2\nx,3\n", "row 2, column a: 'x'; expected a number (1 of 2 cells"),
    "empty_cell.csv": ("a,b\n1,2\n,3\n", "row 2, column a: missing (1 of 2 cells are)"),
    "short.csv": ("a,b\n1,2\n1\n", "row 2: 1 cells; expected 2"),
    "long.csv": ("a,b\n1,2\n1,2,3\n", "row 2: 3 cells; expected 2"),
    "nan.csv": ("a,b\n1,2\nnan,3\n", "row 2, column a: missing"),
    "inf.csv": ("a,b\n1,2.5\n1,inf\n", "row 2, column b: inf; expected a finite number"),
    "twice.csv": ("a,a\n1,2\n", "the column 'a' is there twice"),
    "no_rows.csv": ("a,b\n", "no rows"),
    "empty.csv": ("", "empty; expected a line of names and rows"),
    "one_column.csv": ("a\n1\n2\n", "no columns beside the target"),
    "one_class.csv": ("a,b\n1,x\n2,x\n", "column b is x in every row"),
    "no_target.csv": ("a,b\n1,x\n2,\n", "row 2, column b: the target is missing (1 of 2 are)"),
    "one_row.csv": ("a,b\n1,2.5\n", "1 row; expected at least 2"),
    "binary.csv": (b"\xff\xfe\x00\x01", "not UTF-8"),
    "broken.npy": (b"\x93NUMPY nonsense", "cannot be read"),
    "broken.npz": (b"PK\x03\x04 nonsense", "cannot be read"),
    "broken.parquet": (b"PAR1 nonsense", "not a Parquet file"),
    "data.xlsx": (b"", "unknown ending '.xlsx'; expected one of .csv"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_line(cli, folder, name):
    content, words = BAD_FILES[name]
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = cli("train", name, "--epochs", 1)
    assert code == 2 and out == "" and words in err
    assert err.count("\n") == 1 and err.startswith("fastgrad: ") and name in err
    code, out, _ = cli("train", name, "--json")
    assert code == 2 and words in json.loads(out)["error"]


@pytest.mark.parametrize(
    "args, words",
    [
        ([], "required"),
        (["fly"], "invalid choice"),
        (["train"], "required"),
        (["train", "none.csv"], "none.csv: no such file"),
        (["train", "digits", "--target", "x"], "digits: no column 'x'; expected one of pixel_0_0"),
        (["train", "f.csv", "--target", "x"], "no column 'x'; expected one of a, b, c, kind"),
        (["train", "digits", "--epochs", "0"], "--epochs: '0'; expected a whole number"),
        (["train", "digits", "--epochs", "two"], "expected a whole number"),
        (["train", "digits", "--lr", "-1"], "--lr: '-1'"),
        (["train", "digits", "--lr", "nan"], "--lr: 'nan'"),
        (["train", "digits", "--validation", "1"], "--validation"),
        (["train", "digits", "--layers", "12,x"], "--layers is '12,x'"),
        (["train", "digits", "--layers", "0"], "--layers is '0'"),
        (
            ["train", "digits", "--loss", "mse"],
            "for a classification; expected cross_entropy, or --",
        ),
        (["train", "digits", "--activation", "elu"], "--activation: invalid choice: 'elu'"),
        (["train", "diamonds", "--loss", "cross_entropy"], "for a regression; expected mse, or --"),
        (["train", "diamonds", "--quantile", "0.2"], "--quantile is not for the loss mse"),
        (
            ["train", "diamonds", "--loss", "quantile", "--quantile", "1"],
            "--quantile: quantile is 1",
        ),
        (["train", "diamonds", "--huber-delta", "nan"], "--huber-delta: 'nan'; expected a number"),
        (["train", "digits", "--loss", "logistic"], "the target has 10"),
        (
            ["train", "f.csv", "--task", "regression"],
            "row 1, column kind: 'rose'; expected a number",
        ),
        (["train", "digits", "--threads", "100000"], "threads is 100000"),
        (["train", "digits", "--resume"], "--resume needs --checkpoint"),
        (["train", "digits", "-o", "no/such/m.npz"], "no folder no/such"),
        (["train", "digits", "-o", "."], ". is a folder"),
        (["train", "digits", "--optimizer", "lbfgs", "--checkpoint", "c.npz"], "cannot resume"),
        (["train", "digits", "--optimizer", "lbfgs", "--lr", "1"], "--lr is not for lbfgs"),
        (["train", "digits", "--optimizer", "newtoncg", "--lr", "1"], "--lr is not for newtoncg"),
        (
            ["train", "digits", "--optimizer", "newtoncg", "--batch-size", "9"],
            "--batch-size is not",
        ),
        (["train", "digits", "--optimizer", "levenbergmarquardt"], "loss is cross_entropy"),
        (["train", "digits", "-o", "a.npz", "--history", "a.npz"], "which is the model too"),
        (["train", "digits", "-o", "a.npz", "--checkpoint", "./a.npz"], "is --checkpoint too"),
        (["train", "x.npy", "-o", "x.npy", "--force"], "which is the data too"),
        (
            ["predict", "m.npz", "x.npy", "-o", "m.npz", "--force"],
            "--output is m.npz, which is the",
        ),
        (
            ["predict", "m.npz", "x.npy", "-o", "x.npy", "--force"],
            "--output is x.npy, which is the",
        ),
        (["train", "digits", "--checkpoint", "no/c.npz"], "--checkpoint no/c.npz: no folder no"),
        (["train", "digits", "--history", "."], "--history . is a folder"),
        (["train", "digits", "--plot", "z.foo"], "--plot z.foo: unknown ending '.foo'; expected"),
        (["predict", "p.npz", "diamonds", "--proba"], "p.npz is a regression"),
        (["predict", "none.npz", "digits"], "none.npz: no such file"),
        (["predict", "f.csv", "digits"], "f.csv: not a model (which comes first, then the data)"),
        (["predict", "f.csv", "m.npz"], "f.csv: not a model"),
        (["predict", "x.npy", "m.npz"], "x.npy: not a model"),
        (["predict", "m.npz", "o.npy"], "o.npy: cannot be read: not a file of numbers"),
        (["predict", "m.npz", "f.csv"], "no column 'pixel_0_0'"),
        (["predict", "m.npz", "x.npy"], "2 input columns; the model expects 64"),
        (["predict", "m.npz", "digits", "-o", "no/p.csv"], "no folder no"),
        (["check", "m.npz", "diamonds"], "diamonds: no column 'pixel_0_0'"),
    ],
)
def test_wrong_use_is_one_line(cli, folder, args, words):
    flowers(folder / "f.csv")
    np.save(folder / "x.npy", np.zeros((3, 2)))
    (folder / "o.npy").write_text("no array")
    fg.save_model("p.npz", fg.MLP([9, 1]), np.zeros(10))
    if "m.npz" in args:
        cli("train", "digits", "--epochs", 1, "-o", "m.npz")
    code, out, err = cli(*args)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1
    assert "pickle" not in err


def test_classes_the_model_does_not_know(cli, folder):
    flowers(folder / "f.csv")
    cli("train", "f.csv", "--epochs", 1, "-o", "m.npz")
    (folder / "g.csv").write_text("a,b,c,kind\n1,2,3,rose\n1,2,3,oak\n")
    code, _, err = cli("check", "m.npz", "g.csv")
    assert (
        code == 2 and "g.csv: row 2, column kind: 'oak'; expected one of the classes aster" in err
    )


def test_a_loss_that_is_not_finite_fails_and_saves_no_nan(cli, folder):
    code, _, err = cli("train", "diamonds", "--optimizer", "sgd", "--lr", "1e30", "--epochs", 3)
    assert code == 1 and "try a smaller --lr (nothing is saved)" in err and not os.listdir(folder)
    code, out, _ = cli("train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--json")
    assert code == 1 and set(json.loads(out)) == {"error", "code"}  # one line


def test_the_best_parameters_before_a_loss_that_is_not_finite_are_saved(cli, monkeypatch):
    rates = fg.SGD(lambda step: 0.01 if step < 90 else 1e30)
    monkeypatch.setattr(train, "_optimizer", lambda args: rates)
    code, _, err = cli("train", "digits", "-o", "m.npz", "--quiet")
    assert code == 1 and "(m.npz is of epoch 2)" in err
    model = models.load("m.npz")
    assert np.isfinite(model.theta).all() and model.summary["best_epoch"] == 2


def test_patience_keeps_the_best(cli, folder):
    flowers(folder / "f.csv")
    code, out, _ = cli("train", "f.csv", "--epochs", 2000, "--lr", 0.05, "--patience", 5, "--json")
    summary = json.loads(out)
    assert code == 0 and summary["stopped"] == "patience"
    history = rows_of(folder / "f-model.history.csv")
    assert summary["val_loss"] == min(float(row["val_loss"]) for row in history)


def test_seeds_and_options_are_in_the_summary(cli):
    out = cli("train", "digits", "--epochs", 1, "--seed", 5, "--batch-size", 50, "--json")[1]
    summary = json.loads(out)
    assert (summary["seed"], summary["batch_size"], summary["epochs"]) == (5, 50, 1)


def _process(folder, *args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "fastgrad", *args], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_as_a_program(folder):
    process = _process(folder, "train", "nothing.csv")
    out, err = process.communicate()
    assert process.returncode == 2 and out == "" and "Traceback" not in err
    process = _process(folder, "--version")
    assert fg.__version__ in process.communicate()[0] and process.returncode == 0


def test_ctrl_c_saves_what_there_is(folder):
    process = _process(folder, "train", "digits", "--epochs", "1000000", "--validation", "0")
    for line in process.stderr:
        if "epoch 1/" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert "interrupted" in out
    model = models.load(folder / "digits-model.npz")
    assert model.summary["stopped"] == "interrupted" and model.summary["train_accuracy"] > 0.5


def test_a_closed_pipe_is_no_traceback(folder, cli):
    cli("train", "digits", "--epochs", 1, "-o", "m.npz")
    process = _process(folder, "predict", "m.npz", "digits", "--proba")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in err


def test_an_ensemble_by_networks(cli, rng):
    X = rng.normal(size=(60, 3))
    np.savetxt("t.csv", np.c_[X, X.sum(axis=1)], delimiter=",", header="a,b,c,y", comments="")
    options = ["--layers", 5, "--epochs", 3, "--seed", 4, "--json"]
    code, out, err = cli("train", "t.csv", "--networks", 3, "-o", "m.npz", *options)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["networks"] == 3 and found["best_epoch"] == [3, 3, 3]
    assert cli("train", "t.csv", "-o", "0.npz", *options)[0] == 0
    model = fg.load_model("m.npz")
    alone = fg.load_model("0.npz")
    assert model.theta.shape == (3, alone.theta.size)
    assert model.theta[0].tobytes() == alone.theta.tobytes()
    with open("m.history.csv") as file:
        lines = file.read().splitlines()
    assert lines[0].startswith("network,epoch,loss") and len(lines) == 10
    assert [line[:3] for line in lines[1:5]] == ["1,1", "1,2", "1,3", "2,1"]
    code, out, _ = cli("evaluate", "m.npz", "t.csv", "--json")
    assert code == 0 and json.loads(out)["r2"] < 1
    assert json.loads(cli("check", "m.npz", "t.csv", "--json")[1])["ok"]
    code, out, _ = cli("predict", "m.npz", "t.csv")
    assert np.array(out.split()[1:], float) == pytest.approx(model.predict(X)[:, 0], rel=1e-5)
    code, _, err = cli("train", "t.csv", "--networks", 3, "--checkpoint", "c.npz")
    assert code == 2 and "--checkpoint is for one network" in err
    code, _, err = cli("train", "t.csv", "--networks", 0)
    assert code == 2 and "--networks" in err


@pytest.mark.parametrize("optimizer", ["lbfgs", "newtoncg", "levenbergmarquardt"])
def test_an_ensemble_trained_on_all_rows_at_once(cli, rng, optimizer):
    X = rng.normal(size=(40, 2))
    np.savetxt("t.csv", np.c_[X, X.sum(axis=1) + 0.5], delimiter=",", header="a,b,y", comments="")
    options = ["--layers", 3, "--epochs", 2, "--optimizer", optimizer, "--json"]
    code, out, err = cli("train", "t.csv", "--networks", 2, "-o", "m.npz", *options)
    assert (code, err) == (0, "") and json.loads(out)["networks"] == 2
