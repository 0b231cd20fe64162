"""LLVM instructions that numba has no name for: bits of words, marks to bitmaps, and a walk over ranks in vector registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from actlas.kernels.jit import intrinsic

#: Concepts that one walk serves: two 512-bit registers of float64 (four of 256 bits where there are no larger ones).
LANES = 16


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


@intrinsic
def leading_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctlz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic
def take_marks(typing: Any, marks: Any, start: Any) -> Any:
    """64 marks (bytes) from `start` on as the bits of a word; the marks are cleared on the way."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        place = builder.bitcast(_pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        loaded = builder.load(place, align=1)
        builder.store(ir.Constant(vector, None), place, align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None)), ir.IntType(64))

    return types.uint64(marks, types.int64), generate


@intrinsic
def key_changes(typing: Any, packed: Any, start: Any) -> Any:
    """Bit i: the keys (upper halves) of entries start + i and start + i + 1 differ, for 64 entries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = signature.args[0].dtype.bitwidth
        vector = ir.VectorType(ir.IntType(bits), 64)
        both = []
        for shift in (0, 1):
            index = builder.add(args[1], ir.Constant(args[1].type, shift))
            place = _pointer(context, builder, signature.args[0], args[0], index)
            both.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=bits // 8))
        text_mask = ir.Constant(vector, [(1 << bits // 2) - 1] * 64)
        return builder.bitcast(builder.icmp_unsigned(">", builder.xor(*both), text_mask), ir.IntType(64))

    return types.uint64(packed, types.int64), generate


@intrinsic
def walk_ranks(typing: Any, scratch_arrays: Any, words: Any, first: Any, last: Any) -> Any:
    """Ranks first..last-1 for 16 concepts at once; `state` holds positives so far, sum of precisions, sum of middles, in float64.

    `scratch_arrays` is (text_at, weight, carry, middle, state). Per rank: found += label; tied = tied * carry + label;
    precision += (tied * weight) * found; middles += tied * middle.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[0].types
        arrays = [builder.extract_value(args[0], i) for i in range(len(kinds))]
        data = [context.make_array(kind)(context, builder, array).data for kind, array in zip(kinds, arrays, strict=True)]
        text_at, weight, carry, middle, state = data
        word_data = context.make_array(signature.args[1])(context, builder, args[1]).data
        vector = ir.VectorType(ir.DoubleType(), LANES)
        index = args[2].type
        places = [builder.bitcast(builder.gep(state, [ir.Constant(index, LANES * i)]), vector.as_pointer()) for i in range(3)]
        begin = [builder.load(place, align=8) for place in places]
        entry = builder.block
        head, body, done = (builder.append_basic_block(f"walk.{name}") for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        rank = builder.phi(index)
        found, precision, middles, tied = (builder.phi(vector) for _ in range(4))
        for phi, value in zip((rank, found, precision, middles, tied), (args[2], *begin, ir.Constant(vector, None)), strict=True):
            phi.add_incoming(value, entry)
        builder.cbranch(builder.icmp_signed("<", rank, args[3]), body, done)

        builder.position_at_end(body)

        def spread(values: Any) -> Any:
            scalar = builder.load(builder.gep(values, [rank]))
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(
                one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
            )

        text = builder.zext(builder.load(builder.gep(text_at, [rank])), index)
        word = builder.bitcast(builder.load(builder.gep(word_data, [text])), ir.VectorType(ir.IntType(1), LANES))
        label = builder.select(word, ir.Constant(vector, [1.0] * LANES), ir.Constant(vector, None))
        fuse = ("contract",)
        new_found = builder.fadd(found, label, flags=fuse)
        new_tied = builder.fadd(builder.fmul(tied, spread(carry), flags=fuse), label, flags=fuse)
        part = builder.fmul(builder.fmul(new_tied, spread(weight)), new_found, flags=fuse)
        new_precision = builder.fadd(precision, part, flags=fuse)
        new_middles = builder.fadd(middles, builder.fmul(new_tied, spread(middle), flags=fuse), flags=fuse)
        new_rank = builder.add(rank, ir.Constant(index, 1))
        for phi, value in zip(
            (rank, found, precision, middles, tied), (new_rank, new_found, new_precision, new_middles, new_tied), strict=True
        ):
            phi.add_incoming(value, builder.block)
        builder.branch(head)

        builder.position_at_end(done)
        for place, value in zip(places, (found, precision, middles), strict=True):
            builder.store(value, place, align=8)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(scratch_arrays, words, types.int64, types.int64), generate
