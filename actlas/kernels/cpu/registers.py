"""What the CPU engine does in a way that depends on the processor's vector registers, chosen here once.

There are three kinds of processors: with AVX-512 (file `wide`), with AVX2, and others. The engine sees one way only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numpy.typing import NDArray

from actlas.compiled.jit import jit
from actlas.compiled.vectors import filling_back, filling_on, pack_by_table, popcount, trailing_zeros, walking
from actlas.kernels.cpu import wide

#: Whether registers can rearrange their entries as a table says.
HAS_SHUFFLE = bool(get_host_cpu_features().get("avx2"))

_ONE = np.uint64(1)
_walk8 = walking(1)


@dataclass(frozen=True)
class Cost:
    """Nanoseconds of the parts of the two ways to rank statistics; only their proportions matter.

    `python -m benchmarks.bench_kernels costs` shows whether the choice that follows from them is the faster one. Being off by a
    third costs a few percent: where the choice is close, both ways take about as long. These were measured on a processor whose
    vector registers hold four float64.
    """

    precision: float = 0.55  # sparse, per positive: one term of average precision
    half: float = 4.0  # sparse, per 32 ranks and concept: positives brought together
    transpose: float = 0.12  # sparse, per rank and 8 concepts: labels to bitmaps
    end: float = 0.4  # sparse, per rank, once for all concepts
    walk: tuple[float, ...] = (1.9, 3.9, 5.8, 7.7)  # dense, per rank: up to 8, 16, 24, 32 concepts
    weigh: float = 0.45  # dense, per rank, once for all concepts
    gather: float = 0.35  # AUROC, per positive, where positives are visited
    add: float = 1.5  # AUROC, per text and 32 concepts, where all texts are


def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """How `pack_by_table` brings marked entries to the front, of 16 bits and of 32, by which of eight are marked."""
    shorts, longs = np.zeros((256, 16), np.uint8), np.zeros((256, 8), np.uint32)
    for mask in range(256):
        marked = np.array([i for i in range(8) if mask >> i & 1], np.uint8)
        longs[mask, : marked.size] = marked
        shorts[mask, : 2 * marked.size] = np.stack([2 * marked, 2 * marked + 1], axis=1).ravel()
    return shorts, longs


_SHORTS, _LONGS = _tables()


@jit
def pack_by_shuffle(source: Any, start: Any, word: Any, target: Any, position: Any) -> Any:
    """`pack` for registers of 256 bits."""
    for first in range(0, 32, 8):
        mask = np.int64((word >> np.uint32(first)) & np.uint32(255))
        pack_by_table(source, start + first, mask, _SHORTS, _LONGS, target, position)
        position += np.int64(popcount(np.uint64(mask)))
    return position


@jit
def pack_one_by_one(source: Any, start: Any, word: Any, target: Any, position: Any) -> Any:
    """`pack` for any processor."""
    marks = np.uint64(word)
    while marks != np.uint64(0):
        target[position] = source[start + np.int64(trailing_zeros(marks))]
        marks &= marks - _ONE
        position += 1
    return position


@jit
def walk_by_eight(n_concepts: Any, start: Any, stop: Any, arrays: Any) -> None:
    """`walk` for registers of 256 bits, which hold the sums of eight concepts and no more."""
    for plane in range((n_concepts + 7) >> 3):
        _walk8(arrays, plane, start, stop)


#: `pack(source, start, word, target, position)`: entries start + i of `source` whose bit i of `word` is set go to `target` from
#: `position` on, which may be written beyond them, up to 32 entries in all. Returns where the next ones go.
pack = wide.pack if wide.IS_SUPPORTED else pack_by_shuffle if HAS_SHUFFLE else pack_one_by_one
#: `walk(n_concepts, start, stop, arrays)`: sums of up to 32 concepts over ranks; see `actlas.compiled.vectors.walking`.
walk = wide.walk if wide.IS_SUPPORTED else walk_by_eight
#: Entries that `fill_back` and `fill_on` fill.
FILLED = wide.FILLED if wide.IS_SUPPORTED else 8
fill_back, fill_on = filling_back(FILLED), filling_on(FILLED)
COST = wide.costs(Cost()) if wide.IS_SUPPORTED else Cost()
