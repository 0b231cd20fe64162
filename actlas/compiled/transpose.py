"""Transposed copies of 2-byte values in vector registers: several times faster than numpy's tiles.

Text-major values become neuron-major so. This is the one file of the store's that needs numba; import it only where something is
written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now, intrinsic, jit_kernel, pointer

#: Values along one side of the tile that is transposed in registers.
_TILE = 8


@intrinsic
def _transpose_tile(typing: Any, source: Any, first: Any, step: Any, target: Any, start: Any, target_step: Any) -> Any:
    """target[start + i * target_step + j] = source[first + j * step + i] for i, j below `_TILE`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.IntType(16), _TILE)
        kinds = signature.args

        def line_of(kind: Any, array: Any, start: Any, step: Any, i: int) -> Any:
            index = builder.add(start, builder.mul(step, ir.Constant(step.type, i)))
            return builder.bitcast(pointer(context, builder, kind, array, index), line.as_pointer())

        rows = [builder.load(line_of(kinds[0], args[0], args[1], args[2], i), align=1) for i in range(_TILE)]
        half = _TILE // 2
        low, high = (
            ir.Constant(ir.VectorType(ir.IntType(32), _TILE), [start + j // 2 + _TILE * (j % 2) for j in range(_TILE)])
            for start in (0, half)
        )
        # interleaving row i with row i + half, once per power of two, is a transposition
        for _ in range(_TILE.bit_length() - 1):
            pairs = [(rows[i], rows[i + half]) for i in range(half)]
            rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in (low, high)]
        for i, row in enumerate(rows):
            builder.store(row, line_of(kinds[3], args[3], args[4], args[5], i), align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), generate


@jit_kernel
def _transpose_plane(source: Any, target: Any) -> None:
    """target[i, j] = source[j, i]; the last dimension of both has unit stride."""
    rows, columns = target.shape
    step, target_step = source.strides[0] // 2, target.strides[0] // 2
    whole_rows, whole_columns = rows - rows % _TILE, columns - columns % _TILE
    # 32 values are a cache line of the source: it is used up before the next one is fetched
    for first in range(0, whole_rows, 4 * _TILE):
        for column in range(0, whole_columns, _TILE):
            for row in range(first, min(first + 4 * _TILE, whole_rows), _TILE):
                _transpose_tile(source, column * step + row, step, target, row * target_step + column, target_step)
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            target[row, column] = source[column, row]


@cache
def _kernel() -> Callable[[Any, Any], None]:
    values = types.Array(types.uint16, 2, "A")
    return compiled_now(_transpose_plane, (values, values))


def transpose_copy(source: NDArray[Any], target: NDArray[Any]) -> bool:
    """Copy between 2-byte arrays of one shape, the source a transposed view in its last two dimensions, the target not.

    Returns:
        False, with nothing done, where strides or dtypes are others.
    """
    item = 2
    is_transposed = source.strides[-2] == item and target.strides[-1] == item
    if not is_transposed or source.dtype.itemsize != item or source.shape != target.shape:
        return False
    kernel = _kernel()
    for index in np.ndindex(source.shape[:-2]):
        kernel(source[index].view(np.uint16).T, target[index].view(np.uint16))
    return True
