"""The asv suite, and fastgrad beside its peers: `python -m benchmarks.peers`.

NumPy's OpenBLAS runs the kernels of this processor: where the environment holds it to another's and
Numba is not held too, the variables are dropped, before anything imports NumPy.
"""

import os

if "NUMBA_CPU_NAME" not in os.environ:
    for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(_name, None)
