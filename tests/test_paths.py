"""The formulas on every SIMD path: the tests of numbers once more, where AVX-512 is not used."""

import pytest
from helpers import run_python, simd_path

NUMBERS = ["accuracy", "assembly", "curvature", "dense", "jacobians", "layouts", "losses",
           "network", "neuron", "numbers", "optimizers", "plans", "vmath"]  # fmt: skip

RUN = """
import sys
import fastgrad as fg
import pytest
assert fg.config()["simd"] == sys.argv[1]
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.stress
@pytest.mark.parametrize("path", ["avx2", "plain"])
def test_the_tests_of_numbers_pass_on_other_paths(path):
    files = [f"test_{name}.py" for name in NUMBERS]
    run_python(RUN, path, *files, timeout=3600, **simd_path(path))
