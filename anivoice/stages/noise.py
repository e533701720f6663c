"""Noise that is a function of a seed and a position, so that any way of cutting the work draws the same numbers."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK_NUMBERS = 8192
NUM_KEPT_BLOCKS = 1024
UINT64 = 2**64


class PositionalNoise:
    """Standard normal rows at absolute positions (also negative ones), the same whichever range is asked for.

    Philox is a counter-based generator: block `n` of the rows is the stream that starts at counter `n`.
    `stream` separates the uses of one seed.
    """

    def __init__(self, seed: int, stream: int, num_columns: int) -> None:
        self.seed = seed
        self.stream = stream
        self.num_columns = num_columns
        self.block_rows = max(1, BLOCK_NUMBERS // num_columns)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """`[stop - start, num_columns]`"""
        first, last = start // self.block_rows, (stop - 1) // self.block_rows
        numbers = range(first, last + 1)
        blocks = [_block(self.seed, self.stream, number, self.block_rows, self.num_columns) for number in numbers]
        if not blocks:
            return np.empty((0, self.num_columns), np.float32)
        offset = first * self.block_rows
        return np.concatenate(blocks)[start - offset : stop - offset]


@lru_cache(maxsize=NUM_KEPT_BLOCKS)
def _block(seed: int, stream: int, number: int, num_rows: int, num_columns: int) -> NDArray[np.float32]:
    """Successive windows of a stream share most of their blocks, so the last ones are kept (32 MiB)."""
    counter = np.array([0, 0, number % UINT64, 0], np.uint64)
    key = np.array([seed % UINT64, stream], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    numbers = generator.standard_normal((num_rows, num_columns), np.float32)
    numbers.setflags(write=False)
    return numbers
