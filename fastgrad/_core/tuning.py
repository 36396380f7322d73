"""Every block size and threshold of a plan."""

from __future__ import annotations

# Tuning numbers, measured 2026-11 on two cores with AVX-512: Zen 5 (48 KiB L1, 1 MiB L2), an Intel
# Xeon (48 KiB, 2 MiB), where those of few-row and threaded plans were set anew, and Zen 4 (32 KiB,
# 1 MiB), where PARALLEL_FLOPS, PAIR_ROWS, WIDE and TRANSPOSE_COST were.
CACHE_BYTES = 192 * 1024  # activations of a row block: they and the panels share the L2
BLOCK_ROWS = (96, 120)  # least and most rows of a block; multiples of every tile's rows
TASK_ROWS = 512  # rows of a task where there are many: a partial gradient costs some ten rows
PAIR_ROWS, SMALL_TASKS = 32, (64, 4)  # with fewer rows: two tasks from so many rows on; and then
# least rows of a task, most tasks
MAX_TASKS = 32
TASK_GRADIENT_BYTES = 256 * 2**20  # all partial gradients together
PARALLEL_FLOPS = 2_000_000  # in float32, some 20 us of one core: less is lost to moving data
# between cores; float64 takes twice as long
ASLEEP_FLOPS = 25_000_000  # where threads must be woken, in some 80 us
WIDE_BYTES, WIDE_RATIO = 1_600_000, 1000  # gradients of more bytes, or of more parameters a row,
# are split by rows of W: a private one a task would cost more than sharing the activations
WIDE_TASK_ROWS = 128  # rows of a row task in a wide network: a panel of W is read once for them
WIDE_LEAST_ROWS = 4  # and the fewest for which such a task pays
WEIGHT_ROWS = (192, 96)  # rows of W of a weight task, in networks with many inputs and with few
CHUNK_BYTES = 32 * 2**20  # activations and deltas kept for the weight tasks
IN_PLACE_ROWS = 128  # up to here, of all who share the panels, packing W costs more than reading it
# in place (64-100 to 1000-1000 on Zen 4: from 200 rows on, but from 100 where rows lie 4 KiB apart)
NARROW_ROWS = 256  # and up to here where all columns make one panel
FEW_ROWS = (4, 32)  # up to here transposing W costs more than dot products with its rows: any
FEW_VECTORS = 8  # rows, and rows of so many vectors
SKINNY_OVERHEAD, SKINNY_SHARE = 3.5, 0.45  # 7 + 2 vectors cycles a sum, against 0.9 d a row
TRANSPOSE_COST, ADD_COST = (
    3.5,
    0.4,
)  # cycles: to put a number of a transpose in its place; to add up
# one of all parameters, where that would not be done anyway
SLICE_PARAMETERS, LEAST_SLICED = 16_384, 3_000  # parameters of a slice of packing and adding up
OWN_PANELS, OWN_TASKS = 16_384, 4  # parameters and row tasks up to which each task packs for itself
MAX_SLICES = 32
FLOAT64_ROWS = 1024  # float32 sums of more rows go to float64
CHUNK_ROWS = 2048  # and in wide networks, where float64 sums cost more
NEURON_BLOCK_ROWS = 512  # rows between a neuron's float64 sums
NEURON_PARALLEL_BYTES = 400_000  # about 8 us of one core's cache bandwidth
# Rows of dW, and products of each of its elements, from which copies of both operands pay in a wide
# layer; a row block's operands are in the L2 as they are (100 rows of 64-100, float64: 23.9 us for
# dW and db in place, 25.3 with a copy of the deltas).
COPY_ROWS, COPY_PRODUCTS = 48, 32
