"""`fit(reduce=...)`: several ranks train one network; here a rank is a thread."""

import os
import re
import signal
import threading

import numpy as np
import pytest

import fastgrad as fg

RANKS = 3
NET = fg.MLP([4, 8, 2], l2=0.01)


class Together:
    """The sum over threads, in the order of the ranks."""

    def __init__(self, count=RANKS):
        self.count, self.given = count, [None] * count
        self.barrier = threading.Barrier(count, timeout=30)

    def of(self, rank):
        def reduce(array):
            self.given[rank] = array.copy()
            self.barrier.wait()
            assert len({part.shape for part in self.given}) == 1  # all make the same call
            total = sum(self.given[1:], self.given[0])
            self.barrier.wait()
            return total

        return reduce


def all_ranks(fit, count=RANKS):
    """fit(rank, reduce) in each: what it returns or raises."""
    together, results = Together(count), [None] * count

    def one(rank):
        try:
            results[rank] = fit(rank, together.of(rank))
        except BaseException as error:
            results[rank] = error

    workers = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results


@pytest.fixture
def rows(rng):
    """Of each rank: 40, 25 and 7 rows."""
    X = rng.standard_normal((72, 4))
    y, s = np.stack([X[:, 0] * X[:, 1], np.abs(X[:, 2])], axis=1), rng.random(72)
    return [tuple(array[cut] for array in (X, y, s)) for cut in
            (slice(0, 40), slice(40, 65), slice(65, 72))]  # fmt: skip


def joined(rows):
    return [np.concatenate(arrays) for arrays in zip(*rows)]


def require_same(results):
    for result in results[1:]:
        np.testing.assert_array_equal(result.theta, results[0].theta)
        np.testing.assert_array_equal(result.best_theta, results[0].best_theta)
        for column in set(result.history.columns) - {"seconds"}:
            np.testing.assert_array_equal(result.history[column], results[0].history[column])
        assert (result.stopped, result.best_epoch) == (results[0].stopped, results[0].best_epoch)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "newtoncg", "levenbergmarquardt"])
def test_ranks_train_as_one_would_on_all_rows(rows, optimizer, weighted):
    settings = {"optimizer": optimizer, "epochs": 5, "seed": 0}
    batches = {"batch_size": 72} if optimizer == "adam" else {}

    def fit(rank, reduce):
        X, y, s = rows[rank]
        return fg.fit(NET, X, y, sample_weight=s if weighted else None, validation=(X, y, s),
                      reduce=reduce, **settings, **batches)  # fmt: skip

    results = all_ranks(fit)
    require_same(results)
    X, y, s = joined(rows)
    alone = fg.fit(NET, X, y, sample_weight=s if weighted else None, validation=(X, y, s),
                   **settings, **batches)  # fmt: skip
    for column in set(alone.history.columns) - {"seconds"}:
        np.testing.assert_allclose(results[0].history[column], alone.history[column], rtol=1e-6)
    np.testing.assert_allclose(results[0].theta, alone.theta, rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("one_thread")
def test_batches_are_rows_of_each_rank_until_the_last_one_has_no_more(rows):
    """Steps as by hand: 10 rows of each rank, of which two have fewer."""
    optimizer = fg.SGD(0.1)
    results = all_ranks(lambda rank, reduce: fg.fit(
        NET, *rows[rank][:2], optimizer=optimizer, epochs=2, batch_size=10, seed=0, shuffle=False,
        reduce=reduce,
    ))  # fmt: skip
    require_same(results)
    assert results[0].optimizer.steps == 2 * 4
    theta = NET.init(0)
    for _ in range(2):
        for first in range(0, 40, 10):
            batch = joined([[array[first : first + 10] for array in own] for own in rows])
            theta -= 0.1 * NET.loss_and_grad(theta, *batch[:2])[1]
    np.testing.assert_allclose(results[0].theta, theta, rtol=1e-9)


@pytest.mark.usefixtures("one_thread")
def test_rows_are_shuffled_anew_and_read_from_batches_too(rows):
    def fit(rank, reduce):
        X, y, _ = rows[rank]
        return fg.fit(NET, X, y, epochs=2, batch_size=16, seed=0, reduce=reduce)

    first, again = all_ranks(fit), all_ranks(fit)
    require_same(first)
    np.testing.assert_array_equal(first[0].theta, again[0].theta)

    def ready(rank, reduce):
        X, y, _ = rows[rank]
        batches = [(X[i : i + 16], y[i : i + 16]) for i in range(0, len(X), 16)]
        return fg.fit(NET, lambda: iter(batches), epochs=2, seed=0, reduce=reduce)

    def in_order(rank, reduce):
        X, y, _ = rows[rank]
        return fg.fit(NET, X, y, epochs=2, batch_size=16, seed=0, shuffle=False, reduce=reduce)

    np.testing.assert_allclose(all_ranks(ready)[2].theta, all_ranks(in_order)[2].theta, rtol=1e-12)


@pytest.mark.usefixtures("one_thread")
def test_ranks_resume_to_the_bit_from_one_file(rows, folder):
    def fit(epochs, **more):
        return all_ranks(lambda rank, reduce: fg.fit(
            NET, *rows[rank][:2], epochs=epochs, batch_size=16, seed=5, reduce=reduce, **more
        ))  # fmt: skip

    whole = fit(6)
    require_same(fit(3, checkpoint="run.npz"))
    resumed = fit(6, checkpoint="run.npz", resume=True)
    require_same(resumed)
    np.testing.assert_array_equal(resumed[0].theta, whole[0].theta)
    np.testing.assert_array_equal(resumed[0].history.loss, whole[0].history.loss)


@pytest.mark.usefixtures("one_thread")
def test_ranks_whose_checkpoints_are_of_other_epochs_say_so(rows, folder):
    def fit(rank, reduce, epochs, **more):
        return fg.fit(NET, *rows[rank][:2], epochs=epochs, batch_size=16, seed=5, reduce=reduce,
                      checkpoint=f"{rank}.npz", **more)  # fmt: skip

    all_ranks(lambda rank, reduce: fit(rank, reduce, 2))
    (folder / "1.npz").unlink()
    results = all_ranks(lambda rank, reduce: fit(rank, reduce, 4, resume=True))
    assert all("the ranks differ in their checkpoints" in str(result) for result in results)


class Stops:
    def __init__(self, steps):
        self.steps = steps

    def on_step(self, result):
        return result.optimizer.steps == self.steps


@pytest.mark.usefixtures("one_thread")
def test_all_ranks_stop_where_one_does(rows):
    def fit(rank, reduce, **more):
        return fg.fit(NET, *rows[rank][:2], epochs=9, batch_size=16, seed=0, reduce=reduce, **more)

    say = lambda result: result.epochs == 4  # noqa: E731
    results = all_ranks(lambda rank, reduce: fit(rank, reduce, callbacks=[say] * (rank == 1)))
    require_same(results)
    assert {(result.stopped, result.epochs) for result in results} == {("callback", 4)}
    results = all_ranks(lambda rank, reduce: fit(rank, reduce, callbacks=[Stops(5)] * (rank == 2)))
    require_same(results)
    assert {(r.stopped, r.epochs, r.optimizer.steps) for r in results} == {("callback", 1, 5)}
    results = all_ranks(
        lambda rank, reduce: fit(rank, reduce, optimizer=fg.SGD(0.0), patience=2, shuffle=False)
    )
    assert {(result.stopped, result.epochs) for result in results} == {("patience", 3)}

    def interrupt(result):
        raise KeyboardInterrupt

    results = all_ranks(lambda rank, reduce: fit(rank, reduce, callbacks=[interrupt] * (rank == 0)))
    require_same(results)
    assert all(result.interrupted for result in results)


def test_ctrl_c_is_heard_at_the_next_sum():
    """Not between sums, where the other ranks would wait for ever."""
    before = signal.getsignal(signal.SIGINT)
    calls = []

    def reduce(array):
        calls.append(array.size)
        if len(calls) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return array

    result = fg.fit(NET, np.ones((40, 4)), np.ones((40, 2)), seed=0, epochs=99, reduce=reduce)
    assert result.interrupted and len(calls) == 21
    assert signal.getsignal(signal.SIGINT) is before


def breaks(result):
    raise OSError("no space left")


# What rank 1 does otherwise, and its error.
FAULTS = {
    "rows of another width": ({"X": np.ones((5, 3))}, ValueError, r"X has shape \(5, 3\)"),
    "a callback": ({"callbacks": [breaks]}, OSError, "no space left"),
    "a batch": ({"X": lambda: iter([(np.ones((2, 4)), np.ones((3, 2)))]), "y": None}, ValueError,
                "batch 0: y has"),
    "no seed": ({"seed": None}, ValueError, "seed is None"),
    "weights": ({"sample_weight": np.full(25, 1e20)}, ValueError, "sample_weight has the largest"),
    "a checkpoint": ({"checkpoint": "no/such/run.npz"}, (OSError, ValueError), "no/such"),
}  # fmt: skip


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_in_one_rank_ends_the_others(rows, fault):
    own, kind, message = FAULTS[fault]

    def fit(rank, reduce):
        X, y, _ = rows[rank]
        given = {"X": X, "y": y, "epochs": 3, "seed": 0, **(own if rank == 1 else {})}
        return fg.fit(NET, reduce=reduce, **given)

    results = all_ranks(fit)
    assert isinstance(results[1], kind), results[1]
    assert re.search(message, str(results[1]))
    for other in (results[0], results[2]):
        assert isinstance(other, RuntimeError) and "error in another rank" in str(other)


# What rank 1 begins with otherwise.
APART = {
    "theta": {"seed": 1},
    "optimizer": {"optimizer": fg.Adam(0.5)},
    "epochs": {"epochs": 4},
    "net": {"net": fg.MLP([4, 8, 2], l2=0.02)},
    "validation": {"validation": (np.ones((2, 4)), np.ones((2, 2)))},
    "batch_size": {"batch_size": 16},
    "shuffle": {"shuffle": False},
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", APART)
def test_ranks_that_begin_apart_are_an_error_in_all(rows, name):
    def fit(rank, reduce):
        X, y, _ = rows[rank]
        given = {"net": NET, "epochs": 3, "seed": 0, **(APART[name] if rank == 1 else {})}
        return fg.fit(X=X, y=y, reduce=reduce, **given)

    for result in all_ranks(fit):
        assert isinstance(result, ValueError)
        assert "reduce: the ranks differ in" in str(result) and name in str(result)


def test_sums_that_are_not_the_same_in_all_ranks_are_noticed(rows):
    def fit(rank, reduce):
        wrong = lambda array: reduce(array) * (1 + (array.size > 58) * rank * 1e-9)  # noqa: E731
        return fg.fit(NET, *rows[rank][:2], epochs=3, batch_size=16, seed=0, reduce=wrong)

    for result in all_ranks(fit):
        assert "reduce returns different sums" in str(result)


@pytest.mark.parametrize(("reduce", "message"), [
    (5, "reduce is 5; expected a function"),
    (lambda array: array.astype(np.float32), r"reduce returned shape .* dtype float32"),
    (lambda array: array[:1], r"reduce returned shape \(1,\)"),
    (lambda array: None, "reduce returned shape"),
])  # fmt: skip
def test_what_is_no_sum(reduce, message):
    with pytest.raises(TypeError, match=message):
        fg.fit(NET, np.ones((4, 4)), np.ones((4, 2)), seed=0, reduce=reduce)


def test_one_rank_is_fit(rows):
    """Of float32 to the bit: its products and quotients with the rows of a batch are exact."""
    net = fg.MLP([4, 8, 2], dtype="float32")
    X, y, _ = joined(rows)
    given = net, X, y
    settings = {"epochs": 3, "batch_size": 16, "seed": 0, "shuffle": False}
    found = fg.fit(*given, reduce=lambda array: array, **settings)
    np.testing.assert_array_equal(found.theta, fg.fit(*given, **settings).theta)


def _in_files(rows):
    for rank, (X, y, _) in enumerate(rows):
        table = np.column_stack([X, y[:, 0]])
        np.savetxt(f"{rank}.csv", table, delimiter=",", header="a,b,c,d,y", comments="")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["adam", "newtoncg"])
def test_each_rank_may_read_files_of_its_own(rows, folder, optimizer):
    pytest.importorskip("pyarrow")
    _in_files(rows)
    net = fg.MLP([4, 8, 1], l2=0.01)

    def fit(rank, reduce):
        data = fg.stream(f"{rank}.csv", target="y", window=16, standardize=False)
        batches = {"batch_size": 16} if optimizer == "adam" else {}
        return fg.fit(net, data, epochs=3, seed=0, shuffle=False, optimizer=optimizer,
                      validation=data, reduce=reduce, **batches)  # fmt: skip

    results = all_ranks(fit)
    require_same(results)

    def in_memory(rank, reduce):
        X, y, _ = rows[rank]
        batches = {"batch_size": 16} if optimizer == "adam" else {}
        return fg.fit(net, X, y[:, 0], epochs=3, seed=0, shuffle=False, optimizer=optimizer,
                      validation=(X, y[:, 0]), reduce=reduce, **batches)  # fmt: skip

    for column in ("loss", "val_loss", "val_r2"):
        np.testing.assert_allclose(
            results[0].history[column], all_ranks(in_memory)[0].history[column], rtol=1e-6
        )


@pytest.mark.usefixtures("one_thread")
def test_ranks_with_files_of_their_own_resume_to_the_bit_from_one_file(rows, folder):
    """Rank 2's rows fit in a window, those of the others do not."""
    pytest.importorskip("pyarrow")
    _in_files(rows)
    net = fg.MLP([4, 8, 1])

    def fit(epochs, shown=range(RANKS), **more):
        def one(rank, reduce):
            data = fg.stream(f"{shown[rank]}.csv", target="y", window=16, standardize=False)
            return fg.fit(net, data, epochs=epochs, batch_size=8, seed=5, reduce=reduce, **more)

        return all_ranks(one)

    whole = fit(4)
    require_same(fit(2, checkpoint="run.npz"))
    resumed = fit(4, checkpoint="run.npz", resume=True)
    require_same(resumed)
    np.testing.assert_array_equal(resumed[0].theta, whole[0].theta)
    with open("0.csv", "a") as file:
        file.write("1,1,1,1,1\n")
    with open("1.csv") as file:
        lines = file.readlines()
    with open("1.csv", "w") as file:
        file.writelines(lines[:-1])  # as many rows in all
    for result in fit(6, checkpoint="run.npz", resume=True):
        assert "the ranks have other data" in str(result)


class Communicator:
    """As mpi4py's: it knows which rank this is."""

    def __init__(self, rank, reduce):
        self.rank, self.reduce = rank, reduce

    def Get_rank(self):
        return self.rank

    def Allreduce(self, message, sums):
        sums[...] = self.reduce(message)


@pytest.mark.usefixtures("one_thread")
def test_ranks_of_a_communicator_that_change_their_files_are_an_error_in_all(rows, folder):
    pytest.importorskip("pyarrow")
    _in_files(rows)

    def fit(epochs, shown=range(RANKS)):
        def one(rank, reduce):
            data = fg.stream(f"{shown[rank]}.csv", target="y", window=16, standardize=False)
            return fg.fit(fg.MLP([4, 1]), data, epochs=epochs, batch_size=8, seed=5, resume=True,
                          checkpoint="run.npz", reduce=Communicator(rank, reduce))  # fmt: skip

        return all_ranks(one)

    require_same(fit(1))
    require_same(fit(2))
    for result in fit(3, shown=[1, 0, 2]):
        assert isinstance(result, ValueError) and "the ranks have other data" in str(result)


def test_ranks_that_scale_their_files_otherwise_are_an_error_in_all(rows, folder):
    pytest.importorskip("pyarrow")
    _in_files(rows)
    fg.stream("*.csv", target="y").model(fg.MLP([4, 8, 1])).save("columns.npz")

    def fit(rank, reduce, **more):
        data = fg.stream(f"{rank}.csv", window=16, **more)
        return fg.fit(fg.MLP([4, 8, 1]), data, epochs=1, batch_size=8, seed=0, reduce=reduce)

    for result in all_ranks(lambda rank, reduce: fit(rank, reduce, target="y")):
        assert "the ranks differ in what their files' columns mean" in str(result)
    like = fg.load_model("columns.npz")
    require_same(all_ranks(lambda rank, reduce: fit(rank, reduce, like=like)))
