"""Prompts that go through a model together, again and again with other latents: what it says next, and greedy text."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.intervene.live import LiveModel
from actlas.intervene.patching import patch


@dataclass(frozen=True)
class PromptBatch:
    """Prompts that go through the model together, padded on the left.

    Attributes:
        pairs: Number of the pair of each row.
        token_ids: ``"rows tokens"``.
        is_token: Which of these are no padding.
        position: Which token of its prompt is the last one of the word to translate, padding not counted.
    """

    pairs: NDArray[np.int64]
    token_ids: NDArray[np.int64]
    is_token: NDArray[np.bool_]
    position: NDArray[np.int64]


def prompt_batches(
    pairs: NDArray[np.int64], tokens: Sequence[NDArray[np.int32]], positions: NDArray[np.int64], rows: int, pad_id: int
) -> Iterator[PromptBatch]:
    """Prompts in batches of similar length.

    Args:
        pairs: Number of the pair of each prompt.
        tokens: Its token ids.
        positions: Place in it of the last token of the word to translate.
        rows: Prompts of a batch.
        pad_id: Fills a batch.
    """
    lengths = np.array([len(own) for own in tokens])
    order = np.argsort(lengths, kind="stable")
    for first in range(0, len(order), rows):
        chosen = order[first : first + rows]
        width = int(lengths[chosen].max())
        token_ids = np.full((len(chosen), width), pad_id, dtype=np.int64)
        is_token = np.zeros((len(chosen), width), dtype=bool)
        for row, one in enumerate(chosen):
            token_ids[row, width - lengths[one] :] = tokens[one]
            is_token[row, width - lengths[one] :] = True
        yield PromptBatch(pairs[chosen], token_ids, is_token, positions[chosen])


class GreedyPrompts:
    """One batch of prompts in a model.

    What comes before the word to translate is the same whatever is put in at its last token, so it goes through the model once,
    and its cache is used by every run.

    Args:
        live: The model.
        batch: The prompts.
        n_tokens: Greedy tokens of text; 0 for the next token's logits alone.
        pad_id: Fills what follows an answer that ended.
    """

    def __init__(self, live: LiveModel, batch: PromptBatch, n_tokens: int, pad_id: int) -> None:
        import torch

        self._live, self._batch, self._n_tokens, self._pad_id = live, batch, n_tokens, pad_id
        self._ids = torch.as_tensor(batch.token_ids, device=live.device)
        self._mask = torch.as_tensor(batch.is_token, dtype=torch.int64, device=live.device)
        self._beginning = self._cached()

    def _cached(self) -> dict[str, Any]:
        """The cache of the columns before the first word to translate, by the name that transformers gives it; or nothing."""
        n_padding = (~self._batch.is_token).sum(axis=1)
        n_columns = int((self._batch.position + n_padding).min())
        # a row without any token there would have nothing to attend to
        if n_columns <= n_padding.max():
            return {}
        given = self._generate(self._ids[:, :n_columns], self._mask[:, :n_columns], 1)
        found = {name: given[name] for name in given.keys() & {"cache", "past_key_values"}}
        is_whole = all(hasattr(one, "get_seq_length") and one.get_seq_length() == n_columns for one in found.values())
        return found if is_whole else {}

    def run(self, latents: NDArray[np.float32] | None, layer: int | None) -> tuple[Any, list[str] | None]:
        """One run of all prompts.

        Args:
            latents: ``"rows layers channels"``, of every layer; None for nothing patched.
            layer: The first layer that is patched.

        Returns:
            Logits of the next token, ``"rows tokens"``, and the greedy text of every row; None without tokens.
        """
        context: Any = nullcontext()
        if latents is not None and layer is not None:
            chosen = range(layer, self._live.n_layers)
            context = patch(self._live, latents, layers=chosen, position=self._batch.position.tolist())
        with context:
            given = self._generate(self._ids, self._mask, max(1, self._n_tokens), **self._beginning)
        if not self._n_tokens:
            return given.logits[0], None
        new = given.sequences[:, self._ids.shape[1] :].tolist()
        return given.logits[0], [self._live.tokenizer.decode(ids, skip_special_tokens=True) for ids in new]

    def _generate(self, ids: Any, mask: Any, n_tokens: int, **cached: Any) -> Any:
        """Greedy tokens; nothing that a checkpoint's own generation settings say (penalties, forced tokens) touches them."""
        from transformers import GenerationConfig

        model = self._live.model
        own, model.generation_config = (
            model.generation_config,
            GenerationConfig(
                max_new_tokens=n_tokens,
                do_sample=False,
                pad_token_id=self._pad_id,
                eos_token_id=self._live.tokenizer.eos_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            ),
        )
        try:
            with self._live.inference():
                return model.generate(input_ids=ids, attention_mask=mask, **copy.deepcopy(cached))
        finally:
            model.generation_config = own
