"""vLLM runs all tokens of a batch as one line without padding: which part of it is which text. numpy only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from actlas.errors import ExtractionError
from actlas.extract.inputs.batches import BlockTexts, TokenBatch

_CAUSES = "chunked prefill, prefix caching or decoding is on, or another client uses the engine"


@dataclass(frozen=True)
class FlatPart:
    """Neighbouring texts of one length in the line of tokens: they are a batch without padding.

    Attributes:
        first: First token of the part.
        last: Token after the last one.
        batch: The texts; `rows` are rows of the block.
    """

    first: int
    last: int
    batch: TokenBatch


def segments(positions: NDArray[np.integer]) -> list[tuple[int, int]]:
    """First token and end of every text in the line: a text starts where its position is 0, and goes on by ones.

    Args:
        positions: int ``"tokens"``: position of each token in its text.

    Raises:
        ExtractionError: If some text does not start at its first token.

    Example:
        >>> segments(np.array([0, 1, 2, 0, 1]))
        [(0, 3), (3, 5)]
    """
    if positions.ndim != 1:
        raise ExtractionError(f"positions of shape {positions.shape}: a model with several positions per token can not be read")
    starts = np.flatnonzero(positions == 0)
    if not len(starts) or starts[0] != 0:
        begins = f"position {int(positions[0])}" if len(positions) else "no token"
        raise ExtractionError(f"a pass of vLLM began with {begins}, so tokens are missing before it: {_CAUSES}")
    texts = list(pairwise([*starts.tolist(), len(positions)]))
    expected = np.concatenate([np.arange(last - first) for first, last in texts])
    if not np.array_equal(positions, expected):
        token = int(np.flatnonzero(positions != expected)[0])
        raise ExtractionError(
            f"a pass of vLLM jumps from position {int(positions[token - 1])} to {int(positions[token])}: {_CAUSES}"
        )
    return texts


class PromptLedger:
    """The texts that were submitted, each waiting to be seen exactly once.

    Args:
        block: The block that they belong to.
        rows: Rows of the texts.
    """

    def __init__(self, block: BlockTexts, rows: NDArray[np.integer]) -> None:
        self._block = block
        self._waiting: dict[bytes, deque[int]] = {}
        self.n_waiting = len(rows)
        for row in rows.tolist():
            tokens = block.token_ids[block.offsets[row] : block.offsets[row + 1]]
            # equal texts have equal values, so it does not matter which of them is which
            self._waiting.setdefault(tokens.astype(np.int64).tobytes(), deque()).append(row)

    def take(self, token_ids: NDArray[np.integer], positions: NDArray[np.integer]) -> list[FlatPart]:
        """The parts of one pass, in the order of its tokens.

        Args:
            token_ids: int ``"tokens"`` as the model got them.
            positions: int ``"tokens"``.

        Raises:
            ExtractionError: If the tokens are not those of texts that are waiting.
        """
        if token_ids.shape != positions.shape:
            raise ExtractionError(f"a pass of vLLM has {token_ids.shape} token ids and {positions.shape} positions")
        line = token_ids.astype(np.int64)
        places = segments(positions)
        rows = [self._row(line[first:last]) for first, last in places]
        lengths = [last - first for first, last in places]
        edges = [0, *(i for i in range(1, len(rows)) if lengths[i] != lengths[i - 1]), len(rows)]
        return [
            FlatPart(places[a][0], places[b - 1][1], self._block.batch(np.array(rows[a:b], dtype=np.int64), pad_id=0))
            for a, b in pairwise(edges)
        ]

    def _row(self, tokens: NDArray[np.int64]) -> int:
        waiting = self._waiting.get(tokens.tobytes())
        if not waiting:
            raise ExtractionError(
                f"a pass of vLLM held {len(tokens)} tokens ({', '.join(map(str, tokens[:6].tolist()))}, ...) that are no text "
                f"that was submitted and not yet seen: {_CAUSES}"
            )
        self.n_waiting -= 1
        return waiting.popleft()

    def check_empty(self) -> None:
        """Refuse to go on unless every text was seen.

        Raises:
            ExtractionError: If some were not.
        """
        if self.n_waiting:
            row = next(rows[0] for rows in self._waiting.values() if rows)
            raise ExtractionError(
                f"{self.n_waiting} of the texts that were submitted never went through the model, the first is text "
                f"{int(self._block.text_ids[row])}: hooks do not fire in compiled models, or prefixes were cached"
            )
