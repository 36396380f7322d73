"""Frames of pandas and tables of pyarrow: nullable, Arrow and mixed columns are numbers."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("one_thread")
NET, THETA = fg.MLP([2, 1]), np.array([1.0, 10.0, 100.0])
A, B, Y = [1.0, 2.0, 3.0], [1, 0, 1], np.zeros(3)
PLAIN = np.array([A, B], float).T
FRAMES = {
    "nullable": {"a": pd.array(A, dtype="Float64"), "b": pd.array(B, dtype="Int64")},
    "nullable booleans": {"a": A, "b": pd.array(B, dtype="boolean")},
    "nullable float32": {"a": pd.array(A, dtype="Float32"), "b": pd.array(B, dtype="Int64")},
    "arrow": {"a": pd.array(A, dtype="float64[pyarrow]"), "b": pd.array(B, dtype="int8[pyarrow]")},
    "arrow booleans": {"a": A, "b": pd.array([1, 0, 1], dtype="Int8").astype("bool[pyarrow]")},
    "numbers and booleans": {"a": A, "b": [True, False, True]},
    "numpy and arrow": {"a": np.array(A, "f4"), "b": pd.array(B, dtype="int64[pyarrow]")},
    "categories of numbers": {"a": A, "b": pd.Categorical(B)},
    "sparse": {"a": pd.arrays.SparseArray(A), "b": [True, False, True]},
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames_are_taken_as_their_numbers(case):
    frame = pd.DataFrame(FRAMES[case])
    assert NET.loss(THETA, frame, Y) == NET.loss(THETA, PLAIN, Y)
    assert fg.evaluate(NET, THETA, frame, Y) == fg.evaluate(NET, THETA, PLAIN, Y)
    np.testing.assert_array_equal(NET.predict(THETA, frame), NET.predict(THETA, PLAIN))
    fits = [fg.fit(NET, X, Y, theta=THETA, epochs=2, seed=0).theta for X in (frame, PLAIN)]
    np.testing.assert_array_equal(*fits)
    batches = fg.fit(NET, [(frame, Y)], theta=THETA, epochs=1)
    assert np.isfinite(batches.theta).all()


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "boolean", "float64[pyarrow]",
                                   "int64[pyarrow]", "bool[pyarrow]"])  # fmt: skip
def test_what_is_missing_is_nan_and_shows_in_the_loss(dtype):
    frame = pd.DataFrame({"a": A, "b": pd.array([1, None, 0], dtype=dtype)})
    assert np.isnan(NET.loss(THETA, frame, Y))
    out = NET.predict(THETA, frame)
    assert np.isnan(out[:, 0]).tolist() == [False, True, False]
    with pytest.warns(RuntimeWarning, match="not finite"):
        fg.fit(NET, frame, Y, epochs=1)
    series = pd.Series(pd.array([1, None, 0], dtype=dtype))
    assert np.isnan(NET.loss(THETA, PLAIN, series))


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "int64[pyarrow]", "uint16[pyarrow]"])
def test_labels_and_targets_of_a_series(dtype):
    labels = pd.Series(pd.array([0, 2, 1], dtype=dtype), index=[7, 8, 9])
    net = fg.MLP([2, 3], loss="cross_entropy")
    theta = net.init(0)
    assert net.loss(theta, PLAIN, labels) == net.loss(theta, PLAIN, [0, 2, 1])
    assert NET.loss(THETA, PLAIN, labels) == NET.loss(THETA, PLAIN, [0, 2, 1])
    assert NET.loss(THETA, PLAIN, Y, labels) == NET.loss(THETA, PLAIN, Y, [0, 2, 1])
    missing = pd.Series(pd.array([0, None, 1], dtype=dtype))
    with pytest.raises(
        TypeError, match=r"y has dtype float64; .* drop the rows whose label is mis"
    ):
        net.loss(theta, PLAIN, missing)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (["x", "y", "z"], "str|object|string"),
        (pd.Series(["1", "2", "3"], dtype=object), "object"),
        (pd.Series([1, 2, None], dtype=object), "object"),
        (pd.date_range("2020", periods=3), "datetime64"),
        (pd.to_timedelta([1, 2, 3]), "timedelta64"),
        (pd.Categorical(["x", "y", "x"]), "category"),
        (pd.array(["x", "y", None], dtype="string[pyarrow]"), "string"),
        (pd.array([1, 2, 3], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), "decimal128"),
        (pd.period_range("2020", periods=3), "period"),
    ],
)
def test_columns_that_are_no_numbers_are_named(column, dtype):
    frame = pd.DataFrame({"a": A, "kind": column, "b": B})
    for call in (lambda: NET.loss(THETA, frame, Y), lambda: fg.fit(NET, frame, Y),
                 lambda: fg.evaluate(NET, THETA, frame, Y)):  # fmt: skip
        with pytest.raises(TypeError, match=rf"^X has the column 'kind' of dtype .*({dtype})"):
            call()


def test_series_that_are_no_numbers_are_named():
    with pytest.raises(TypeError, match=r"^y has dtype (str|object); expected numbers or booleans"):
        NET.loss(THETA, PLAIN, pd.Series(["x", "y", "z"]))


def test_tables_of_pyarrow():
    table = pa.table({"a": A, "b": [True, False, True]})
    assert NET.loss(THETA, table, pa.array([0, 0, 0])) == NET.loss(THETA, PLAIN, Y)
    assert NET.loss(THETA, PLAIN, pa.chunked_array([[1.0], [2.0, 3.0]])) == NET.loss(
        THETA, PLAIN, A
    )


def test_empty_frames_have_the_wrong_shape():
    for frame in (pd.DataFrame(), pd.DataFrame({"a": pd.array([], dtype="Int64"), "b": []})):
        with pytest.raises(ValueError, match=r"^X has (0 rows|shape)"):
            NET.loss(THETA, frame, [])
