"""The plan as the kernels read it: one int64 vector, a header and a record for each layer.

`_core/plan.py` writes it from shapes alone, the kernels read it; these are the only two places that
know the positions. A workspace is one buffer (an array costs a call 50 ns): the plan's vector, then
`workspace64` (float64), then `workspace` (the parameters' type). Offsets count elements of these.
"""

# Header
ROWS = 0  # n
LAYERS = 1
WIDE = 2  # 1: deltas of all rows are stored and the weight gradient is split by rows of W
STORE_ROWS = 3  # rows between two weight gradients if WIDE, else n
TASK_ROWS = 4  # rows of a row task: fixed by the shapes, so that the order of every sum is
TASKS = 5  # row tasks in all
BLOCK_ROWS = 6  # rows taken through the whole network while they are in cache
SLICES = 7  # tasks of packing and of adding up the partial gradients
WEIGHT_ROWS = 8  # WIDE: rows of W of a weight task
WEIGHT_TASKS = 9
DIRECT = 10  # 1: a single partial gradient, the caller's array itself
JOB = 11
LOSS = 12
OUTPUT_RELU = 13
WEIGHTED = 14
FLUSH_BLOCKS = 15  # partial sums go to float64 after so many blocks; 0: never
ZEROS = 16  # workspace: zeros as wide as the widest layer
TASK_BASE = 17  # workspace: the first task's own part
TASK_STRIDE = 18  # 0 if WIDE: the tasks share one store, each its own rows
GRAD_SIZE = 19  # elements of a partial gradient
SUMS = 20  # workspace64: float64 gradients (where FLUSH_BLOCKS)
PARTS = 21  # workspace64: loss of each row task, then sum of squared weights of each slice
BUFFER64 = 22  # eight-byte words of the buffer before workspace64
BUFFER = 23  # eight-byte words of the buffer before workspace
DONE = 24  # workspace64, as int64: tasks done; then a line for each task of a stage: the stage it
# was last claimed in, as the number of tasks before that, plus 1
SCRATCH = 25  # workspace: where a thread copies operands side by side
SCRATCH_STRIDE = 26  # from one thread's scratch to the next one's
SCRATCHES = 27  # the most threads
PANEL_STRIDE = 28  # workspace: from the panels of one row task to the next one's, where each thread
# packs for itself; 0: all read the same ones
COPIES = 29  # workspace64: a copy of this vector for each thread that shares the tasks
COPY_STRIDE = 30
THREAD = 31  # in such a copy: 1 for the first thread; else 0
PASSED = 32  # in such a copy: the tasks of all stages that the thread has left behind
CLAIMS = 33  # the most tasks of a stage
ORDER = 34  # where rows are gathered into x and y: the address of their numbers (int64); else 0
X_FROM, Y_FROM = 35, 36  # and the addresses of the arrays that they come from
HEADER = 37

# A layer's record, from HEADER + layer * RECORD
D = 0
K = 1
WEIGHT = 2  # theta: W (d, k)
BIAS = 3  # bias: b (k,)
PANELS = 4  # workspace: W in panels
PANELS_T = 5  # workspace: the transpose of W in panels
ACTIVATION = 6  # task part: activations (rows, LD)
DELTA = 7  # task part: d loss / d z (rows, LD); in the place of the activations unless WIDE
LD = 8
PARTIAL = 9  # task part (DIRECT: the gradient): partial gradient of W (d, LDG)
LDG = 10
PARTIAL_BIAS = 11
BIAS_OUT = 12  # flat gradient: where db goes
FIRST_WEIGHT_TASK = 13
SKINNY = 14  # 1: few outputs; PANELS is W transposed (k, d), and TURNED
IN_PLACE = 15  # 1: few rows, or few in each task, so forward reads W where it lies, unpacked
TURNED = 16  # 1: PARTIAL is the transpose of dW, (k, LDG)
FEW_BACK = 17  # 1: few rows, so dX reads W in place and no transpose is packed
RECORD = 18

# workspace64: numbers of the network before the parts
HUBER_DELTA, L2 = 0, 1
SCALE = 2  # of the loss, for threads that share the tasks
SCALARS = 3

LINE = 8  # eight-byte words of a cache line

# Jobs
FORWARD, LOSS_ONLY, GRADIENT, GRADIENT_AND_INPUT, INPUT = 0, 1, 2, 3, 4
