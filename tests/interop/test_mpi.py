"""`fit(reduce=...)` with a communicator of mpi4py as it is, in three processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgrad as fg

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([
    str(Path(sys.executable).parent), os.environ.get("PATH", "")
]))  # fmt: skip
NET = fg.MLP([4, 8, 1], "logistic", l2=0.01)
SCRIPT = """
import sys
import numpy as np
from mpi4py import MPI
import fastgrad as fg

comm = MPI.COMM_WORLD
rows = np.load("rows.npz")
own = slice(*[(0, 30), (30, 75), (75, 80)][comm.rank])
net = fg.MLP([4, 8, 1], "logistic", l2=0.01)
for optimizer, rows_of_a_batch in (("adam", 20), ("lbfgs", None)):
    result = fg.fit(net, rows["X"][own], rows["y"][own], optimizer=optimizer, seed=0, epochs=4,
                    batch_size=rows_of_a_batch, reduce=comm, progress=False)
    np.savez(f"{optimizer}{comm.rank}.npz", theta=result.theta, loss=result.history.loss)

def stop(result):
    raise OSError("this rank has had enough")

try:
    fg.fit(net, rows["X"][own], rows["y"][own], seed=0, epochs=4, reduce=comm, progress=False,
           callbacks=[stop] * (comm.rank == 2))
except Exception as error:
    with open(f"ended{comm.rank}", "w") as file:
        file.write(type(error).__name__)
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The folder in which three ranks have trained."""
    if MPIEXEC is None:
        pytest.skip("mpiexec is not installed")
    ready = subprocess.run(
        [sys.executable, "-c", "from mpi4py import MPI"], capture_output=True, text=True
    )
    if ready.returncode:
        pytest.skip(f"mpi4py finds no MPI: {ready.stderr.strip().splitlines()[-1]}")
    folder = tmp_path_factory.mktemp("mpi")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    np.savez(folder / "rows.npz", X=X, y=(X[:, 0] * X[:, 1] > 0).astype(float))
    place = str(Path(fg.__file__).parents[1])
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": place,
                   "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # fmt: skip
    ran = subprocess.run([MPIEXEC, "-n", "3", sys.executable, "-W", "error", "-c", SCRIPT],
                         cwd=folder, env=environment, capture_output=True, text=True,
                         timeout=120)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_three_ranks_train_one_network(three, optimizer):
    ranks = [np.load(three / f"{optimizer}{rank}.npz") for rank in range(3)]
    for rank in ranks[1:]:
        np.testing.assert_array_equal(rank["theta"], ranks[0]["theta"])
        np.testing.assert_array_equal(rank["loss"], ranks[0]["loss"])
    if optimizer == "lbfgs":
        rows = np.load(three / "rows.npz")
        alone = fg.fit(NET, rows["X"], rows["y"], optimizer=optimizer, seed=0, epochs=4)
        np.testing.assert_allclose(ranks[0]["loss"], alone.history.loss, rtol=1e-9)


def test_an_error_in_one_rank_ends_all(three):
    ended = [(three / f"ended{rank}").read_text() for rank in range(3)]
    assert ended == ["RuntimeError", "RuntimeError", "OSError"]
