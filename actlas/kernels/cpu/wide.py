"""The same loops for processors with AVX-512: 32 entries at a time where others take eight. `registers` chooses.

Everything that such a processor does in a way of its own is in this file. docs/decisions/0011-avx512.md says what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils

from actlas.compiled.jit import intrinsic, jit, pointer
from actlas.compiled.vectors import popcount, walking

#: Registers of 512 bits hold eight float64, and this extension lets them push marked 16-bit entries together.
IS_SUPPORTED = bool(get_host_cpu_features().get("avx512vbmi2"))
#: Ranks that `registers.fill_back` and `fill_on` fill at a time.
FILLED = 32

_walk8, _walk16, _walk24, _walk32 = (walking(n) for n in (1, 2, 3, 4))


def costs(narrow: Any) -> Any:
    """`registers.Cost` of these loops, from that of the others: where no number stands here it is taken to be the same."""
    return replace(narrow, walk=(1.4, 1.9, 2.8, 3.6), weigh=0.4, precision=0.4, half=1.0, end=0.3, add=1.0)


def _compressing(width: int) -> Callable[..., Any]:
    def compress(typing: Any, source: Any, start: Any, word: Any, target: Any, position: Any) -> Any:
        """Entries start + i of `source` whose bit i of `word` is set, side by side from `position` on.

        Up to `width` bits may be set; `width` entries are written, and those behind the marked ones mean nothing.
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            bits = signature.args[0].dtype.bitwidth
            lanes = 512 // bits
            vector, masks = ir.VectorType(ir.IntType(bits), lanes), ir.VectorType(ir.IntType(1), lanes)
            kind = ir.FunctionType(vector, [vector, vector, masks])
            push = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.mask.compress.v{lanes}i{bits}")
            position = args[4]
            for first in range(0, 32, lanes):
                index = builder.add(args[1], ir.Constant(args[1].type, first))
                place = builder.bitcast(pointer(context, builder, signature.args[0], args[0], index), vector.as_pointer())
                word = builder.trunc(builder.lshr(args[2], ir.Constant(args[2].type, first)), ir.IntType(lanes))
                values = builder.load(place, align=bits // 8)
                packed = builder.call(push, [values, ir.Constant(vector, None), builder.bitcast(word, masks)])
                n_written = min(width, lanes)
                leading = ir.Constant(ir.VectorType(ir.IntType(32), n_written), list(range(n_written)))
                packed = builder.shuffle_vector(packed, ir.Constant(vector, ir.Undefined), leading)
                target = pointer(context, builder, signature.args[3], args[3], position)
                builder.store(packed, builder.bitcast(target, packed.type.as_pointer()), align=bits // 8)
                position = builder.add(position, builder.zext(builder.ctpop(word), position.type)) if lanes < 32 else position
            return cgutils.get_null_value(context.get_value_type(signature.return_type))

        return types.int64(source, types.int64, types.uint32, target, types.int64), generate

    return intrinsic(compress)


# few entries are worth a store of their own: a whole register seldom lies in one line of the cache
_compress_few, _compress_many = _compressing(8), _compressing(32)


@jit
def pack(source: Any, start: Any, word: Any, target: Any, position: Any) -> Any:
    """As `registers.pack`."""
    n_marks = popcount(np.uint64(word))
    if n_marks <= np.uint64(8):
        _compress_few(source, start, word, target, position)
    else:
        _compress_many(source, start, word, target, position)
    return position + np.int64(n_marks)


@jit
def walk(n_concepts: Any, start: Any, stop: Any, arrays: Any) -> None:
    """As `registers.walk`."""
    if n_concepts <= 8:
        _walk8(arrays, 0, start, stop)
    elif n_concepts <= 16:
        _walk16(arrays, 0, start, stop)
    elif n_concepts <= 24:
        _walk24(arrays, 0, start, stop)
    else:
        _walk32(arrays, 0, start, stop)
