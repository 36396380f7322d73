"""What the machine can do: FMA peak and read bandwidth, measured with the threads of the run.

The peak is a loop of independent fused multiply-adds on full-width registers, the bandwidth a sum
over an array that fits the L2 caches, the L3, or neither. A work's limit is the larger of
flops / peak and bytes / bandwidth, the bandwidth of the smallest of the three that holds its bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

_CACHES = {"L2": 1 << 20, "L3": 32 << 20}  # where the system does not say


@dataclass(frozen=True)
class Roofline:
    threads: int
    peak: dict[str, float]  # flop/s by dtype
    bandwidth: dict[str, float]  # byte/s by "L2", "L3" and "memory"
    caches: dict[str, int]  # bytes by "L2" (of all threads together) and "L3"

    def merged(self, other: Roofline) -> Roofline:
        """The higher of two measurements, limit by limit."""
        return replace(
            self,
            peak={key: max(x, other.peak[key]) for key, x in self.peak.items()},
            bandwidth={key: max(x, other.bandwidth[key]) for key, x in self.bandwidth.items()},
        )

    def level(self, work) -> str:
        return next((x for x in ("L2", "L3") if work.bytes <= self.caches[x]), "memory")

    def limit(self, work) -> float:
        """Seconds below which no program can do the work on this machine."""
        return max(
            work.flops / self.peak[work.dtype], work.bytes / self.bandwidth[self.level(work)]
        )

    def bound(self, work) -> str:
        """What sets the limit: "fma", or the memory that is read."""
        level = self.level(work)
        compute = work.flops / self.peak[work.dtype]
        return "fma" if compute >= work.bytes / self.bandwidth[level] else level


def cache_sizes(threads: int) -> dict[str, int]:
    sizes = dict(_CACHES)
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level = "L" + (index / "level").read_text().strip()
            text = (index / "size").read_text().strip()
        except OSError:
            continue
        if level in sizes:
            sizes[level] = int(text.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20}[text[-1]]
    return {"L2": sizes["L2"] * threads, "L3": sizes["L3"]}


def _kernels():
    """(multiply_add, total): the two loops, a call for each thread's share."""
    import numba
    from numba.core import types
    from numba.extending import intrinsic

    from fastgrad.kernels.simd import I64, VECTOR_REGISTERS, Vectors, element_type, pointer, shift

    sums = 24 if VECTOR_REGISTERS == 32 else 12

    @intrinsic
    def spin(typingctx, data, count):
        """`count` times `sums` FMAs: s = s * data[0] + data[1], each s a register."""

        def codegen(context, builder, signature, args):
            vec = Vectors(builder, element_type(signature.args[0]))
            count = context.cast(builder, args[1], signature.args[1], types.int64)
            a, b = (vec.splat(builder.load(builder.gep(args[0], [I64(i)]))) for i in (0, 1))
            before, function = builder.block, builder.function
            loop, after = (function.append_basic_block(x) for x in ("fma", "fma_done"))
            builder.branch(loop)
            builder.position_at_end(loop)
            index = builder.phi(I64)
            registers = [builder.phi(vec.type) for _ in range(sums)]
            new = [vec.fma(register, a, b) for register in registers]
            following = builder.add(index, I64(1))
            index.add_incoming(I64(0), before)
            index.add_incoming(following, loop)
            for i, (register, value) in enumerate(zip(registers, new)):
                register.add_incoming(vec.const(i + 1.0), before)
                register.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            builder.position_at_end(after)
            total = new[0]
            for value in new[1:]:
                total = vec.add(total, value)
            return vec.reduce(vec.add, total)

        return signature_of(data, count), codegen

    def signature_of(data, count):
        return data.dtype(data, count)

    @intrinsic
    def read(typingctx, data, count):
        """The sum of `count` vectors, a multiple of 8."""

        def codegen(context, builder, signature, args):
            vec = Vectors(builder, element_type(signature.args[0]))
            count = context.cast(builder, args[1], signature.args[1], types.int64)
            before, function = builder.block, builder.function
            loop, after = (function.append_basic_block(x) for x in ("read", "read_done"))
            builder.branch(loop)
            builder.position_at_end(loop)
            index = builder.phi(I64)
            registers = [builder.phi(vec.type) for _ in range(8)]
            new = []
            for i, register in enumerate(registers):
                at = builder.mul(builder.add(index, I64(i)), I64(vec.lanes))
                new.append(vec.add(register, vec.load(builder.gep(args[0], [at]))))
            following = builder.add(index, I64(8))
            index.add_incoming(I64(0), before)
            index.add_incoming(following, loop)
            for register, value in zip(registers, new):
                register.add_incoming(vec.const(0.0), before)
                register.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            builder.position_at_end(after)
            total = new[0]
            for value in new[1:]:
                total = vec.add(total, value)
            return vec.reduce(vec.add, total)

        return signature_of(data, count), codegen

    @numba.njit(parallel=True, error_model="numpy")
    def multiply_add(out, data, count, shares):
        for share in numba.prange(shares):
            out[share] = spin(pointer(data), count)

    @numba.njit(parallel=True, error_model="numpy")
    def total(out, data, vectors, lanes, repeats, shares):
        for share in numba.prange(shares):
            for _ in range(repeats):
                out[share] += read(shift(pointer(data), share * vectors * lanes), vectors)

    return multiply_add, total, sums


def _best(function, *args, seconds: float = 0.4) -> float:
    """The shortest of many calls: what the machine can do, not what it does when disturbed.

    A call takes some 10 ms, or else the wait for a descheduled thread would be most of it.
    """
    began, times = time.perf_counter(), []
    while len(times) < 9 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(threads: int, attempts: int = 6) -> Roofline:
    """Peak and bandwidth with `threads` threads; NUMBA_NUM_THREADS must allow them.

    Measured again, the best of each kept, while other processes run.
    """
    from .worker import others

    kernels, best = _kernels(), None
    for _ in range(attempts):
        before, since = others(), time.perf_counter()
        one = _measure(threads, kernels)
        elapsed, after = time.perf_counter() - since, others()
        best = one if best is None else best.merged(one)
        busy = sum(after[task] - before[task] for task in after.keys() & before.keys())
        if busy / 1e9 < 0.1 * elapsed:
            break
    return best


def _measure(threads: int, kernels) -> Roofline:
    import numba

    from fastgrad.kernels.simd import LANES_F32, LANES_F64

    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        multiply_add, total, sums = kernels
        peak = {}
        for dtype, lanes in (("float32", LANES_F32), ("float64", LANES_F64)):
            out, count = np.zeros(threads, dtype), 4_000_000
            args = out, np.array([0.5, 1.0], dtype), count, threads
            multiply_add(*args)
            peak[dtype] = 2 * sums * lanes * count * threads / _best(multiply_add, *args)
        caches = cache_sizes(threads)
        sizes = {
            "L2": caches["L2"] // 2,
            "L3": max(caches["L3"] // 2, caches["L2"]),
            "memory": min(max(4 * caches["L3"], 64 << 20), 1 << 30),
        }
        bandwidth = {}
        for level, size in sizes.items():
            vectors = size // threads // (LANES_F32 * 4) // 8 * 8
            data = np.ones(vectors * threads * LANES_F32, np.float32)
            repeats = max(2, (2 << 30) // size if size < caches["L3"] else 2)
            args = np.zeros(threads, np.float32), data, vectors, LANES_F32, repeats, threads
            total(*args)
            bandwidth[level] = data.nbytes * repeats / _best(total, *args)
        return Roofline(threads, peak, bandwidth, caches)
    finally:
        numba.set_num_threads(before)


if __name__ == "__main__":
    import sys

    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
