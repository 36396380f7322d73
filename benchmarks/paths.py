"""The AVX2 path of every library on a machine that has AVX-512 too: environment variables.

They must be set before a library is imported, so a benchmark sets them for the processes that it
starts. What they do not reach asks the processor itself: YNNPACK, which JAX takes its products from
(1024 x 1024 float32 on a Zen 5 core: 234 GFLOP/s, where the FMA peak of AVX2 is 125). So it is
switched off, and JAX's products are Eigen's, as they were before jaxlib had YNNPACK.
"""

from __future__ import annotations

import os

_HASWELL = (
    "64bit avx avx2 bmi bmi2 cmov crc32 cx16 cx8 f16c fma fsgsbase fxsr invpcid lzcnt mmx movbe "
    "pclmul popcnt rdrnd sahf sse sse2 sse3 sse4.1 sse4.2 ssse3 xsave xsaveopt"
).split()


def avx2() -> dict[str, str]:
    """Numba's code for Haswell; OpenBLAS's, oneDNN's, MKL's, ATen's and XLA's with AVX2."""
    xla = "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type=-individual_dot"
    return {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": ",".join(f"+{feature}" for feature in _HASWELL),
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",  # TorchInductor's vectors too
        "TORCHINDUCTOR_CPP_MARCH": "haswell",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla}",
    }
