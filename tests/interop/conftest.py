"""These tests need the guests' own packages; where one is missing its file is left out, aloud."""

from importlib.util import find_spec

_NEEDS = {
    "test_autodiff.py": ("torch", "jax"),
    "test_derivatives.py": ("torch", "jax"),
    "test_per_sample_autodiff.py": ("torch", "jax"),
    "test_small_batches.py": ("torch",),
    "test_torch.py": ("torch",),
    "test_torch_modules.py": ("torch",),
    "test_torch_accuracy.py": ("torch",),
    "test_torch_optimizers.py": ("torch",),
    "test_jax.py": ("jax",),
    "test_dask.py": ("dask", "distributed", "pandas", "pyarrow"),
    "test_dask_cluster.py": ("dask", "distributed"),
    "test_mpi.py": ("mpi4py",),
}

collect_ignore_glob = []
_left_out = []
for _file, _packages in _NEEDS.items():
    _missing = [name for name in _packages if find_spec(name) is None]
    if _missing:
        collect_ignore_glob.append(_file)
        _left_out.append(f"tests/interop/{_file} is left out: {', '.join(_missing)} not installed")


def pytest_terminal_summary(terminalreporter):
    for line in _left_out:
        terminalreporter.write_line(line)
