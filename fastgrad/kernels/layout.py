"""The plan as the kernels read it: one int64 vector, a header and a record for each layer.

`_core/plan.py` writes it from shapes alone, the kernels read it; these are the only two places that
know the positions. Offsets count elements of the array named.
"""

# Header
ROWS = 0  # n
LAYERS = 1
TASKS = 2  # row tasks: fixed by the shapes, so that the order of every sum is
TASK_ROWS = 3  # rows of a task (the last may have fewer)
BLOCK_ROWS = 4  # rows taken through the whole network while they are in cache
SLICES = 5  # tasks of packing and of adding up the partial gradients
JOB = 6
LOSS = 7
OUTPUT_RELU = 8
WEIGHTED = 9
FLUSH_BLOCKS = 10  # float32 sums go to float64 after so many blocks; 0: never
ZEROS = 11  # workspace: zeros as wide as the widest layer
ONE = 12  # workspace: the number 1
TASK_BASE = 13  # workspace: the first task's own part
TASK_STRIDE = 14
GRAD_SIZE = 15  # elements of a padded gradient
SUMS = 16  # workspace64: float64 gradients of the tasks (where FLUSH_BLOCKS)
PARTS = 17  # workspace64: loss of each task, then sum of squared weights of each slice
HEADER = 18

# A layer's record, from HEADER + layer * RECORD
D = 0
K = 1
WEIGHT = 2  # theta: W (d, k)
BIAS = 3  # bias: b (k,)
PANELS = 4  # workspace: W in panels
PANELS_T = 5  # workspace: the transpose of W in panels
ACTIVATION = 6  # task part: activations (block rows, LD), then deltas
LD = 7
PARTIAL = 8  # task part: partial gradient of W (d, LDG)
LDG = 9
PARTIAL_BIAS = 10
BIAS_OUT = 11  # flat gradient: where db goes
RECORD = 12

# workspace64: numbers of the network before the parts
HUBER_DELTA, L2 = 0, 1
SCALARS = 2

# Jobs
FORWARD, LOSS_ONLY, GRADIENT, GRADIENT_AND_INPUT, INPUT = 0, 1, 2, 3, 4
