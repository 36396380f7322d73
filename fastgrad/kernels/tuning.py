"""Thresholds of plans, kernels and training that are the same on every machine, or follow from its
vectors.

What follows from the caches is `_core/tuning.py`'s; what is part of a kernel's register tile (rows
of a tile, sums side by side) stays in the kernel.

Measured 2026-11 on two cores with AVX-512: Zen 5 (48 KiB L1, 1 MiB L2), an Intel Xeon (48 KiB,
2 MiB), where those of few-row and threaded plans were set anew, and Zen 4 (32 KiB, 1 MiB), where
PARALLEL_FLOPS, PAIR_ROWS, WIDE_* and TRANSPOSE_COST were.
"""

from __future__ import annotations

from .micro_kernel import NV
from .simd import VECTOR_BYTES

# Plans (`_core/plan.py`).
BLOCK_ROWS = (96, 120)  # least and most rows of a block; multiples of every tile's rows
TASK_ROWS = 512  # rows of a task where there are many: a task's gradient costs some ten rows
PAIR_ROWS = 32  # where there are too few rows for that: two tasks from so many rows on,
SMALL_TASKS = (64, 4)  # more where each has at least so many rows; so many tasks at most
MAX_TASKS = 32
TASK_GRADIENT_BYTES = 256 * 2**20  # all tasks' gradients together
PARALLEL_FLOPS = 2_000_000  # in float32, some 20 us of one core: less is lost to moving data
# between cores; float64 takes twice as long
ASLEEP_FLOPS = 25_000_000  # where threads must be woken, in some 80 us
# Gradients of more bytes, or of more parameters a row, are split by rows of W ("wide"): a private
# one a task would cost more than handing the activations from thread to thread.
WIDE_RATIO = 1000
WIDE_TASK_ROWS = 128  # rows of a row task in a wide network: a panel of W is read once for them
WIDE_LEAST_ROWS = 4  # and the fewest for which such a task pays
# Weight tasks of a network that threads share evenly, unless one had fewer rows of W than these.
WEIGHT_TASKS, LEAST_WEIGHT_ROWS = 16, 96
# Rows of X up to which reading W in place costs less than packing it (64-100 to 1000-1000 on Zen 4:
# packing pays from 200 rows on); up to which it does where all columns make one panel; and where
# rows of W lie whole pages from each other and a panel has a cache line of each (1024-1024-1024-10
# with AVX2 on Zen 5, 128 rows: 15.3 ms in place, 12.7 panel by panel).
IN_PLACE_ROWS, NARROW_ROWS, PAGED_ROWS = 128, 256, 32
PAGE_BYTES, LINE_BYTES = 4096, 64
# And up to which, in a wide network, each row task copies the panels of W by itself
# (784-512-256-10, 256 rows: 5.45 -> 5.28 ms); with whole pages between rows up to IN_PLACE_ROWS.
PANEL_BY_PANEL_ROWS = 256
# Rows up to which dX by dot products with the rows of W costs less than packing its transpose: of
# any W, and of one whose rows have at least so many vectors.
FEW_ROWS, FEW_VECTORS = (4, 32), 8
# Lanes along the inputs ("skinny"), in units of one vector's products: what a sum costs beside its
# vectors, and what it does for each lane of one; and tiles of the outputs, for each input (Zen 5,
# vectors of both widths, both dtypes, 1 to 8 outputs).
SKINNY_OVERHEAD, SKINNY_LANE, SKINNY_FACTOR = 1.5, 0.2, 1.08
# Cycles to put a number of a transpose in its place; and to add up one of all parameters, where
# that would not be done anyway.
TRANSPOSE_COST, ADD_COST = 3.5, 0.4
# Slices of packing and of adding up: parameters of each, parameters from which there are any.
SLICE_PARAMETERS, LEAST_SLICED, MAX_SLICES = 16_384, 3_000, 32
OWN_PANELS, OWN_TASKS = 16_384, 4  # parameters and row tasks up to which each task packs for itself
FLOAT64_ROWS = 1024  # rows after which a float32 gradient is added to one of float64
CHUNK_ROWS = 2048  # and in wide networks, where that costs more
NEURON_BLOCK_ROWS = 512  # rows between a neuron's float64 sums
NEURON_PARALLEL_BYTES = 400_000  # about 8 us of one core's cache bandwidth
# Rows of dW, and products of each of its elements, from which copies of both operands pay in a wide
# layer; a row block's operands are in the L2 as they are (100 rows of 64-100, float64: 23.9 us for
# dW and db in place, 25.3 with a copy of the deltas).
COPY_ROWS, COPY_PRODUCTS = 48, 32
UNIT_BYTES = 128 * 1024  # of rows' gradients along a unit: they stay in the L2 (`hessian.py`)
# Sparse X (`csr.py`): entries of a row where only shapes are known, and outputs whose products take
# as long as finding a number of W and one of dW (1 ns for both: a gradient of 5,000 rows of 604
# entries, one output, was serial at 3.6 ms); bytes of all tasks' float64 gradients where dW is
# SCATTERED, which it is up to half as many for one; flops that the time of writing a parameter's
# gradient is worth; tasks, and their least rows; chunks of the rows, and the most rows of one,
# whose numbers have 16 bits (on Zen 5; 47,236-64-1, 20,000 rows).
TYPICAL_ENTRIES, ENTRY_OUTPUTS = 64, 16
SCATTERED_BYTES, WRITE_FLOPS = 2 * 2**20, 8
SPARSE_TASKS, SPARSE_TASK_ROWS, SPARSE_CHUNKS, MOST_CHUNK_ROWS = 16, 48, 4, 2**16
# Buckets of columns where dW is GATHERED: as many columns as have so many bytes of dW, of so many
# outputs at least, but a number of buckets; bits of their numbers; entries sorted at a time; of a
# column, from which they are summed in float64.
BUCKET_BYTES, BUCKET_OUTPUTS, LEAST_BUCKETS, BUCKET_BITS = 2**19, 16, 16, (4, 16)
SORTED_ENTRIES, FLOAT64_ENTRIES = 2**14, 512
AHEAD_ENTRIES = 20  # of a row of X, whose rows of W are prefetched
AHEAD_COLUMNS = 12  # whose rows of dW are
# Parameters that begin with a cache line: bytes from which they do.
ALIGNED_BYTES = 2**18
# Workspaces that no step is using (`_core/workspace.py`): their bytes in all; and the plans that
# keep theirs however large, for a network's training and validation.
IDLE_BYTES, KEPT_PLANS = 256 * 2**20, 4

# Stacks (`_core/run.py`): what a step costs beside its products, as flops; threads go inside the
# networks of the last round where these are fewer than this share of the threads.
STEP_FLOPS, INSIDE = 40_000, 0.9
NEXT_BYTES = 8192  # of an array of the next network, up to which it is prefetched
STACK_CHOICES = 16  # numbers of networks for which a plan knows whether threads pay

# Products (`gemm.py`, `gemm_tn.py`, `gemv.py`, `blocks.py`).
# Products of a block of k: columns of X lie far from each other (weight gradient), rows do not. Of
# these fewer where a row of a panel is one line of cache, since so many stay in the L1 (AVX2 on Zen
# 5: 784-512-256-10 in float64 11.1 -> 10.8 ms, 480-1024-1024-512-256-1 108.5 -> 105.0); else the
# panel is in the L2 anyway.
KC_COLUMNS = 128
KC_ROWS = 512 if NV * VECTOR_BYTES <= LINE_BYTES else 1024
PREFETCH_ELEMENTS = 8192  # from so many in a panel on, the next one is worth a prefetch
AHEAD_LINES = 4  # of cache in a row of X up to which the forward pass prefetches the next block
DOT_ELEMENTS = 2048  # of W that stay in the L1 while several rows use them
# Rows of dW side by side where each of its elements is a sum of fewer products: writing is most of
# the work.
BAND_ROWS, BAND_PRODUCTS = 12, 32
FEW_CLASSES = 2  # vectors of classes up to which cross-entropy has its lanes along the rows

# Rows of a tile of a Gram matrix, bytes of its rows: three tiles share the L2 with the factors.
GRAM_ROWS, GRAM_BYTES = 96, 1024

# Threads (`work_queue.py`, `training.py`).
SPINS = 4000  # some 100 us, before a waiting thread yields its core
UPDATE_UNIT = 16  # parameters: a slice of an optimiser's update is a multiple of it

# Single calls (`_core/choice.py`), in seconds unless it says otherwise.
WARMING_CALLS = 3  # before a serial one is timed
LONG_CALL = 0.02  # in which a busy core costs little
SERIAL_DRIFT = 1.1  # how fast the known time of a serial call may grow, by the call
# Serial calls: what parallel ones may lose in all, and what one adds at most. The first after a
# pause of the caller's wakes the threads, which says nothing of those that follow at once.
MOST_LOST, LOST_AT_ONCE = 3, 2
PROBE_PAUSE = 0.5  # from one serial call to the next, where threads pay
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 1.0  # of threads, where they do not

# Calls of a kind that are checked in Python before the fast path is compiled: a script that makes
# one saves 0.3 s.
FAST_PATH_AFTER = 1

# Training (`_training/stepper.py`, `_core/choice.py`), in seconds unless it says otherwise.
CALL_SECONDS = 0.05  # so long may Ctrl-C wait for the end of a compiled call
STEP_SECONDS, FLOPS_PER_SECOND = 5e-6, 4e10  # of a step, roughly, for the above
TRIAL_STEPS = 4  # of the other way: fewer would count the launch for too much
# Of serial steps before threads are first tried, by where the parallel kernel's code is.
TRIAL_AFTER = {"memory": 0.002, "disk": 0.06, "nowhere": 1.0}
# A trial ends early where it is so many times slower, and more than it takes to wake threads.
HOPELESS, WAKING = 5, 0.001
# Between trials: at least so long, and so many times what the last one took.
TRIAL_PAUSE, TRIAL_COST = 0.25, 40
