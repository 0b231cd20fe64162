"""Activations of one run put into another one, at one token of every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from actlas.errors import InterventionError, NeuronNotFound
from actlas.intervene.live import LiveModel

if TYPE_CHECKING:
    from actlas.intervene.edits import Edit


def patch(
    live: LiveModel,
    latents: Any,
    *,
    layers: Sequence[int] | None = None,
    position: int | Sequence[int],
    site: str = "resid",
) -> AbstractContextManager[None]:
    """A context in which a site has other activations at one token of every text, in some layers.

    A token is patched in the pass that it is in: a text that goes on is patched in its prompt, and what is generated is not, with
    or without a cache.

    Args:
        live: The model.
        latents: ``"rows layers neurons"`` with every layer of the model, or layer -> ``"rows neurons"``; an array or a tensor.
            With beams or several answers to a prompt, a row is a prompt.
        layers: Layers that are patched; None for all that there are latents of.
        position: Which token of the text, from 0, padding on the left not counted: one number for all rows, or one for each.
        site: What the latents are of.

    Returns:
        The context.

    Raises:
        InterventionError: If latents hold NaN or infinity, have another shape, or are not as many as positions; and, when the
            model runs, if a text has no such token.
        NeuronNotFound: If the model has no such layer.
        SiteNotProved: If it has no such proved site.

    Source: Dumas et al. 2024, as used in arXiv 2601.22851.

    Example:
        >>> with patch(live, np.ones((1, 2, 24)), layers=[1], position=[2]):
        ...     logits = live.model(**live.tokenizer("abcd", return_tensors="pt")).logits
    """
    from actlas.intervene.edits import Edited, PositionEdit

    by_layer = _by_layer(latents, len(live.points(site)))
    chosen = list(by_layer) if layers is None else list(layers)
    unknown = [layer for layer in chosen if layer not in by_layer]
    if unknown:
        raise NeuronNotFound(f"there are no latents of layer {unknown[0]} at site {site}; there are some of {sorted(by_layer)}")
    edits: dict[tuple[str, str], Edit] = {}
    for layer in chosen:
        values, width = by_layer[layer], live.widths(site)[layer]
        positions = [position] * len(values) if isinstance(position, int) else [int(each) for each in position]
        if values.ndim != 2 or values.shape[1] != width or len(positions) != len(values):
            raise InterventionError(
                f"latents of layer {layer} have shape {values.shape} for {len(positions)} positions; site {site} of "
                f"{live.checkpoint} needs one row of {width:,} neurons for each"
            )
        if not np.isfinite(values).all():
            raise InterventionError(f"latents of layer {layer} hold NaN or infinity")
        if min(positions, default=0) < 0:
            raise InterventionError(f"position {min(positions)} is asked for; tokens of a text are counted from 0")
        for one in live.columns(site)[layer]:
            part = values[:, one.first : one.first + one.n_neurons]
            edits[one.path, one.side] = PositionEdit(part, positions, one.start, live.device)
    return Edited(live, edits)


def _by_layer(latents: Any, n_layers: int) -> dict[int, np.ndarray]:
    if isinstance(latents, Mapping):
        unknown = [layer for layer in latents if not 0 <= layer < n_layers]
        if unknown:
            raise NeuronNotFound(f"there are latents of layer {unknown[0]}, and the model has layers 0 to {n_layers - 1}")
        return {int(layer): _array(values) for layer, values in latents.items()}
    array = _array(latents)
    if array.ndim != 3 or array.shape[1] != n_layers:
        raise InterventionError(
            f"latents have shape {array.shape}; they are rows by layers by neurons, with all {n_layers} layers of the model"
        )
    return {layer: array[:, layer] for layer in range(n_layers)}


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
