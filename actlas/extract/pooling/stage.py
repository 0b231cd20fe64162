"""Values of one block on the model's device: filled batch by batch, checked, then handed over as host arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from actlas.errors import NotFiniteValues
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.pooling.health import Health
from actlas.extract.pooling.transfer import copy_stream, finish_copies, start_copy, to_device, to_numpy
from actlas.store.values import BlockValues

#: Token positions whose logits are held at once for the sanity loss: a vocabulary of 250,000 is 1 MB per position.
_LOGITS_AT_ONCE = 512
TORCH_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def too_large(site: str, dtype: str, where: str) -> str:
    """What to say of a value that does not fit the stored dtype.

    Example:
        >>> too_large("resid", "float16", "text 3, site resid, layer 1, neuron 5").partition(";")[0]
        'a value is too large for float16 (its limit is 65,504): text 3, site resid, layer 1, neuron 5'
    """
    return (
        f"a value is too large for {dtype} (its limit is {torch.finfo(TORCH_DTYPES[dtype]).max:,.0f}): {where}; the same run "
        f"with dtype {site}=float32 (or {site}=bfloat16) goes on with this store, where what is complete stays as it is"
    )


@dataclass(frozen=True)
class Column:
    """Part of the neuron axis of one layer of a site that one module gives."""

    site: str
    layer: int
    first: int
    last: int


@dataclass(frozen=True)
class Check:
    """float32 ``"2"``: least and largest of the values computed for some rows, NaN if one of them is; kept on the device."""

    column: Column
    is_pooled: bool
    rows: torch.Tensor
    bounds: torch.Tensor


@dataclass
class BlockStage:
    """Values of one block while its batches run, text-major as they come.

    `neurons` numbers the neurons of a site where the stage holds only some of them. With `is_check`, `ends` say whether the
    model's last hidden states are finite.
    """

    block: BlockTexts
    cubes: dict[str, torch.Tensor]
    tokens: dict[str, torch.Tensor]
    counts: dict[str, torch.Tensor]
    n_tokens: NDArray[np.int64]
    loss_sum: torch.Tensor
    health: dict[str, Health] = field(default_factory=dict)
    vector_health: dict[str, Health] = field(default_factory=dict)
    knows_special: bool = False
    loss_tokens: int = 0
    checks: list[Check] = field(default_factory=list)
    neurons: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    ready: torch.cuda.Event | None = None
    is_check: bool = False
    ends: list[torch.Tensor] = field(default_factory=list)

    def add_end(self, last: torch.Tensor, lengths: NDArray[np.int64]) -> None:
        """Note whether what a model gives behind its last layer, ``"texts tokens channels"``, is finite at every token."""
        positions = torch.arange(last.shape[1], device=last.device)
        is_token = positions < to_device(lengths, last.device)[:, None]
        self.ends.append((torch.isfinite(last).all(dim=2) | ~is_token).all())

    def add_loss(self, logits_at: Callable[[slice], torch.Tensor | None], targets: torch.Tensor) -> None:
        """Add next-token losses; logits exist for a few hundred positions at a time.

        Args:
            logits_at: Logits ``"positions vocabulary"`` of some of the predicted positions; None where another rank has them.
            targets: int64 ``"positions"``: the token that follows each.
        """
        for first in range(0, len(targets), _LOGITS_AT_ONCE):
            part = slice(first, first + _LOGITS_AT_ONCE)
            logits = logits_at(part)
            if logits is not None:
                self.loss_sum += torch.nn.functional.cross_entropy(logits.float(), targets[part], reduction="sum")
        self.loss_tokens += len(targets)

    def seal(self) -> None:
        """No batch follows: what the device has been asked to do for this block so far is all of it."""
        if self.loss_sum.device.type == "cuda":
            self.ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.ready.record(torch.cuda.current_stream(self.loss_sum.device))

    def collect(self) -> BlockValues:
        """Everything on the host, once it is known to be finite.

        Raises:
            NotFiniteValues: Naming the first text, layer and site.
        """
        if self.ready is None:
            return self._on_host()
        # copies run while the next block's batches are computed, not after them
        stream = copy_stream(self.loss_sum.device)
        with torch.cuda.stream(stream):
            stream.wait_event(self.ready)
            return self._on_host()

    def _on_host(self) -> BlockValues:
        if self.checks:
            bounds = torch.stack([check.bounds for check in self.checks]).cpu()
            # rounding keeps order: what lies between two finite ends is finite in the stored dtype too
            ends = {kind: torch.isfinite(bounds.to(kind)).all(dim=1) for kind in set(map(self._dtype, self.checks))}
            for row, check in enumerate(self.checks):
                if not ends[self._dtype(check)][row]:
                    self._refuse(check, bounds[row])
        cubes = {site: start_copy(values.transpose(1, 2)) for site, values in self.cubes.items()}
        tokens = {site: start_copy(values) for site, values in self.tokens.items()}
        counts = {site: start_copy(values) for site, values in self.counts.items()}
        health = {
            site: start_copy(noted.rows(self.cubes[site].dtype, knows_special=self.knows_special))
            for site, noted in self.health.items()
        }
        lost_vectors = {site: start_copy(noted.n_lost.sum(1, dtype=torch.int64)) for site, noted in self.vector_health.items()}
        loss_sum = start_copy(self.loss_sum)
        finish_copies(self.loss_sum.device)
        return BlockValues(
            cubes={site: to_numpy(values) for site, values in cubes.items()},
            tokens={site: to_numpy(values) for site, values in tokens.items()},
            counts={site: to_numpy(values) for site, values in counts.items()},
            n_tokens=self.n_tokens,
            loss_sum=float(loss_sum),
            loss_tokens=self.loss_tokens,
            is_finite=all(bool(end) for end in self.ends),
            health={site: to_numpy(values) for site, values in health.items()},
            lost_vectors={site: to_numpy(values) for site, values in lost_vectors.items()},
        )

    def _values(self, check: Check) -> torch.Tensor:
        return (self.cubes if check.is_pooled else self.tokens)[check.column.site]

    def _dtype(self, check: Check) -> torch.dtype:
        return self._values(check).dtype

    def _refuse(self, check: Check, ends: torch.Tensor) -> None:
        column = check.column
        layer = self._values(check)[column.layer, check.rows, column.first : column.last]
        place, neuron = (int(i) for i in (~torch.isfinite(layer)).nonzero()[0])
        row = int(check.rows[place]) if check.is_pooled else int(self.block.sampled_rows[int(check.rows[place])])
        number = column.first + neuron
        if column.site in self.neurons:
            number = int(self.neurons[column.site][number])
        where = f"text {int(self.block.text_ids[row])}, site {column.site}, layer {column.layer}, neuron {number}"
        if bool(torch.isfinite(ends).all()):
            raise NotFiniteValues(too_large(column.site, str(layer.dtype).removeprefix("torch."), where))
        raise NotFiniteValues(f"the model gave NaN or infinity: {where}; the checkpoint may be broken")
