"""Files that do not fit in memory: the same bits as arrays, as runs that were killed, and on any
number of threads; what is learnt in one pass; files that are damaged, foreign, changed or gone."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._tables.held_out import CHUNK, Share
from fastgrad._training import run as run_module
from fastgrad.datasets.prepare import Moments, moments

N, D = 3000, 5
RNG = np.random.default_rng(5)
X = (RNG.standard_normal((N, D)) * [1, 10, 0.1, 1, 1] + [0, 100, 0, -3, 0]).astype(np.float32)
SLOPE = np.array([1.0, -0.1, 10.0, 0.5, 0.0])
Y = (2 * (X @ SLOPE)).astype(np.float32)
LABELS = np.digitize(X @ SLOPE, np.quantile(X @ SLOPE, [0.3, 0.7]))
WEIGHTS = RNG.integers(0, 4, N).astype(np.float32)
CUTS = [0, 700, 701, 1900, 1900, 3000]  # a file of one row, and one of none


def table(rows=slice(None), **more):
    columns = {f"x{j}": X[rows, j] for j in range(D)}
    return pa.table({**columns, "y": Y[rows], "label": LABELS[rows], "w": WEIGHTS[rows], **more})


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Five files, of row groups of 256 rows."""
    folder = tmp_path_factory.mktemp("parquet")
    for part, (start, stop) in enumerate(pairwise(CUTS)):
        path = folder / f"part-{part}.parquet"
        pq.write_table(table(slice(start, stop)), path, row_group_size=256)
    return str(folder)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """Three files of CSV, two compressed."""
    folder = tmp_path_factory.mktemp("csv")
    for part, (start, stop) in enumerate([(0, 1100), (1100, 1200), (1200, N)]):
        path = folder / f"part-{part}.csv{'.gz' if part else ''}"
        with (gzip.open if part else open)(path, "wb") as file:
            pa.csv.write_csv(table(slice(start, stop)), file)
    return str(folder)


INPUTS = dict(features=[f"x{j}" for j in range(D)])


def labelled(folder, **options):
    return fg.stream(folder, target="label", **{**INPUTS, "window": 500, **options})


def real(folder, **options):
    return fg.stream(folder, target="y", **{**INPUTS, "window": 500, **options})


def classifier(**options):
    return fg.MLP([D, 8, 3], loss="cross_entropy", dtype="float32", **options)


def regressor(**options):
    return fg.MLP([D, 6, 1], dtype="float32", **options)


def fit(net, *data, **options):
    return fg.fit(net, *data, **{"epochs": 3, "batch_size": 32, "seed": 1, **options})


def same(a, b):
    assert a.theta.tobytes() == b.theta.tobytes()
    for name in set(a.history.columns) - {"seconds"}:
        np.testing.assert_array_equal(a.history[name], b.history[name])


# The same as arrays


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_in_order_it_has_the_bits_of_arrays(kind, request):
    folder = request.getfixturevalue(kind)
    data = labelled(folder, standardize=False)
    assert (data.rows, data.n_inputs, data.n_outputs, data.classes) == (N, D, 3, [0, 1, 2])
    same(fit(classifier(), data, shuffle=False), fit(classifier(), X, LABELS, shuffle=False))
    data = real(folder, standardize=False, weight="w", window=100)
    arrays = fit(regressor(), X, Y, sample_weight=WEIGHTS, shuffle=False)
    same(fit(regressor(), data, shuffle=False), arrays)


def test_a_window_that_holds_all_rows_has_the_bits_of_arrays_shuffled(parquet):
    same(
        fit(classifier(), labelled(parquet, standardize=False, window=N)),
        fit(classifier(), X, LABELS),
    )


def test_inputs_and_targets_are_scaled_as_a_model_scales_them(parquet):
    data = real(parquet)
    result = fit(regressor(), data, shuffle=False)
    model = data.model(regressor(), result.theta)
    Z = model.inputs(X)
    y = ((Y - model.target_mean) / model.target_scale).astype(np.float32)
    same(result, fit(regressor(), Z, y, shuffle=False))
    table_of = table().to_pandas()
    assert np.array_equal(model.predict(table_of), model.predict(X))


@pytest.mark.parametrize("ahead", [0, 1, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_bit_depends_on_threads_or_on_reading_ahead(parquet, ahead, threads):
    first = fit(classifier(), labelled(parquet), batch_size=300, threads=1)
    other = labelled(parquet, ahead=ahead, threads=threads)
    same(fit(classifier(), other, batch_size=300, threads=threads), first)


def rows_seen(data, shuffle=True, epochs=1, batch_size=32, seed=1):
    """The first column, standardized back, in the order in which an epoch takes the rows."""
    source = data._for_fit(classifier(), batch_size, shuffle)
    rng, found = np.random.default_rng(seed), []
    for number in range(epochs):
        epoch = source.epoch(number, rng)
        found.append(np.concatenate([x[order, 0] for x, _, _, order, _ in epoch]))
    return found


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(parquet):
    data = labelled(parquet, standardize=False)
    first, second = rows_seen(data, epochs=2)
    assert np.array_equal(np.sort(first), np.sort(X[:, 0]))
    assert np.array_equal(np.sort(second), np.sort(X[:, 0]))
    assert not np.array_equal(first, second)
    assert np.array_equal(rows_seen(data)[0], first)
    assert not np.array_equal(rows_seen(data, seed=2)[0], first)
    assert np.array_equal(rows_seen(data, shuffle=False)[0], X[:, 0])


def test_rows_are_shuffled_within_a_window(csv):
    """A file is read in order: of one file, a window holds the same rows in every epoch."""
    data = labelled(csv + "/part-2.csv.gz", standardize=False, window=300)
    whole = X[1200:, 0]
    found = rows_seen(data, batch_size=100)[0]
    for start in range(0, len(whole), 300):
        window = slice(start, start + 300)
        assert np.array_equal(np.sort(found[window]), np.sort(whole[window]))
        assert not np.array_equal(found[window], whole[window])


@settings(max_examples=25)
@given(
    window=st.integers(1, 4000), batch=st.integers(1, 400), groups=st.integers(1, 5),
    skip=st.integers(0, 40), shuffle=st.booleans(),
)  # fmt: skip
def test_an_epoch_taken_up_at_a_window_is_the_rest_of_it(
    parquet, window, batch, groups, skip, shuffle
):
    data = labelled(parquet, standardize=False, window=max(window, batch))
    if data.window >= N:
        return
    source = data._for_fit(classifier(), batch, shuffle)
    whole = [
        (x.copy(), y.copy(), order) for x, y, _, order, _ in
        source.epoch(0, np.random.default_rng(groups))
    ]  # fmt: skip
    assert all(len(x) == source.window for x, _, _ in whole[:-1])
    rest = source.epoch(0, np.random.default_rng(groups), skip)
    for (x, y, order), other in zip(whole[skip:], rest):
        assert np.array_equal(x[order], other[0][other[3]])
        assert np.array_equal(y[order], other[1][other[3]])


def test_evaluate_is_that_of_arrays(parquet, csv):
    for folder in (parquet, csv):
        data = labelled(folder, standardize=False, weight="w")
        net = classifier(l2=0.1)
        theta = net.init(0)
        expected = fg.evaluate(net, theta, X, LABELS, WEIGHTS)
        np.testing.assert_allclose(fg.evaluate(net, theta, data), expected, rtol=1e-12)
        data, net = real(folder, standardize=False, window=70), regressor()
        expected = fg.evaluate(net, net.init(0), X, Y)
        np.testing.assert_allclose(fg.evaluate(net, net.init(0), data), expected, rtol=1e-12)
    thetas = np.stack([net.init(1), net.init(2)])
    expected = fg.evaluate(net, thetas, X, Y)
    np.testing.assert_allclose(fg.evaluate(net, thetas, data), expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["lbfgs", "newtoncg", "levenbergmarquardt"])
def test_all_rows_at_once(parquet, optimizer):
    """Sums over blocks, so to rounding: the first step, before it grows."""
    net = fg.MLP([D, 4, 1], dtype="float64", activation="tanh", l2=1e-3)
    data = real(parquet, weight="w")
    model = data.model(net)
    Z, y = model.inputs(X.astype(float)), (Y - model.target_mean) / model.target_scale
    made = fg.fit(net, data, optimizer=optimizer, epochs=2, seed=0)
    arrays = fg.fit(net, Z, y, sample_weight=WEIGHTS, optimizer=optimizer, epochs=2, seed=0)
    np.testing.assert_allclose(made.theta, arrays.theta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(made.history.loss, arrays.history.loss, rtol=1e-8)
    again = fg.fit(net, real(parquet, weight="w", ahead=3, threads=1), optimizer=optimizer,
                   epochs=2, seed=0, threads=1)  # fmt: skip
    same(again, made)


def test_a_full_batch_has_the_bits_of_its_blocks(parquet):
    """Formula 40: block means times weights, added in order, over the sum of weights."""
    net, data = classifier(), labelled(parquet, weight="w", standardize=False)
    problem = data._for_fit(net, None, False).problem(None)
    theta = net.init(3)
    loss, grad = problem.loss_and_grad(theta)
    parts = [slice(start, start + 500) for start in range(0, N, 500)]
    weights = [WEIGHTS[part].sum(dtype=np.float64) for part in parts]
    total, summed = 0.0, 0.0
    for part, weight in zip(parts, weights):
        block_loss, block = net.loss_and_grad(theta, X[part], LABELS[part], WEIGHTS[part])
        total, summed = total + weight * block_loss, summed + weight * block.astype(np.float64)
    assert loss == total / sum(weights)
    assert np.array_equal(grad, summed / sum(weights))


# What one pass learns


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6), shift=st.floats(-1e8, 1e8),
    size=st.sampled_from([1e-300, 1e-3, 1.0, 1e6, 1e300]), seed=st.integers(0, 9),
)  # fmt: skip
def test_moments_of_blocks_are_those_of_all_rows(cuts, shift, size, seed):
    rows = np.random.default_rng(seed).standard_normal((60, 3)) * [1, 1e-3, 0]
    rows = (rows + [shift / 1e3, 0, 0.1]) * size
    found, ends = Moments(3), [0, *sorted(cuts), 60]
    for start, stop in pairwise(ends):
        found.add(rows[start:stop])
    mean, scale = moments(rows)
    tiny = 1e-12 * np.abs(rows).max(axis=0)  # what a mean this large leaves of a deviation
    assert (np.abs(found.mean - mean) <= 1e-15 * 60 * np.abs(rows).max(axis=0)).all()
    assert (np.abs(found.scale() - scale) <= 1e-12 * scale + tiny).all()
    assert found.scale()[2] == 1.0


def test_moments_without_the_missing_cells():
    rows = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, 3.0], [4.0, 8.0]])
    found = Moments(2)
    for block in (rows[:1], rows[1:3], rows[3:]):
        found.add(block)
    np.testing.assert_allclose(found.mean, [3, 4])
    np.testing.assert_allclose(found.scale(), [1, np.std([1, 3, 8])])
    assert found.rows.tolist() == [2, 3]


def mixed(rows=400):
    """Numbers with missing cells, text, booleans, a text target."""
    rng = np.random.default_rng(2)
    a = rng.standard_normal(rows)
    return pa.table({
        "a": pa.array(np.where(rng.random(rows) < 0.1, np.nan, a), from_pandas=True),
        "color": rng.choice(["red", "blue", "green"], rows),
        "flag": rng.random(rows) < 0.3,
        "kind": np.where(a > 0, "up", "down"),
    })  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_columns_are_understood_as_those_of_a_table_in_memory(cli, folder, ending):
    data = mixed()
    for part in range(3):
        rows = data.slice(part * 150, 150)
        if ending == "csv":
            pa.csv.write_csv(rows, f"part-{part}.csv")
        else:
            pq.write_table(rows, f"part-{part}.parquet", row_group_size=64)
    options = ["--impute", "mean", "--validation", 0, "--epochs", 1, "--quiet"]
    assert cli("train", ".", *options, "-o", "memory.npz")[0] == 0
    code, _, err = cli("train", f"*.{ending}", *options, "-o", "s.npz", "--window", 100)
    assert code == 0, err
    memory, made = fg.load_model("memory.npz"), fg.load_model("s.npz")
    assert made.encoding.keys() == memory.encoding.keys()
    assert made.encoding["color"] == memory.encoding["color"]
    assert made.encoding["flag"] == memory.encoding["flag"]
    assert made.encoding["a"].fill == pytest.approx(memory.encoding["a"].fill, rel=1e-13)
    assert (made.features, made.classes, made.target) == (memory.features, memory.classes, "kind")
    np.testing.assert_allclose(made.mean, memory.mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(made.scale, memory.scale, rtol=1e-13)
    made.theta = memory.theta  # as they read tables, but for rounding, so they predict
    frame = data.to_pandas()
    np.testing.assert_allclose(made.predict_proba(frame), memory.predict_proba(frame), rtol=1e-4)


def test_a_column_that_turns_out_to_be_text(folder):
    (folder / "a.csv").write_text("zip,y\n" + "12345,0.5\n" * 300_000)
    (folder / "b.csv").write_text("zip,y\n" + "AB1,1.5\n" * 400_000)
    data = fg.stream([folder / "a.csv", folder / "b.csv"], target="y", task="regression")
    assert data.encoding["zip"].values == ("12345", "AB1")
    np.testing.assert_allclose(data.mean, [3 / 7, 4 / 7])


def test_numbers_of_which_one_is_misspelt(folder):
    (folder / "a.csv").write_text("x,y\n" + "1,0.5\n" * 20 + "o.7,1.5\n" + "2,0.5\n" * 9)
    with pytest.raises(ValueError, match=r"a\.csv: row 21, column x: 'o\.7'; expected a number"):
        fg.stream("a.csv", target="y", task="regression")


def test_messages_count_cells_of_all_files(folder):
    for part in range(2):
        words = [f"{part}-{row}" for row in range(300)]
        pq.write_table(pa.table({"a": words, "y": np.arange(300.0)}), f"many-{part}.parquet")
    with pytest.raises(ValueError, match="a has 600 different values in 600 rows"):
        fg.stream("many-*.parquet", target="y")
    for part, cell in enumerate(["4", "oops"]):
        Path(f"odd-{part}.csv").write_text("a,y\n" + "1,2.5\n" * 30 + f"{cell},2.5\n")
    with pytest.raises(ValueError, match=r"odd-1\.csv: row 31, .*\(61 of 62 cells are\)"):
        fg.stream("odd-*.csv", target="y")


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        ("x,y\n1,2.5\n,3.5\n", {}, "column x: missing: .* or say impute=True$"),
        ("x,y\n1,2.5\n2,\n", {}, r"leave the row out \(csv\[\"nulls\"\] says what is missing\)"),
        ("x,t,y\n1,2020-01-02,2.5\n", {}, 'leave it out with drop="t"$'),
        ("x,t u,y\n1,2020-01-02,2.5\n", {}, 'leave it out with drop="t u"$'),
        (
            "x,t,y\n" + "1,3%,2.5\n2,4%,2.5\n1,5%,3.5\n" * 9,
            {},
            "leave it out with drop, .* for text with force=True",
        ),
        ("x,y\n1,2.5\n", {"features": ["x", "y"]}, "^features names 'y', which is the target"),
        ("x,y\n1,2.5\n", {"features": "x", "drop": "x"}, "^features and drop both name 'x'"),
        ("x,y\n1,2.5\n", {"weight": "y"}, "^weight is 'y', which target names too"),
    ],
)
def test_messages_name_arguments_not_options(folder, cells, options, words):
    Path("cells.csv").write_text(cells)
    with pytest.raises(ValueError, match=words) as caught:
        fg.stream("cells.csv", target="y", task="regression", **options)
    assert "--" not in str(caught.value)


def test_an_infinite_target_is_named_without_a_warning(folder):
    y = np.r_[np.arange(99) / 7, -np.inf]
    pq.write_table(pa.table({"a": np.arange(100.0), "y": y}), "infinite.parquet")
    with pytest.raises(ValueError, match="row 100, column y: -inf; expected a finite number"):
        fg.stream("infinite.parquet", target="y")


def test_targets_of_many_values(csv, folder):
    """The values of text are gathered up to a thousand; means need none of them."""
    data = real(csv)
    assert data.task == "regression" and data.classes is None
    np.testing.assert_allclose(data._learnt.target_mean, Y.mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(data._learnt.target_scale, Y.std(dtype=np.float64), rtol=1e-6)
    for part, last in enumerate(["1.5", "l.5"]):
        rows = "".join(f"{i % 9},{i / 7}\n" for i in range(1500))
        (folder / f"{part}.csv").write_text(f"x,y\n{rows}2,{last}\n")
    with pytest.raises(ValueError, match=r"1\.csv: row 1501, column y: 'l\.5'; expected a number"):
        fg.stream("*.csv", target="y", task="regression")
    with pytest.raises(
        ValueError, match="column y has 1501 different values in 1501 rows, a class"
    ):
        fg.stream("0.csv", target="y", task="classification")


def test_targets_of_which_one_is_the_same_everywhere(folder):
    (folder / "a.csv").write_text("v,x,y,z\n7,1,2,no\n7,2,2,no\n")
    data = fg.stream("a.csv", target=["x", "y"], drop="z")
    assert (data.n_inputs, data.n_outputs, data.target) == (1, 2, ["x", "y"])
    assert data.mean.tolist() == [7.0] and data.scale.tolist() == [1.0]
    with pytest.raises(ValueError, match="column z is no in every row"):
        fg.stream("a.csv", target="z")


def test_rows_held_out_are_drawn_one_by_one_and_not_trained_on(parquet):
    data = labelled(parquet, standardize=False, held_out=0.1, seed=4)
    left, held = data.held_out._arrays(classifier()), data._arrays(classifier())
    assert len(left[0]) + len(held[0]) == N and 200 < len(left[0]) < 400
    both = np.concatenate([left[0][:, 0], held[0][:, 0]])
    assert np.array_equal(np.sort(both), np.sort(X[:, 0]))
    other = labelled(parquet, standardize=False, held_out=0.1, seed=5)
    assert not np.array_equal(other.held_out._arrays(classifier())[0], left[0])
    scaled = labelled(parquet, held_out=0.1, seed=4)
    mean, scale = moments(held[0].astype(np.float64))
    np.testing.assert_allclose(scaled.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(scaled.scale, scale, rtol=1e-12)
    result = fit(classifier(), scaled, validation=scaled.held_out)
    expected = fg.evaluate(classifier(), result.theta, scaled.held_out)
    assert result.history.val_loss[-1] == pytest.approx(expected.loss, rel=1e-12)


def test_no_more_than_a_window_is_held_out(parquet):
    data = labelled(parquet, held_out=0.5, window=200)
    assert 140 < data.held_out.rows < 260
    assert data.rows + data.held_out.rows == N


def test_a_share_of_the_rows_is_of_their_numbers_alone():
    share = Share(7, 0.2, 0.5)
    whole = share.of(0, 3 * CHUNK)
    assert whole.mean() == pytest.approx(0.3, abs=0.01)
    for first, count in ((0, 1), (CHUNK - 1, 2), (5, 2 * CHUNK), (CHUNK, CHUNK)):
        assert np.array_equal(share.of(first, count), whole[first : first + count])
        assert share.count(first, count) == whole[first : first + count].sum()


def test_a_share_that_two_readers_have():
    """As a callback within an epoch that evaluates the stream that is trained on."""

    class Interrupted(Share):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "_last" and value[0] == 0:
                self.of(CHUNK, 1)

    expected = Share(7, 0.2, 0.5).of(0, 100)
    assert np.array_equal(Interrupted(7, 0.2, 0.5).of(0, 100), expected)


def test_like_a_model_or_a_stream(parquet, csv):
    data = labelled(parquet)
    model = data.model(classifier(), classifier().init(0))
    expected = fg.evaluate(model.net, model.theta, data)
    for like in (model, data):
        for folder in (parquet, csv):
            found = fg.stream(folder, like=like, window=400)
            assert fg.evaluate(model.net, model.theta, found) == pytest.approx(expected, rel=1e-6)
    assert fg.stream(csv, like=data).rows == N
    with pytest.raises(TypeError, match="beside like"):
        fg.stream(csv, like=data, target="y")
    with pytest.raises(TypeError, match="standardize, impute beside like"):
        fg.stream(csv, like=data, standardize=False, impute=True)
    with pytest.raises(TypeError, match="like is a str"):
        fg.stream(csv, like="model.npz")


def test_a_validation_stream_takes_its_columns_as_the_training_does(parquet, folder):
    data = labelled(parquet)
    pq.write_table(table(slice(0, 500)), "other.parquet")
    with pytest.raises(ValueError, match="validation has means, values or classes of its own"):
        fit(classifier(), data, validation=labelled("other.parquet"))
    alike = fit(classifier(), data, validation=fg.stream("other.parquet", like=data))
    model = data.model(classifier(), alike.theta)
    by_model = fit(classifier(), data, validation=fg.stream("other.parquet", like=model))
    same(alike, by_model)
    assert alike.history.val_loss.tolist() == by_model.history.val_loss.tolist()


def test_a_data_set_of_pyarrow_and_columns_that_folders_spell(folder, parquet):
    data = pa.dataset.dataset(parquet, format="parquet")
    same(fit(classifier(), labelled(data)), fit(classifier(), labelled(parquet)))
    for year in (2019, 2020):
        os.makedirs(f"d/year={year}")
        pq.write_table(table(slice(0, 900)), f"d/year={year}/part.parquet")
    found = fg.stream("d", target="label", features=["x0", "year"])
    assert found.n_inputs == 2
    assert found.mean[1] == 2019.5 and found.scale[1] == 0.5
    by_pattern = fg.stream("d/*/*.parquet", target="label", features=["x0", "year"])
    assert by_pattern.mean.tolist() == found.mean.tolist()


# Checkpoints


def test_a_run_goes_on_within_an_epoch(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    options = dict(batch_size=32, epochs=3)
    whole = fit(classifier(), labelled(parquet, held_out=0.1), **options)

    class Stop:
        def __init__(self, step):
            self.step = step

        def on_step(self, result):
            if result.optimizer.steps == self.step:
                raise KeyboardInterrupt

    steps = 1 + whole.optimizer.steps // 3  # a little more than an epoch
    for step in (1, 17, 40, steps - 1, steps + 30, 3 * steps - 10):
        path = tmp_path / f"{step}.npz"
        stopped = fit(classifier(), labelled(parquet, held_out=0.1), checkpoint=path,
                      callbacks=Stop(step), **options)  # fmt: skip
        assert stopped.interrupted
        if step > 17:
            position = fg.load_checkpoint(path).run.get("position", {"windows": 0})
            assert position["windows"] > 0
        same(fit(classifier(), labelled(parquet, held_out=0.1, ahead=0), checkpoint=path,
                 resume=True, **options), whole)  # fmt: skip


KILLED = """
import sys, fastgrad as fg
from fastgrad._training import run
run.SAVE_SECONDS = 0.0
data = fg.stream(sys.argv[1], target="label", features=["x0", "x1", "x2", "x3", "x4"], window=500)
net = fg.MLP([5, 8, 3], loss="cross_entropy", dtype="float32")
result = fg.fit(net, data, epochs=400, batch_size=8, seed=1, checkpoint=sys.argv[2], resume=True)
print(result.theta.tobytes().hex())
"""


def test_killed_at_any_time_and_resumed(parquet, tmp_path):
    path = tmp_path / "run.npz"
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, parquet, path])
        began = time.monotonic()
        before = path.stat().st_mtime_ns if path.exists() else 0
        while time.monotonic() - began < 60:
            if path.exists() and path.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        fg.load_checkpoint(path)
    found = fg.load_checkpoint(path).run
    epochs = found["epoch"] + 2
    options = dict(batch_size=8, epochs=epochs)
    result = fit(classifier(), labelled(parquet), checkpoint=path, resume=True, **options)
    same(result, fit(classifier(), labelled(parquet), **options))


def test_a_checkpoint_of_other_files_or_columns(parquet, folder, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    for part in range(3):
        rows = slice(part * 1000, part * 1000 + 1000)
        pq.write_table(table(rows), f"part-{part}.parquet", row_group_size=200)
    fit(classifier(), labelled("*.parquet"), checkpoint="run.npz", epochs=1)

    def go_on(files="*.parquet", **options):
        return fit(classifier(), labelled(files, **options), checkpoint="run.npz", resume=True)

    with pytest.raises(ValueError, match="is of another run: its window is 480, this one's 384"):
        go_on(window=400)
    with pytest.raises(ValueError, match="columns are understood otherwise"):
        go_on(standardize=False)
    with pytest.raises(ValueError, match=r"the file part-1\.parquet is another one"):
        go_on(["part-1.parquet", "part-0.parquet", "part-2.parquet"])
    changed = table(slice(1000, 2000)).set_column(0, "x0", pa.array(X[:1000, 0]))
    pq.write_table(changed, "part-1.parquet", row_group_size=200)
    with pytest.raises(ValueError, match=r"is of another run"):
        go_on()
    assert fg.load_checkpoint("run.npz").run["epoch"] == 1


def test_a_position_where_there_is_none_is_damage(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    path = tmp_path / "run.npz"
    fit(classifier(), labelled(parquet), checkpoint=path, epochs=1)
    saved = fg.load_checkpoint(path)
    saved.run["position"] = {"windows": 99, "total": [0.0, 0.0], "weight": 1.0}
    from fastgrad import checkpoint

    checkpoint.save_checkpoint(path, saved)
    with pytest.raises(ValueError, match=r"run\.npz is a damaged .*position\.windows is 99"):
        fit(classifier(), labelled(parquet), checkpoint=path, resume=True)


def test_a_disk_that_is_full_leaves_the_last_checkpoint(parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    path, real_savez, calls = tmp_path / "run.npz", np.savez, []

    def savez(file, **arrays):
        calls.append(1)
        if len(calls) > 3:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        real_savez(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.npz"):
        fit(classifier(), labelled(parquet), checkpoint=path)
    assert fg.load_checkpoint(path).run["position"]["windows"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    monkeypatch.setattr(np, "savez", real_savez)
    same(
        fit(classifier(), labelled(parquet), checkpoint=path, resume=True),
        fit(classifier(), labelled(parquet)),
    )


# Faults


@pytest.fixture
def parts(folder):
    """Three files of Parquet that a test may spoil."""
    for part in range(3):
        rows = slice(part * 1000, part * 1000 + 1000)
        pq.write_table(table(rows), f"part-{part}.parquet", row_group_size=250)
    return folder


def refused(words, files="*.parquet", **options):
    with pytest.raises(ValueError, match=words):
        labelled(files, **options)


def test_no_file_matches(parts):
    refused(r"nothing-\*: no file matches", "nothing-*")
    refused("no such file", "nothing.parquet")
    os.mkdir("empty")
    refused("empty: a folder without tables", "empty")


def test_a_foreign_or_damaged_file(parts):
    (parts / "part-1.parquet").write_bytes(b"no table at all")
    refused(r"part-1\.parquet: not a Parquet file")
    pq.write_table(table(slice(0, 1000)), "part-1.parquet", row_group_size=250, compression="gzip")
    content = bytearray((parts / "part-1.parquet").read_bytes())
    content[3000:9000] = bytes(6000)  # in the data: its end, which is read first, is whole
    (parts / "part-1.parquet").write_bytes(content)
    refused(r"part-1\.parquet: a damaged Parquet file")
    (parts / "part-1.parquet").write_bytes(b"")
    refused(r"part-1\.parquet: not a Parquet file")
    (parts / "notes.csv").write_text("a,b\n1,2\n")
    refused("files together", ".")


def test_a_column_that_is_missing_or_of_another_type(parts):
    pq.write_table(table(slice(0, 9)).drop_columns(["x2"]), "part-1.parquet")
    refused(r"part-1\.parquet: no column 'x2'")
    odd = table(slice(0, 9)).set_column(2, "x2", pa.array(["a"] * 9))
    pq.write_table(odd, "part-1.parquet")
    refused(r"part-1\.parquet: column x2 is string; expected float, as in part-0\.parquet")
    dates = pa.array([0] * 9, pa.date32())
    pq.write_table(table(slice(0, 9)).set_column(2, "x2", dates), "a.parquet")
    refused("column x2 holds date32", "a.parquet")
    refused("no column 'weight'", "part-0.parquet", weight="weight")


def test_cells_that_are_missing_infinite_or_no_weight(parts):
    def spoil(name, value):
        rows = table(slice(1000, 2000))
        cells = rows.column(name).to_pylist()
        cells[300] = value
        place = rows.column_names.index(name)
        kind = rows.schema.field(name).type
        pq.write_table(rows.set_column(place, name, pa.array(cells, kind)), "part-1.parquet")

    spoil("x3", None)
    refused(r"part-1\.parquet: row 301, column x3: missing")
    assert labelled("*.parquet", impute=True).n_inputs == 2 * D - (D - 1)
    spoil("x3", np.inf)
    refused(r"part-1\.parquet: row 301, column x3: inf; expected a finite number")
    spoil("label", None)
    refused(r"part-1\.parquet: row 301, column label: the target is missing")
    spoil("w", -1.0)
    with pytest.raises(ValueError, match=r"part-1\.parquet: row 301, column w: a weight of -1"):
        fit(classifier(), labelled("*.parquet", weight="w"))


def test_a_file_of_csv_that_is_cut_off_ragged_or_no_text(csv, folder):
    content = Path(csv, "part-1.csv.gz").read_bytes()
    (folder / "a.csv.gz").write_bytes(content[: len(content) // 2])
    refused(r"a\.csv\.gz: cannot be read", "a.csv.gz")
    names = ",".join(table().column_names)
    rows = "\n".join(",".join(map(str, range(len(table().column_names)))) for _ in range(2000))
    (folder / "b.csv").write_text(f"{names}\n{rows}\n1,2\n")
    refused(r"b\.csv: .*2 cells; expected 8", "b.csv")
    (folder / "b.csv").write_bytes(f"{names}\n{rows}\n".encode() + b"\xff\xfe,1\n")
    refused(r"b\.csv: ", "b.csv")
    (folder / "b.csv").write_text("")
    refused(r"b\.csv: empty", "b.csv")
    (folder / "b.csv").write_text(f"{names}\n")
    refused(r"b\.csv: no rows", "b.csv")


def test_a_file_of_names_alone_has_no_rows(cli, folder):
    """The file with rows says how cells are written: decimal commas, booleans, row numbers."""
    (folder / "a.csv").write_text(";x;on;y\n")
    rows = "".join(f"{i};{i % 7},5;{i % 2 == 0};{i % 3},25\n" for i in range(40))
    (folder / "b.csv").write_text(";x;on;y\n" + rows)
    data = fg.stream("*.csv", target="y", task="regression")
    alone = fg.stream("b.csv", target="y", task="regression")
    assert (data.rows, data.features) == (40, ["x", "on"]) and data.encoding == alone.encoding
    assert data.mean.tolist() == alone.mean.tolist() and data.files[0].endswith("a.csv")
    net = fg.MLP([data.n_inputs, 1])
    same(fit(net, data), fit(net, alone))
    for more in ([], ["--window", 40]):
        options = ["--target", "y", "--task", "regression", "--epochs", 2, "--quiet", "--force"]
        assert cli("train", "a.csv", "b.csv", *options, "-o", "m.npz", *more)[0] == 0
        code, out, err = cli("evaluate", "m.npz", "a.csv", "b.csv", "--json", *more)
        assert code == 0 and json.loads(out)["rows"] == 40, err
        assert "a.csv: no rows" in cli("evaluate", "m.npz", "a.csv", *more)[2]
    with pytest.raises(ValueError, match=r"a\.csv: no rows"):
        fg.stream("a.csv", target="y")


def test_a_file_without_names(folder):
    (folder / "a.csv").write_text("".join(f"{i},{i % 5},{i % 3}\n" for i in range(30)))
    data = fg.stream("a.csv", target="-1", task="regression", csv={"header": False})
    assert (data.rows, data.features, data.target) == (30, ["0", "1"], "2")
    other = fg.stream("a.csv", like=data, csv={"header": False})
    net = fg.MLP([2, 1])
    same(fit(net, data), fit(net, other))
    model = data.model(net, net.init(0))
    rows = [[i, i % 5] for i in range(30)]
    assert model.predict(data).tolist() == model.predict(rows).tolist()
    for csv, words in (
        ({"sep": ";;"}, r"csv\['sep'\] is ';;'; expected one ASCII"),
        ({"decimal": "x"}, r"csv\['decimal'\] is 'x'"),
        ({"header": "no"}, r"csv\['header'\] is 'no'; expected True or False"),
        ({"nulls": [0]}, r"csv\['nulls'\] is \[0\]"),
        ({"encoding": 8}, r"csv\['encoding'\] is 8"),
        ({"skip": -1}, r"csv\['skip'\] is -1"),
    ):
        with pytest.raises(ValueError, match=words):
            fg.stream("a.csv", csv=csv)


def test_how_csv_is_written_where_an_argument_does_not_say(folder):
    (folder / "a.csv").write_text("x,y\n" + "1,2\n?,3\n" * 9)
    given = dict.fromkeys(("sep", "decimal", "header", "encoding", "skip"))
    for nulls in ("?", ["?"], iter(["?"])):
        csv = {**given, "nulls": nulls}
        data = fg.stream("a.csv", target="y", task="regression", impute=True, csv=csv)
        assert data.mean[0] == 1.0 and data.encoding["x"].values is None


def test_files_that_change_between_epochs(parts):
    data = labelled("*.parquet")

    def change(result):
        pq.write_table(table(slice(0, 999)), "part-2.parquet")

    with pytest.raises(ValueError, match=r"part-2\.parquet: changed since it was first read"):
        fit(classifier(), data, callbacks=change)
    os.remove("part-2.parquet")
    with pytest.raises(ValueError, match=r"part-2\.parquet: cannot be read: No such file"):
        fit(classifier(), data)


def test_arguments_that_do_not_fit(parquet):
    data = labelled(parquet)
    filtered = pa.dataset.dataset(parquet).filter(pa.dataset.field("x0") > 0)
    for call, words in (
        (lambda: fit(fg.MLP([3, 3], loss="cross_entropy"), data), "net has 3 inputs; the columns"),
        (lambda: fit(fg.MLP([D, 3]), data), "the loss mse is for a regression"),
        (lambda: fit(classifier(), data, batch_size=501), "expected a window that holds a batch"),
        (lambda: labelled(parquet, window=0), "window is 0"),
        (lambda: labelled(parquet, held_out=1.0), "held_out is 1.0"),
        (lambda: labelled(parquet, held_out=1e-12), "held_out is 1e-12, of 3000 rows none"),
        (lambda: fg.stream([]), "data is empty"),
        (lambda: fg.stream(filtered), "data is a Dataset with a filter"),
        (lambda: fit(fg.MLP([data.n_inputs, 5], "cross_entropy"), data), "5 outputs; .* 3 classes"),
        (lambda: labelled(parquet, task="guess"), "task is 'guess'"),
        (lambda: labelled(parquet, unknown="ask"), "unknown is 'ask'"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    for call, words in (
        (lambda: fit(classifier(), data, LABELS), "beside a stream"),
        (lambda: fg.evaluate(classifier(), classifier().init(0), data, LABELS), "beside a stream"),
        (lambda: fg.evaluate(classifier(), classifier().init(0), X), "y is missing"),
        (lambda: fg.stream(7), "data is a int"),
        (lambda: classifier().loss_and_grad(classifier().init(0), data, LABELS), "X is a Stream"),
        (lambda: labelled(parquet, csv={"separator": ";"}), "csv is"),
        (lambda: labelled(parquet, drop=[1]), "drop is"),
        (lambda: fg.stream(parquet, target=0), "target is 0"),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_a_reader_ends_with_the_epoch_that_is_left(parquet):
    import threading

    def stop(result):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(
            classifier(),
            labelled(parquet),
            callbacks=type("S", (), {"on_step": staticmethod(stop)}),
        )
    assert not [t for t in threading.enumerate() if t.name == "fastgrad-reader"]


@pytest.mark.parametrize("what", ["evaluate", "all rows", "ranks"])
def test_a_reader_ends_with_an_error_that_is_still_looked_at(parquet, monkeypatch, what):
    """As a notebook does, which keeps the last traceback and all that it holds."""
    import threading

    from fastgrad import metrics
    from fastgrad._training import rank_rows, summed

    def fail(*args):
        raise RuntimeError("here")

    net, data = classifier(), labelled(parquet)
    monkeypatch.setattr(metrics.Tally, "add", fail)
    monkeypatch.setattr(summed, "part", fail)
    monkeypatch.setattr(rank_rows, "part", fail)
    call = {
        "evaluate": lambda: fg.evaluate(net, net.init(0), data),
        "all rows": lambda: fg.fit(net, data, optimizer="newtoncg", epochs=1, seed=0),
        "ranks": lambda: fg.fit(net, data, epochs=1, seed=0, reduce=lambda array: array),
    }[what]
    with pytest.raises(RuntimeError, match="here") as caught:
        call()
    assert not [t for t in threading.enumerate() if t.name == "fastgrad-reader"]
    del caught


# Predictions, and what takes no stream


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_predictions_of_a_stream_are_those_of_its_rows(kind, request):
    """By the model's columns, whatever the stream takes for inputs; of rows held out too."""
    folder = request.getfixturevalue(kind)
    model = labelled(folder).model(classifier(), classifier().init(0))
    frame = table().to_pandas()
    for data in (labelled(folder), fg.stream(folder, target="y", features=["w", "x4", "x0"])):
        assert model.predict(data).tolist() == model.predict(frame).tolist()
        found, expected = model.predict_proba(data), model.predict_proba(frame)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    whole = labelled(folder, held_out=0.1, seed=3)
    held = model.predict_proba(whole.held_out)
    assert len(held) == whole.held_out.rows and len(model.predict(whole)) == whole.rows
    kept = np.concatenate([t.columns["x0"].values for t in whole.held_out.tables()])
    place = np.flatnonzero(np.isin(X[:, 0], kept.astype(np.float32)))
    np.testing.assert_allclose(held, model.predict_proba(frame)[place], rtol=1e-5, atol=1e-7)


def test_messages_of_later_calls_name_arguments_in_python_and_options_in_the_shell(cli, folder):
    Path("whole.csv").write_text("x,t,y\n" + "1,up,2.5\n2,down,3.5\n" * 9)
    Path("gap.csv").write_text("x,t,y\n1,up,2.5\n,down,3.5\n")
    Path("word.csv").write_text("x,t,y\n1,left,2.5\n")
    data = fg.stream("whole.csv", target="y", task="regression")
    net = fg.MLP([data.n_inputs, 1])
    model = data.model(net, net.init(0))
    model.save("m.npz")
    frame = pa.csv.read_csv("gap.csv")
    with pytest.raises(ValueError, match=r"row 1, column x: missing.* with impute=True"):
        model.predict(frame)
    for name, words in (("gap.csv", "impute=True"), ("word.csv", 'unknown="zero"')):
        given = fg.stream(name, like=data)
        for call in (
            lambda given=given: fg.evaluate(net, net.init(0), given),
            lambda given=given: fit(net, given),
            lambda given=given: model.predict(given),
        ):
            with pytest.raises(ValueError, match=words):
                call()
    for command, more in (("evaluate", []), ("predict", ["-o", "p.csv"])):
        for window in ([], ["--window", 20]):
            _, _, err = cli(command, "m.npz", "gap.csv", *more, *window)
            assert "row 2, column x: missing" in err and "--impute mean" in err
            assert "--unknown zero" in cli(command, "m.npz", "word.csv", *more, *window)[2]


def test_what_takes_no_stream_names_the_argument(parquet):
    data, net = labelled(parquet), classifier()
    for call in (
        lambda: fg.fit_many(net, data, LABELS, seeds=[0]),
        lambda: fg.GradientNorms(net, data, LABELS),
        lambda: data.model(net).inputs(data),
        lambda: net.predict(net.init(0), data),
        lambda: fit(net, X, LABELS, validation=(data, LABELS)),
    ):
        with pytest.raises(TypeError, match=r"X is a Stream, .*; expected an array .*predict"):
            call()


def test_what_is_offered_of_a_stream_is_what_is_documented(parquet):
    assert {name for name in dir(labelled(parquet)) if not name.startswith("_")} == {
        "ahead", "classes", "encoding", "features", "files", "held_out", "mean", "model",
        "n_inputs", "n_outputs", "rows", "scale", "source", "tables", "target", "task", "threads",
        "weight", "window",
    }  # fmt: skip


# The command line


def test_the_command_line_reads_a_file_once_to_score_it(cli, folder, parquet, monkeypatch):
    from fastgrad._tables.blocks import Folder

    reads, read = [], Folder.read
    monkeypatch.setattr(
        Folder, "read", lambda self, unit, *args, **more: (
            reads.append(unit) or read(self, unit, *args, **more))
    )  # fmt: skip
    options = ["--features", "x0,x1,x2,x3,x4", "--window", 3000, "--epochs", 1, "--quiet"]
    for target in ("label", "y"):
        reads.clear()
        name = f"{target}.npz"
        code, _, err = cli("train", parquet, "--target", target, *options, "-o", name,
                           "--validation", 0)  # fmt: skip
        assert code == 0 and set(map(reads.count, reads)) == {1, 3}, err  # learn, train and score
        reads.clear()
        assert cli("evaluate", name, parquet, "--window", 300)[0] == 0
        assert len(set(reads)) == len(reads) > 0


def test_the_command_line_reads_in_windows(cli, folder, parquet):
    options = ["--target", "label", "--features", "x0,x1,x2,x3,x4", "--window", 500, "--epochs", 4]
    code, _, err = cli("train", f"{parquet}/*.parquet", *options, "-o", "m.npz")
    assert code == 0, err
    assert "classification of label (3 classes)" in err and "held out" in err
    code, _, err = cli("train", parquet, *options, "-o", "n.npz", "--checkpoint", "c.npz")
    assert code == 0 and fg.load_model("n.npz").theta.tobytes() == (
        fg.load_model("m.npz").theta.tobytes()
    )
    memory = json.loads(cli("evaluate", "m.npz", parquet, "--json")[1])
    streamed = json.loads(cli("evaluate", "m.npz", parquet, "--json", "--window", 300)[1])
    assert streamed["confusion"] == memory["confusion"] and streamed["rows"] == N
    assert streamed["loss"] == pytest.approx(memory["loss"], rel=1e-6)
    for name in ("p.csv", "p.parquet"):
        assert cli("predict", "m.npz", parquet, "-o", name, "--proba", "--force")[0] == 0
        assert cli("predict", "m.npz", parquet, "-o", "w" + name, "--proba", "--window", 9)[0] == 0
    assert (folder / "p.csv").read_text() == (folder / "wp.csv").read_text()
    assert pq.read_table("p.parquet").equals(pq.read_table("wp.parquet"))
    for more, words in (
        (["--drop-missing"], "--drop-missing takes all rows at once"),
        (["--networks", 2], "--networks takes all rows at once"),
    ):
        code, _, err = cli("train", parquet, *options, "-o", "x.npz", *more)
        assert code == 2 and words in err


def test_the_command_line_of_a_regression(cli, folder, csv):
    options = ["--target", "y", "--drop", "label,w", "--epochs", 6, "--quiet"]
    code, out, err = cli("train", csv, *options, "--window", 600, "--json", "-o", "m.npz")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["val_r2"] > 0.5
    memory = json.loads(cli("evaluate", "m.npz", csv, "--json")[1])
    streamed = json.loads(cli("evaluate", "m.npz", csv, "--json", "--window", 300)[1])
    for name in ("loss", "r2", "rmse", "mae"):
        assert streamed[name] == pytest.approx(memory[name], rel=1e-5)
    code, _, err = cli("evaluate", "m.npz", csv, "--window", 300, "--plot", "p.png")
    assert code == 2 and "--plot takes all rows at once" in err
    code, _, err = cli("predict", "m.npz", csv, "--window", 300, "--json")
    assert code == 2 and "expected one" in err


def test_large_files_are_read_in_windows_unasked(cli, folder, csv, monkeypatch):
    from fastgrad._cli import stream as streamed

    monkeypatch.setattr(streamed, "STREAM_BYTES", 1000)
    options = ["--target", "label", "--drop", "y,w", "--epochs", 1, "-o", "m.npz"]
    code, _, err = cli("train", csv, *options)
    assert code == 0 and "are read in windows of 262144 rows" in err


def test_files_without_names_read_like_a_stream_have_all_their_rows(folder):
    (folder / "t").mkdir()
    (folder / "t" / "a.csv").write_text("0,1,2\n5,3,11\n7,1,15\n2,2,6\n9,4,22\n")
    data = fg.stream("t", csv={"header": False}, task="regression")
    again = fg.stream("t", like=data)
    assert data.rows == again.rows == 5
    net = fg.MLP([2, 1])
    theta = net.init(seed=0)
    assert fg.evaluate(net, theta, again) == fg.evaluate(net, theta, data)
    (folder / "t" / "a.csv").write_text("4,1,2\n5,3,11\n")
    with pytest.raises(ValueError, match="header"):
        fg.stream("t", like=data.model(net, theta))
