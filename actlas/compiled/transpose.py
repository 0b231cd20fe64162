"""Text-major 2-byte values turned to neuron-major in registers: several times faster than numpy's tiles.

This is the one file of the store that needs numba; import it only where something is written. It is compiled on import and kept
on disk for later processes, and does not hold the interpreter lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic
from numpy.typing import NDArray

logger = logging.getLogger("actlas.store")
F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy", "_nrt": False}

#: Values along one side of the tile that is turned in registers.
_TILE = 8


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `function`, which writes LLVM instructions, is to a compiled caller: its first parameter is numba's own."""
    return cast(Callable[..., Any], _intrinsic(function))


def _compiled(*signature: Any) -> Callable[[F], F]:
    """Compiled now, or taken from the cache on disk."""

    def compile_now(function: F) -> F:
        try:
            return cast(F, numba.njit(signature, cache=True, **_OPTIONS)(function))
        except RuntimeError as error:  # no folder to write to
            logger.warning("compiled loops cannot be cached (%s): every process will compile them anew", error)
            return cast(F, numba.njit(signature, **_OPTIONS)(function))

    return compile_now


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def _turn_tile(typing: Any, source: Any, first: Any, step: Any, target: Any, at: Any, target_step: Any) -> Any:
    """target[at + i * target_step + j] = source[first + j * step + i] for i, j below `_TILE`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.IntType(16), _TILE)
        kinds = signature.args

        def at(start: Any, step: Any, i: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, i)))

        rows = [
            builder.load(_place(context, builder, kinds[0], args[0], at(args[1], args[2], i), line), align=1)
            for i in range(_TILE)
        ]
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
            builder.store(row, _place(context, builder, kinds[3], args[3], at(args[4], args[5], i), line), align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), generate


_VALUES = types.Array(types.uint16, 2, "A")


@_compiled(_VALUES, _VALUES)
def _turn(source: Any, target: Any) -> None:
    """target[i, j] = source[j, i]; the last dimension of both has unit stride."""
    rows, columns = target.shape
    step, target_step = source.strides[0] // 2, target.strides[0] // 2
    whole_rows, whole_columns = rows - rows % _TILE, columns - columns % _TILE
    # 32 values are a cache line of the source: it is used up before the next one is fetched
    for first in range(0, whole_rows, 4 * _TILE):
        for column in range(0, whole_columns, _TILE):
            for row in range(first, min(first + 4 * _TILE, whole_rows), _TILE):
                _turn_tile(source, column * step + row, step, target, row * target_step + column, target_step)
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            target[row, column] = source[column, row]


def turn(source: NDArray[Any], target: NDArray[Any]) -> bool:
    """Copy between 2-byte arrays of one shape, the source a transposed view in its last two dimensions, the target not.

    Returns:
        False, with nothing done, where strides or dtypes are others.
    """
    item = 2
    is_turned = source.strides[-2] == item and target.strides[-1] == item
    if not is_turned or source.dtype.itemsize != item or source.shape != target.shape:
        return False
    for index in np.ndindex(source.shape[:-2]):
        _turn(source[index].view(np.uint16).T, target[index].view(np.uint16))
    return True
