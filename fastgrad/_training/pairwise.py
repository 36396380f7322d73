"""Sums of vectors by their numbers 0 to n - 1, in an order that n alone decides.

A binary tree over the numbers: node (level, i) is the sum of those from i * 2**level up to the next
node's, and the sum of its two children, left plus right. Whoever has all vectors below a node can
add them, so neighbours that are added in one place leave it as one vector, and the bits are the
same wherever each is added. The rounding error grows with log n.
"""

from __future__ import annotations

import numpy as np


class PairwiseSum:
    """A sum in the making; vectors are added in any order, and may be written to.

    `nodes`: (level, i) to a vector, or None for zero.
    """

    def __init__(self, n: int):
        self.n, self.nodes = n, {}

    def add(self, vector, index: int, level: int = 0) -> None:
        """A vector by its number, or a node of another sum of the same n."""
        while (1 << level) < self.n:
            sibling = index ^ 1
            if sibling << level < self.n:  # else there is none: a right child beyond the end
                if (level, sibling) not in self.nodes:
                    break
                other = self.nodes.pop((level, sibling))
                if other is None or vector is None:
                    vector = other if vector is None else vector
                else:  # what came from another process may be read-only
                    with np.errstate(all="ignore"):
                        out = vector if vector.flags.writeable else None
                        vector = np.add(vector, other, out=out)
            level, index = level + 1, index >> 1
        self.nodes[level, index] = vector

    def merge(self, nodes: dict) -> None:
        for (level, index), vector in nodes.items():
            self.add(vector, index, level)

    def result(self):
        """The sum of all n, once all are added; None for zero."""
        (vector,) = self.nodes.values()
        return vector
