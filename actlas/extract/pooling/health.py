"""What became of pooled values on their way into the store: per neuron, while they are written, in one pass over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from actlas.compiled.tally import tally, tally_special

#: Steps of the sums that moments consist of; see `kernels.states.moments`.
_SUM_STEP = 2.0**-24
#: float16 has 11 bits from here on, and so have sums in steps of 2^-24.
_ELEVEN_BITS = 2.0**-14


@dataclass(frozen=True)
class Limits:
    """Sizes of values below which less of them is kept.

    Attributes:
        zero: The largest that is kept as 0.
        normal: The smallest that is kept with all the bits of the dtype.
    """

    zero: float
    normal: float

    @classmethod
    def of(cls, dtype: str, *, is_summed: bool) -> Limits:
        """Of values that are stored in a dtype, or whose sums are kept.

        Example:
            >>> Limits.of("float16", is_summed=False).normal, Limits.of("float32", is_summed=True).zero
            (6.103515625e-05, 2.9802322387695312e-08)
        """
        if dtype == "float16" or is_summed:
            return cls(_SUM_STEP / 2, _ELEVEN_BITS)
        # half of the smallest step of bfloat16 is no float32 that arithmetic keeps
        return cls(0.0, float(torch.finfo(torch.float32).tiny))


@dataclass(frozen=True)
class SpecialTokens:
    """Tokens of a batch that the tokenizer added: text of each, ascending, and its position; int64."""

    texts: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Health:
    """What is noted of one site of a block, on the model's device; each ``"layers neurons"``.

    Attributes:
        low: Lowest value, float32.
        high: Highest.
        n_zero: Values that are kept as 0, int32.
        n_lost: Values that are not 0 and are kept as 0 or with fewer bits than others.
        n_special: Texts whose value is that of a token that the tokenizer added.
        limits: What is kept as 0 or with fewer bits.
    """

    low: torch.Tensor
    high: torch.Tensor
    n_zero: torch.Tensor
    n_lost: torch.Tensor
    n_special: torch.Tensor
    limits: Limits

    @classmethod
    def empty(cls, shape: tuple[int, int], dtype: str, device: torch.device, *, is_summed: bool = False) -> Health:
        """Of no value.

        Args:
            shape: Layers and neurons.
            dtype: What values are stored in.
            device: Where they are.
            is_summed: Whether sums of them are kept.
        """
        low, high = (torch.full(shape, end, device=device) for end in (torch.inf, -torch.inf))
        n_zero, n_lost, n_special = (torch.zeros(shape, dtype=torch.int32, device=device) for _ in range(3))
        return cls(low, high, n_zero, n_lost, n_special, Limits.of(dtype, is_summed=is_summed))

    def note(self, layer: int, part: slice, values: torch.Tensor) -> None:
        """Values ``"texts neurons"`` of some neurons of a layer, before they are rounded to the stored dtype."""
        low, high, n_zero, n_lost = (whole[layer, part] for whole in (self.low, self.high, self.n_zero, self.n_lost))
        if values.device.type == "cpu" and values.dtype == torch.float32:
            ends, counts = (low.numpy(), high.numpy()), (n_zero.numpy(), n_lost.numpy())
            tally(values.numpy(), ends, counts, self.limits.zero, self.limits.normal)
            return
        if not len(values):
            return
        exact = values.float()
        sizes = exact.abs()
        low.copy_(torch.minimum(low, exact.amin(0)))
        high.copy_(torch.maximum(high, exact.amax(0)))
        n_zero += (sizes <= self.limits.zero).sum(0, dtype=torch.int32)
        n_lost += ((sizes < self.limits.normal) & (sizes > 0)).sum(0, dtype=torch.int32)

    def note_special(self, layer: int, part: slice, values: torch.Tensor, tokens: torch.Tensor, special: SpecialTokens) -> None:
        """Largest values ``"texts neurons"`` of some neurons of a layer, beside the activations they are of."""
        n_special = self.n_special[layer, part]
        if values.device.type == "cpu" and values.dtype == torch.float32:
            texts, positions = special.texts.numpy(), special.positions.numpy()
            tally_special(values.numpy(), tokens.numpy(), texts, positions, n_special.numpy())
            return
        hits = tokens[special.texts, special.positions] >= values[special.texts]
        per_text = torch.zeros(values.shape, dtype=torch.int32, device=values.device)
        n_special += (per_text.index_add_(0, special.texts, hits.int()) > 0).sum(0, dtype=torch.int32)

    def rows(self, dtype: torch.dtype, *, knows_special: bool) -> torch.Tensor:
        """All of it, in the order of `store.health.HEALTH_ROWS`, float64 ``"rows layers neurons"``.

        Args:
            dtype: Of the stored values, between whose ends all of them lie: rounding keeps order.
            knows_special: Whether texts were compared with their special tokens.
        """
        special = self.n_special.double() if knows_special else torch.full_like(self.low, np.nan, dtype=torch.float64)
        ends = (self.low.to(dtype).double(), self.high.to(dtype).double())
        return torch.stack([*ends, self.n_zero.double(), self.n_lost.double(), special])
