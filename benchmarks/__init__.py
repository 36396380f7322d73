"""The asv suite, and fastgrad beside its peers: `python -m benchmarks.peers`.

NumPy's OpenBLAS runs the kernels of this processor: where the environment holds it to another's and
Numba is not held too, the variables are dropped, unless NumPy has been imported with them.
"""

import os
import sys

if "NUMBA_CPU_NAME" not in os.environ and "numpy" not in sys.modules:
    for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(_name, None)
