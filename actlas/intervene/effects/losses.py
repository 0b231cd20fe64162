"""Next-token losses of texts, and means of neurons over their tokens, of whatever the model is made to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from actlas.extract.backends.hf.hooks import part_of
from actlas.extract.backends.taps import TapKey, Taps, tensor_of
from actlas.intervene.effects.texts import LossTexts, PaddedTexts

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel

#: site -> float64 ``"layers neurons"``.
Grids = dict[str, NDArray[np.float64]]
#: Logits of a batch at most: 2 GB of float32.
_MOST_LOGITS = 1 << 29


@dataclass(frozen=True)
class Losses:
    """Losses of some texts.

    Attributes:
        sums: Per text, the sum over its predicted tokens, in nats; float64.
        n_tokens: Per text, how many those are; int64.
    """

    sums: NDArray[np.float64]
    n_tokens: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Per token, all texts together."""
        return float(self.sums.sum() / self.n_tokens.sum())

    def change(self, base: Losses) -> tuple[float, float]:
        """By how much the mean is above that of the same texts elsewhere, and the standard error of that over texts.

        Texts are what was drawn, and they differ in length: the error is that of a ratio of sums.
        """
        differences = self.sums - base.sums
        total, n_texts = self.n_tokens.sum(), len(self.n_tokens)
        change = differences.sum() / total
        if n_texts < 2:
            return float(change), float("nan")
        spread = np.square(differences - change * self.n_tokens).sum() * n_texts / (n_texts - 1)
        return float(change), float(np.sqrt(spread) / total)


def tokens_per_batch(live: LiveModel) -> int:
    """Tokens of a batch, padding included, whose logits fit into memory."""
    vocabulary = int(live.model.config.get_text_config().vocab_size)
    return max(1, min(2048 if live.device.type == "cpu" else 16384, _MOST_LOGITS // vocabulary))


def text_losses(live: LiveModel, batches: Iterable[PaddedTexts]) -> Losses:
    """Losses of texts, in the order of the batches."""
    sums, n_tokens = [], []
    with live.inference():
        for batch in batches:
            logits = _run(live, batch).logits[:, :-1]
            targets = torch.from_numpy(batch.token_ids[:, 1:]).to(live.device)
            is_predicted = torch.from_numpy(batch.is_token[:, 1:]).to(live.device)
            # row by row: the logits of a whole batch in float32 would be there a second time
            losses = torch.stack(
                [
                    torch.nn.functional.cross_entropy(row.float(), target, reduction="none").double()[own].sum()
                    for row, target, own in zip(logits, targets, is_predicted, strict=True)
                ]
            )
            sums.append(losses.cpu().numpy())
            n_tokens.append(batch.is_token[:, 1:].sum(axis=1))
    return Losses(np.concatenate(sums), np.concatenate(n_tokens))


def _run(live: LiveModel, batch: PaddedTexts) -> Any:
    inputs = {"input_ids": torch.from_numpy(batch.token_ids).to(live.device)}
    if not batch.is_token.all():
        inputs["attention_mask"] = torch.from_numpy(batch.is_token.astype(np.int64)).to(live.device)
    return live.model(**inputs, use_cache=False)


def token_means(live: LiveModel, texts: LossTexts, sites: Sequence[str]) -> dict[str, Grids]:
    """language -> mean of every neuron of some sites over all tokens of its texts.

    Kept values are per text, the largest of its tokens for most stores, and no mean of those is the mean that a neuron has at a
    token: so it is taken here, on the texts that losses are taken on.
    """
    points = [point for site in sites for point in live.points(site)]
    seen: dict[TapKey, torch.Tensor] = {}
    keys = list(dict.fromkeys((path, point.side) for point in points for path in point.modules))

    def read(key: TapKey, value: Any) -> None:
        seen[key] = tensor_of(value, key, "first")

    taps = Taps(live.model, keys, read)
    means: dict[str, Grids] = {}
    try:
        for language, batches in texts.batches.items():
            sums: dict[tuple[str, int], torch.Tensor | float] = {}
            for batch in batches:
                is_token = torch.from_numpy(batch.is_token).to(live.device)
                with live.inference():
                    taps.begin_pass()
                    _run(live, batch)
                    taps.check_pass()
                    for point in points:
                        parts = [part_of(seen[path, point.side], point.part) for path in point.modules]
                        values = torch.cat(parts, dim=-1).reshape(*is_token.shape, -1)[is_token]
                        place = point.site, point.layer
                        sums[place] = sums.get(place, 0.0) + values.double().sum(dim=0)
            n_tokens = sum(int(batch.is_token.sum()) for batch in batches)
            means[language] = _stacked(sums, n_tokens)
    finally:
        taps.remove()
    return means


def _stacked(sums: Mapping[tuple[str, int], Any], n_tokens: int) -> Grids:
    layers: dict[str, list[NDArray[np.float64]]] = {}
    for (site, _), total in sums.items():
        layers.setdefault(site, []).append(total.cpu().numpy() / n_tokens)
    return {site: np.stack(rows) for site, rows in layers.items()}
