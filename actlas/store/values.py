"""What a run hands to the store: token ids of the corpus, and the values of one block of texts after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, int]]


@dataclass
class BlockValues:
    """Everything that one block of texts gives at one checkpoint.

    Attributes:
        cubes: site -> ``"layers neurons texts"`` in the stored dtype (bfloat16 as its bits in uint16); any strides. Of sites that
            only states are kept of, too.
        tokens: site -> ``"layers tokens channels"``: vectors of the block's sampled tokens, in the order of the sample.
        counts: site -> int64 ``"languages layers neurons"``: tokens above the count threshold; of several thresholds one after
            the other along the first axis.
        n_tokens: int64 ``"languages"``: tokens that took part in the counts.
        loss_sum: Sum of next-token losses in nats.
        loss_tokens: Tokens that sum is over.
        is_finite: Whether what the model gave behind its last layer was finite, where that was asked.
        health: site -> what became of the values, float64 ``"rows layers neurons"``, rows as in `health.HEALTH_ROWS`; of all
            sites in `cubes`, or of none.
        lost_vectors: site -> int64 ``"layers"``: numbers in token vectors that the stored dtype keeps as 0 or with fewer bits.
    """

    cubes: Mapping[str, NDArray[Any]]
    tokens: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    n_tokens: NDArray[np.int64] | None = None
    loss_sum: float = 0.0
    loss_tokens: int = 0
    is_finite: bool = True
    health: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    lost_vectors: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenIds:
    """Token ids of all texts, one after the other.

    Attributes:
        ids: int32 ``"tokens"``.
        offsets: int64 ``"texts + 1"``: text t owns ``ids[offsets[t]:offsets[t + 1]]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per text."""
        return np.diff(self.offsets)
