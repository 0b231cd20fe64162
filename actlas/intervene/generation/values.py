"""Pooled values of new texts at one site and layer, as an extraction into the store would have read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.extract.backends.base import Capture
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.sites.resolve import SiteMap
from actlas.names import Recipe

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel

#: Padding included.
_TOKENS_PER_BATCH = 4096


def pooled_values(live: LiveModel, recipe: Recipe, texts: Sequence[str], site: str, layer: int) -> NDArray[np.float32]:
    """Run texts through a model and pool what its neurons do, by the recipe of a store.

    Texts longer than the recipe's `max_tokens` are cut. Whatever is forced while this runs is in the values.

    Args:
        live: The model.
        recipe: Of the store whose values these are to be compared with: special tokens, pooling, length.
        texts: New ones.
        site: Where to read.
        layer: Where to read.

    Returns:
        float32 ``"texts neurons"``; NaN for a text that has no token of its own.

    Raises:
        SiteNotProved: If the model has no such site that was proved.
        QueryError: If it has no such layer.
    """
    points = live.points(site)
    if layer >= len(points):
        raise QueryError(f"{site} of {live.checkpoint} has layers 0 to {len(points) - 1}, not {layer}")
    block, rows = _block(live, recipe, texts)
    values = np.full((len(texts), live.widths(site)[layer]), np.nan, dtype=np.float32)
    if rows.size:
        # to the hooks it is a site of one layer
        point = replace(points[layer], layer=0)
        places = SiteMap({site: (point,)}, {}, frozenset(path for path in point.modules if live.takes_first(path)))
        values[rows] = _run(live, recipe, block, places)[site][0].T
    return values


def _block(live: LiveModel, recipe: Recipe, texts: Sequence[str]) -> tuple[BlockTexts, NDArray[np.int64]]:
    """Tokens of the texts that have any of their own, and which texts these are."""
    from actlas.extract.backends.hf.tokenizer import HfTokenizer

    tokenizer = HfTokenizer(live.tokenizer)
    encoded = tokenizer.encode(texts, add_special=recipe.special_tokens != "none", max_tokens=recipe.max_tokens)
    rows = np.array([row for row, special in enumerate(encoded.is_special) if not special.all()], dtype=np.int64)
    token_ids, is_special = ([each[row] for row in rows] for each in (encoded.token_ids, encoded.is_special))
    none = np.zeros(0, dtype=np.int64)
    block = BlockTexts(
        token_ids=np.concatenate([none, *token_ids]).astype(np.int32),
        offsets=np.cumsum([0, *map(len, token_ids)]).astype(np.int64),
        is_special=np.concatenate([none.astype(bool), *is_special]) if recipe.special_tokens == "run" else None,
        language=np.zeros(rows.size, dtype=np.int64),
        sampled_rows=none,
        sampled_positions=none,
        sampled_lengths=none,
        has_loss=np.zeros(rows.size, dtype=bool),
        text_ids=rows,
    )
    return block, rows


def _run(live: LiveModel, recipe: Recipe, block: BlockTexts, places: SiteMap) -> dict[str, NDArray[np.float32]]:
    """Values of a block, ``"layers neurons texts"`` by site."""
    import torch

    from actlas.extract.backends.hf.backend import pad_id_of
    from actlas.extract.backends.hf.hooks import Hooks
    from actlas.extract.pooling.transfer import to_device

    pad_id, base = pad_id_of(live.model), live.model.base_model
    pad_to = recipe.max_tokens if recipe.pooling == "max_with_pad" else None
    capture = Capture(tuple(places.points), pooling=recipe.pooling, dtype="float32", pad_to=pad_to, max_tokens=recipe.max_tokens)
    hooks = Hooks(live.model, places, capture, live.device)
    try:
        with live.inference():
            few = torch.full((2, 3), pad_id, device=live.device)
            hooks.measure(lambda: base(input_ids=few, use_cache=False), (2, 3))
            stage = hooks.begin_block(block, None)
            for batch in block.batches(_TOKENS_PER_BATCH, pad_id=pad_id, pad_to=pad_to):
                inputs = {"input_ids": to_device(batch.token_ids, live.device)}
                if batch.is_padded:
                    inputs["attention_mask"] = to_device(batch.attention_mask, live.device)
                hooks.run_batch(batch, stage, partial(base, **inputs, use_cache=False))
        stage.seal()
        return dict(stage.collect().cubes)
    finally:
        hooks.remove()
