"""The embedded data are what their sources say; splits and scalings do what they promise."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from fastgrad import datasets

# SHA-256 of X and y as little-endian float64 in C order. Those of digits are also the digests of
# the arrays scikit-learn ships.
DIGESTS = {
    "digits": (
        "20def7f70a702f0af9732fbba4375e147a7d54fe70d8c45569b8e7c1c7010c10",
        "061ad6ef55db43219297185e36e289bb03a3645efcf351c452b19739ecdfb900",
    ),
    "diamonds": (
        "3a2abc8b6e20f976ce17493116a1a217c971c8f39a397a487eada02b627fba72",
        "4a62ebc608ced043ddcf681039ed537f3a7c39c224afe5ed50f6fb20687e5719",
    ),
}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array, "<f8").tobytes()).hexdigest()


def test_names_are_sorted_and_each_loads():
    assert datasets.names() == ("diamonds", "digits")
    assert [datasets.load(name).name for name in datasets.names()] == list(datasets.names())


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_arrays_are_those_of_the_source(name):
    data = datasets.load(name)
    assert (digest(data.X), digest(data.y)) == DIGESTS[name]


def test_digits_shape_classes_and_pixels():
    data = datasets.load_digits()
    assert data.X.shape == (1797, 64)
    assert data.y.dtype == np.int64
    assert data.task == "classification"
    assert np.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (data.X.min(), data.X.max(), data.X.sum()) == (0, 16, 561718)
    assert len(data.feature_names) == 64
    assert data.target_names == tuple("0123456789")
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert data.X[0, :16].tolist() == first


def test_diamonds_shape_ranges_and_known_rows():
    data = datasets.load_diamonds()
    assert data.X.shape == (53940, 9)
    assert data.y.shape == (53940,)
    assert data.task == "regression"
    assert data.target_names is None
    assert data.y.sum() == 212135217
    column = dict(zip(data.feature_names, data.X.T, strict=True))
    ranges = {key: (values.min(), values.max()) for key, values in column.items()}
    assert ranges == {
        "carat": (0.2, 5.01),
        "cut": (0, 4),
        "color": (0, 6),
        "clarity": (0, 7),
        "depth": (43, 79),
        "table": (43, 95),
        "x": (0, 10.74),
        "y": (0, 58.9),
        "z": (0, 31.8),
    }
    # "0.23, Ideal, E, SI2" at $326 and "0.29, Premium, I, VS2" at $334.
    assert data.X[0].tolist() == [0.23, 4, 5, 1, 61.5, 55, 3.95, 3.98, 2.43]
    assert data.X[3].tolist() == [0.29, 3, 1, 3, 62.4, 58, 4.2, 4.23, 2.63]
    assert data.y[[0, 3]].tolist() == [326, 334]


def test_diamonds_oddities_are_as_documented():
    data = datasets.load_diamonds()
    rows = np.column_stack([data.X, data.y])
    assert len(rows) - len(np.unique(rows, axis=0)) == 146
    assert (data.X[:, 6:] == 0).any(axis=1).sum() == 20


@pytest.mark.parametrize("dtype", [np.float32, "float64"])
@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_dtype_is_the_one_asked_for(name, dtype):
    data, wide = datasets.load(name, dtype=dtype), datasets.load(name)
    assert wide.X.dtype == np.float64
    assert data.X.dtype == np.dtype(dtype)
    assert data.y.dtype == (np.int64 if name == "digits" else np.dtype(dtype))
    assert data.X.flags.c_contiguous
    assert data.X.flags.aligned
    np.testing.assert_array_equal(data.X, wide.X.astype(dtype))


@pytest.mark.parametrize("dtype", [np.int32, np.float16, bool, object])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match=r"dtype is .*; expected float32 or float64"):
        datasets.load("digits", dtype)


@pytest.mark.parametrize("name", ["iris", "", None, 3])
def test_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f"name is {name!r}; expected one of 'diamonds', 'digits'"):
        datasets.load(name)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_arrays_are_fresh_and_writable(name):
    first = datasets.load(name)
    first.X[:] = -1
    first.y[:] = -1
    again = datasets.load(name)
    assert (digest(again.X), digest(again.y)) == DIGESTS[name]


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_provenance_is_stated_and_documented_beside_the_data(name):
    data = datasets.load(name)
    beside = resources.files("fastgrad.datasets").joinpath("LICENSES.md").read_text("utf-8")
    assert f"## {name}.npz" in beside
    assert data.licence.split(",")[0] in beside
    assert data.source
    assert data.description
    with pytest.raises(AttributeError):
        data.X = None


def test_split_is_a_partition_that_keeps_rows_together():
    X, y = np.arange(200).reshape(100, 2), np.arange(100)
    X_train, X_test, y_train, y_test = datasets.split(X, y, test_fraction=0.25, seed=1)
    assert len(X_test) == len(y_test) == 25
    assert len(X_train) == len(y_train) == 75
    assert sorted([*y_train, *y_test]) == list(range(100))
    np.testing.assert_array_equal(X_train[:, 0], 2 * y_train)
    np.testing.assert_array_equal(X_test[:, 0], 2 * y_test)
    assert y_test.tolist() != sorted(y_test)
    assert not np.shares_memory(X_train, X)


def test_split_depends_on_the_seed_alone():
    data = datasets.load_digits()
    one, two = datasets.split(data, seed=3), datasets.split(data.X, data.y, seed=3)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one[3] != datasets.split(data, seed=4)[3]).any()
    assert set(one[3]) == set(range(10))


@pytest.mark.parametrize(("n", "fraction", "n_test"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.3, 3)])
def test_split_leaves_at_least_one_row_on_either_side(n, fraction, n_test):
    _, X_test, y_train, _ = datasets.split(np.zeros((n, 1)), np.zeros(n), test_fraction=fraction)
    assert (len(X_test), len(y_train)) == (n_test, n - n_test)


def test_split_errors():
    X, y = np.zeros((5, 2)), np.zeros(4)
    with pytest.raises(ValueError, match="y has 4 rows, X has 5"):
        datasets.split(X, y)
    with pytest.raises(TypeError, match="X is a masked array"):
        datasets.split(np.ma.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="y is missing"):
        datasets.split(X)
    with pytest.raises(TypeError, match="y is given beside a Dataset"):
        datasets.split(datasets.load_digits(), y)
    with pytest.raises(ValueError, match="X has 1 rows; expected at least 2"):
        datasets.split(X[:1], y[:1])
    with pytest.raises(ValueError, match=r"y has shape \(\); expected rows"):
        datasets.split(X, 0.2)
    for fraction in (0, 1, -0.5, 2, float("nan")):
        with pytest.raises(ValueError, match=r"test_fraction is .*; expected a number"):
            datasets.split(X, X, test_fraction=fraction)
    with pytest.raises(TypeError, match=r"test_fraction is '0\.2'; expected one"):
        datasets.split(X, X, test_fraction="0.2")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardize_gives_mean_0_deviation_1_and_zero_for_constant_columns(dtype):
    X_train, X_test, _, _ = datasets.split(datasets.load_digits(dtype))
    kept = X_train.copy(), X_test.copy()
    train, test, scaling = datasets.standardize(X_train, X_test)
    np.testing.assert_array_equal(X_train, kept[0])
    np.testing.assert_array_equal(X_test, kept[1])
    assert train.dtype == test.dtype == dtype
    assert scaling.mean.dtype == scaling.scale.dtype == np.float64
    constant = np.ptp(X_train, axis=0) == 0
    assert 0 < constant.sum() < 64
    np.testing.assert_array_equal(train[:, constant], 0)
    np.testing.assert_allclose(train.mean(axis=0, dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(train[:, ~constant].std(axis=0, dtype=float), 1, rtol=1e-6)
    np.testing.assert_allclose(test * scaling.scale + scaling.mean, X_test, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardize_sees_a_constant_column_through_rounding(dtype):
    X = np.full((1000, 1), 0.1, dtype)
    train, test, scaling = datasets.standardize(X, X[:1] + dtype(1))
    np.testing.assert_array_equal(train, 0)
    np.testing.assert_allclose(test, 1, rtol=1e-6)
    assert scaling.scale == 1


def test_standardize_takes_targets_and_integers():
    y = np.array([1, 2, 3, 6])
    scaled, scaling = datasets.standardize(y)
    assert scaled.dtype == np.float64
    assert scaled.shape == (4,)
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(scaled * scaling.scale + scaling.mean, y, rtol=1e-14)


def test_standardize_shows_nan():
    scaled, _ = datasets.standardize(np.array([[1.0, 1.0], [np.nan, 2.0]]))
    assert np.isnan(scaled[:, 0]).all()
    np.testing.assert_array_equal(scaled[:, 1], [-1, 1])


@pytest.mark.parametrize("bad", [np.array([1j]), np.array(["a"]), [None], np.ma.ones(3)])
def test_standardize_takes_real_numbers_without_masks(bad):
    with pytest.raises(TypeError, match=r"X_train (has dtype|is a masked)"):
        datasets.standardize(bad)
    with pytest.raises(TypeError, match=r"array 1 (has dtype|is a masked)"):
        datasets.standardize(np.ones(3), bad)


def test_standardize_errors():
    with pytest.raises(ValueError, match=r"array 1 has shape \(2, 4\); expected .* \(2, 3\)"):
        datasets.standardize(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"X_train has shape \(0, 3\); expected"):
        datasets.standardize(np.zeros((0, 3)))


@pytest.mark.parametrize("size", [1e200, 1e-200, 1.7e308, 1e-307])
def test_standardize_takes_numbers_of_any_size(rng, size):
    near = rng.uniform(-1, 1, (50, 2))
    X = near * [size, 1.0]
    Z, scaling = datasets.standardize(X)
    np.testing.assert_allclose(Z, datasets.standardize(near)[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scaling.scale[0], near[:, 0].std() * size, rtol=1e-12)
    assert scaling.mean[1] == near.mean(axis=0)[1]  # the same bits beside a column of any size
    assert scaling.scale[1] == near.std(axis=0)[1]


def test_standardize_of_the_smallest_and_the_largest_numbers():
    tiny = np.array([5e-324, 1e-323, 1e-323])
    Z, scaling = datasets.standardize(tiny)
    assert scaling.scale > 0 and np.isfinite(Z).all()
    largest = np.finfo(float).max
    Z, scaling = datasets.standardize(np.array([largest, -largest]))
    assert Z.tolist() == [1.0, -1.0] and scaling.scale == largest
    one_sided = np.array([-largest, largest / 2, largest / 2, largest / 2])  # X - mean overflows
    Z, _ = datasets.standardize(one_sided)
    np.testing.assert_allclose(Z, datasets.standardize(one_sided / largest)[0])
