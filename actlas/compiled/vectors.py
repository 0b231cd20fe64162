"""LLVM instructions that numba has no name for: bits of words, label words to bitmaps, and a walk over ranks in
vector registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from actlas.compiled.jit import intrinsic, pointer

#: Concepts of a group: the bits of a label word, and what one walk serves at most.
LANES = 32


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


def everywhere(builder: Any, value: Any, lanes: int) -> Any:
    """A vector that holds `value` in every lane."""
    undefined, index = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), ir.IntType(32)
    one = builder.insert_element(undefined, value, ir.Constant(index, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, lanes), None))


@intrinsic
def transpose_words(typing: Any, words: Any, start: Any, plane: Any, bits: Any, place: Any, stride: Any) -> Any:
    """Transposes 64 label words from `start` on: bit 8 * `plane` + j of word i becomes bit i of what begins at
    `bits[j * stride + place]`, j < 8.

    An entry of `bits` takes 32 of them, and may have more bits.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, byte = ir.VectorType(ir.IntType(32), 64), ir.VectorType(ir.IntType(8), 64)
        place = builder.bitcast(pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        loaded = builder.load(place, align=4)
        shift = builder.trunc(builder.mul(args[2], ir.Constant(args[2].type, 8)), ir.IntType(32))
        labels = builder.trunc(builder.lshr(loaded, everywhere(builder, shift, 64)), byte)
        index = args[4]
        targets = [index]
        for _ in range(7):
            index = builder.add(index, args[5])
            targets.append(index)
        halves = ir.VectorType(ir.IntType(32), 2)
        wide = ir.VectorType(ir.IntType(signature.args[3].dtype.bitwidth), 2)
        for target in reversed(targets):
            # the highest bit of every byte, then the next one in its place
            row = builder.bitcast(builder.icmp_signed("<", labels, ir.Constant(byte, None)), halves)
            target = pointer(context, builder, signature.args[3], args[3], target)
            row = builder.zext(row, wide) if wide.element.width > 32 else row
            builder.store(row, builder.bitcast(target, wide.as_pointer()), align=4)
            labels = builder.add(labels, labels)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(words, types.int64, types.int64, bits, types.int64, types.int64), generate


@intrinsic
def magnitudes(typing: Any, row: Any, start: Any) -> Any:
    """Bit i: the float whose bits stand at start + i is not zero, for 64 of them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = signature.args[0].dtype.bitwidth
        vector = ir.VectorType(ir.IntType(bits), 64)
        place = builder.bitcast(pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        loaded = builder.load(place, align=bits // 8)
        doubled = builder.add(loaded, loaded)  # the sign is gone
        return builder.bitcast(builder.icmp_unsigned("!=", doubled, ir.Constant(vector, None)), ir.IntType(64))

    return types.uint64(row, types.int64), generate


def _neighbours(context: Any, builder: Any, kind: Any, array: Any, start: Any, lanes: int) -> list[Any]:
    """Vectors of the entries from `start` on, and of those from the next one on."""
    bits = kind.dtype.bitwidth
    both = []
    for shift in (0, 1):
        index = builder.add(start, ir.Constant(start.type, shift))
        place = pointer(context, builder, kind, array, index)
        vector = ir.VectorType(ir.IntType(bits), lanes)
        both.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=bits // 8))
    return both


@intrinsic
def key_changes(typing: Any, packed: Any, start: Any) -> Any:
    """Bit i: the keys (upper halves) of entries start + i and start + i + 1 differ, for 64 entries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = _neighbours(context, builder, signature.args[0], args[0], args[1], 64)
        text_mask = ir.Constant(both[0].type, [(1 << both[0].type.element.width // 2) - 1] * 64)
        return builder.bitcast(builder.icmp_unsigned(">", builder.xor(*both), text_mask), ir.IntType(64))

    return types.uint64(packed, types.int64), generate


@intrinsic
def pack_by_table(typing: Any, source: Any, start: Any, row: Any, shorts: Any, longs: Any, target: Any, at: Any) -> Any:
    """Eight entries of `source` from `start` on, rearranged by a row of a table, written from entry `at` on.

    A row of `shorts` says where each of 16 bytes comes from, for entries of 16 bits; of `longs` each of eight entries of 32 bits.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        is_short = kinds[0].dtype.bitwidth == 16
        table, name = (3, "llvm.x86.ssse3.pshuf.b.128") if is_short else (4, "llvm.x86.avx2.permd")
        vector = ir.VectorType(ir.IntType(8), 16) if is_short else ir.VectorType(ir.IntType(32), 8)
        first = builder.mul(args[2], ir.Constant(args[2].type, vector.count))
        loaded = [
            builder.load(builder.bitcast(pointer(context, builder, kind, array, index), vector.as_pointer()), align=1)
            for kind, array, index in ((kinds[0], args[0], args[1]), (kinds[table], args[table], first))
        ]
        shuffle = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector, vector]), name)
        place = builder.bitcast(pointer(context, builder, kinds[5], args[5], args[6]), vector.as_pointer())
        builder.store(builder.call(shuffle, loaded), place, align=1)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(source, types.int64, types.int64, shorts, longs, target, types.int64), generate


def filling_back(width: int) -> Callable[..., Any]:
    """An instruction that fills `width` entries, from the last to the first."""

    def fill_back(typing: Any, word: Any, first: Any, target: Any, carry: Any) -> Any:
        """target[first + i] = first + 1 + the place of the lowest set bit of `word` from i on, or `carry` where there is none.

        For `width` entries. Returns what stands at `first`.
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element = ir.IntType(signature.args[2].dtype.bitwidth)
            vector = ir.VectorType(element, width)
            undefined, most = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [-1] * width)

            def filled(value: Any) -> Any:
                return everywhere(builder, builder.trunc(value, element), width)

            def least(a: Any, b: Any) -> Any:
                return builder.select(builder.icmp_unsigned("<", a, b), a, b)

            numbers = builder.add(filled(args[1]), ir.Constant(vector, list(range(1, width + 1))))
            marks = builder.bitcast(builder.trunc(args[0], ir.IntType(width)), ir.VectorType(ir.IntType(1), width))
            filled_in = builder.select(marks, numbers, most)
            step = 1
            while step < width:
                # the last entry stands in for those beyond it, which there are none of
                later = [min(i + step, width - 1) for i in range(width)]
                shifted = builder.shuffle_vector(filled_in, undefined, ir.Constant(ir.VectorType(ir.IntType(32), width), later))
                filled_in, step = least(filled_in, shifted), 2 * step
            filled_in = least(filled_in, filled(args[3]))
            place = builder.bitcast(pointer(context, builder, signature.args[2], args[2], args[1]), vector.as_pointer())
            builder.store(filled_in, place, align=element.width // 8)
            # what stands at `first`, computed without waiting for the registers
            none = ir.Constant(ir.IntType(1), 0)
            place = builder.add(args[1], builder.zext(builder.cttz(args[0], none), args[1].type))
            is_empty = builder.icmp_unsigned("==", args[0], ir.Constant(args[0].type, 0))
            return builder.select(is_empty, args[3], builder.add(place, ir.Constant(place.type, 1)))

        return types.uint64(types.uint32, types.int64, target, types.uint64), generate

    return intrinsic(fill_back)


def filling_on(width: int) -> Callable[..., Any]:
    """An instruction that fills `width` entries, from the first to the last."""

    def fill_on(typing: Any, word: Any, first: Any, target: Any, carry: Any) -> Any:
        """target[first + i] = first + 1 + the place of the highest set bit of `word` below i, or `carry` where there is none.

        For `width` entries, each of which counts from `carry` up. Returns what would stand behind them.
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element = ir.IntType(signature.args[2].dtype.bitwidth)
            vector = ir.VectorType(element, width)
            undefined, index = ir.Constant(vector, ir.Undefined), ir.IntType(32)

            def filled(value: Any) -> Any:
                return everywhere(builder, builder.trunc(value, element), width)

            def greatest(a: Any, b: Any) -> Any:
                return builder.select(builder.icmp_unsigned(">", a, b), a, b)

            nothing = ir.Constant(vector, None)
            numbers = builder.add(filled(args[1]), ir.Constant(vector, list(range(1, width + 1))))
            word = builder.and_(args[0], ir.Constant(index, (1 << width) - 1))
            marks = builder.bitcast(builder.trunc(word, ir.IntType(width)), ir.VectorType(ir.IntType(1), width))
            filled_in = builder.select(marks, numbers, nothing)
            before = [width, *range(width - 1)]  # entry `width` of the two vectors is the first zero of `nothing`
            filled_in = builder.shuffle_vector(filled_in, nothing, ir.Constant(ir.VectorType(index, width), before))
            step = 1
            while step < width:
                # the first entry, which is still zero, stands in for those before it
                before = [max(i - step, 0) for i in range(width)]
                shifted = builder.shuffle_vector(filled_in, undefined, ir.Constant(ir.VectorType(index, width), before))
                filled_in, step = greatest(filled_in, shifted), 2 * step
            filled_in = greatest(filled_in, filled(args[3]))
            place = builder.bitcast(pointer(context, builder, signature.args[2], args[2], args[1]), vector.as_pointer())
            builder.store(filled_in, place, align=element.width // 8)
            # what stands behind, computed without waiting for the registers
            above = builder.ctlz(word, ir.Constant(ir.IntType(1), 0))
            last = builder.add(args[1], builder.zext(builder.sub(ir.Constant(index, 32), above), args[1].type))
            is_empty = builder.icmp_unsigned("==", word, ir.Constant(index, 0))
            return builder.select(is_empty, args[3], last)

        return types.uint64(types.uint32, types.int64, target, types.uint64), generate

    return intrinsic(fill_on)


@intrinsic
def changes(typing: Any, numbers: Any, start: Any) -> Any:
    """Bit i: entries start + i and start + i + 1 differ, for 32 entries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = _neighbours(context, builder, signature.args[0], args[0], args[1], 32)
        return builder.bitcast(builder.icmp_unsigned("!=", *both), ir.IntType(32))

    return types.uint32(numbers, types.int64), generate


def _running(builder: Any, values: Any, width: int) -> Any:
    """Sums of the entries of a vector up to each, within every `width` of them."""
    lanes, nothing, step = values.type.count, ir.Constant(values.type, None), 1
    while step < width:
        # a place from `lanes` on reads from the zeros; keeping to the lane lets the registers shift bytes
        before = [i - step if i % width >= step else lanes + i for i in range(lanes)]
        shifted = builder.shuffle_vector(values, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), before))
        values, step = builder.add(values, shifted), 2 * step
    return values


@intrinsic
def sum_in_blocks(typing: Any, counts: Any, start: Any, sums: Any) -> Any:
    """Replaces 512 bits of counts from `start` on by the sums of those before them in their block of 16.

    Sums of whole blocks go to `sums[start / 16]` and on. All sums are modulo what an entry of `counts` holds.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = ir.IntType(signature.args[0].dtype.bitwidth)
        vector = ir.VectorType(element, 512 // element.width)
        place = builder.bitcast(pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        values = builder.load(place, align=element.width // 8)
        running = _running(builder, values, 16)
        builder.store(builder.sub(running, values), place, align=element.width // 8)
        last = list(range(15, vector.count, 16))
        whole = builder.shuffle_vector(running, running, ir.Constant(ir.VectorType(ir.IntType(32), len(last)), last))
        entry = ir.IntType(signature.args[2].dtype.bitwidth)
        if element.width < entry.width:
            whole = builder.zext(whole, ir.VectorType(entry, len(last)))
        block = builder.lshr(args[1], ir.Constant(args[1].type, 4))
        target = pointer(context, builder, signature.args[2], args[2], block)
        builder.store(whole, builder.bitcast(target, whole.type.as_pointer()), align=entry.width // 8)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(counts, types.int64, sums), generate


@intrinsic
def sum_before(typing: Any, sums: Any, start: Any, carry: Any) -> Any:
    """Replaces 32 entries from `start` on by `carry` and the sum of those before them. Returns what comes after."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        entry, index = ir.IntType(signature.args[0].dtype.bitwidth), ir.IntType(32)
        vector = ir.VectorType(entry, 32)
        place = builder.bitcast(pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        values = builder.load(place, align=entry.width // 8)
        running = _running(builder, values, 32)
        carry = everywhere(builder, builder.trunc(args[2], entry), 32)
        builder.store(builder.add(builder.sub(running, values), carry), place, align=entry.width // 8)
        return builder.add(args[2], builder.zext(builder.extract_element(running, ir.Constant(index, 31)), args[2].type))

    return types.uint64(sums, types.int64, types.uint64), generate


@intrinsic
def add_labelled(typing: Any, words: Any, numbers: Any, first: Any, last: Any, sums: Any) -> Any:
    """sums[c] += the numbers of the texts first..last-1 whose bit c of `words` is set. Both they and their sum have 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), LANES)
        nothing = ir.Constant(vector, None)
        total = cgutils.alloca_once(builder, vector)
        builder.store(nothing, total)
        step = ir.Constant(args[2].type, 1)
        with cgutils.for_range_slice(builder, args[2], args[3], step, args[2].type) as (text, _):
            word = builder.load(pointer(context, builder, signature.args[0], args[0], text))
            number = builder.load(pointer(context, builder, signature.args[1], args[1], text))
            marks = builder.bitcast(word, ir.VectorType(ir.IntType(1), LANES))
            builder.store(
                builder.add(builder.load(total), builder.select(marks, everywhere(builder, number, LANES), nothing)), total
            )
        wide = ir.VectorType(ir.IntType(64), LANES)
        place = builder.bitcast(
            pointer(context, builder, signature.args[4], args[4], ir.Constant(args[2].type, 0)), wide.as_pointer()
        )
        builder.store(builder.add(builder.load(place, align=8), builder.zext(builder.load(total), wide)), place, align=8)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(words, numbers, types.int64, types.int64, sums), generate


# Long: one loop, spelled out as LLVM instructions.
def walking(n_vectors: int) -> Callable[..., Any]:
    """A walk over ranks first..last-1 for 8 * `n_vectors` concepts at once.

    Per rank, in float64: n_found += label; tied = tied * carry + label; precision += (tied * weight) * n_found.

    `arrays` is (words, weight, carry, state), where state holds n_found and precision, 32 of each. Bit 8 * `plane` + c of
    `words[rank]` is the label of concept c of the walk.
    """

    def walk(typing: Any, arrays: Any, plane: Any, first: Any, last: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args[0].types
            parts = [builder.extract_value(args[0], i) for i in range(len(kinds))]
            data = [context.make_array(kind)(context, builder, part).data for kind, part in zip(kinds, parts, strict=True)]
            words, weight, carry, state = data
            vector, index = ir.VectorType(ir.DoubleType(), 8), args[2].type
            zeros, ones = ir.Constant(vector, None), ir.Constant(vector, [1.0] * 8)
            first_lane = builder.mul(args[1], ir.Constant(index, 8))
            state = builder.gep(state, [first_lane])
            offsets = [[ir.Constant(index, LANES * row + 8 * v) for v in range(n_vectors)] for row in range(2)]
            places = [[builder.bitcast(builder.gep(state, [o]), vector.as_pointer()) for o in row] for row in offsets]
            begin = [builder.load(place, align=8) for row in places for place in row] + [zeros] * n_vectors
            entry = builder.block
            head, body, done = (builder.append_basic_block(f"walk.{name}") for name in ("head", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            rank = builder.phi(index)
            rank.add_incoming(args[2], entry)
            phis = [builder.phi(vector) for _ in begin]
            for phi, value in zip(phis, begin, strict=True):
                phi.add_incoming(value, entry)
            builder.cbranch(builder.icmp_signed("<", rank, args[3]), body, done)

            builder.position_at_end(body)

            def spread(values: Any) -> Any:
                return everywhere(builder, builder.load(builder.gep(values, [rank])), 8)

            def plus(a: Any, b: Any) -> Any:
                return builder.fadd(a, b, flags=("contract",))

            def times(a: Any, b: Any) -> Any:
                return builder.fmul(a, b, flags=("contract",))

            word = builder.load(builder.gep(words, [rank]))
            word = builder.lshr(word, builder.trunc(first_lane, word.type))
            w, keep = spread(weight), spread(carry)
            groups = [phis[i * n_vectors : (i + 1) * n_vectors] for i in range(3)]
            after: list[list[Any]] = [[] for _ in groups]
            for v in range(n_vectors):
                byte = builder.trunc(builder.lshr(word, ir.Constant(word.type, 8 * v)), ir.IntType(8))
                label = builder.select(builder.bitcast(byte, ir.VectorType(ir.IntType(1), 8)), ones, zeros)
                n_found = plus(groups[0][v], label)
                tied = plus(times(groups[-1][v], keep), label)
                after[0].append(n_found)
                after[1].append(plus(groups[1][v], times(times(tied, w), n_found)))
                after[-1].append(tied)
            rank.add_incoming(builder.add(rank, ir.Constant(index, 1)), builder.block)
            for phi, value in zip(phis, [value for row in after for value in row], strict=True):
                phi.add_incoming(value, builder.block)
            builder.branch(head)

            builder.position_at_end(done)
            for place, value in zip([place for row in places for place in row], phis, strict=False):
                builder.store(value, place, align=8)
            return cgutils.get_null_value(context.get_value_type(signature.return_type))

        return types.int64(arrays, types.int64, types.int64, types.int64), generate

    return intrinsic(walk)
