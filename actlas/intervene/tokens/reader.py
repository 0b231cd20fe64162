"""The process of `ModelElsewhere`: it holds a model, and answers what neurons have at the tokens of a text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from actlas.extract.child import Command, Report, serve
from actlas.query.formats import as_arrow

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel


class _Reader:
    """What the process is asked."""

    def __init__(self) -> None:
        self._live: LiveModel | None = None
        self._store = ""

    def load(self, store: str, checkpoint: str, model: str | None) -> None:
        """Load a checkpoint of a store in the place of the one that is there: memory may not hold two."""
        from actlas.intervene.live import load_live

        if self._live is not None:
            self._live.close()
            self._live = None
        self._live, self._store = load_live(store, checkpoint, model=model), store

    def read(self, text: str, neuron: Sequence[str | int] | None, n: int) -> Mapping[str, str]:
        """Frames of `token_reading`, as Arrow in base64."""
        assert self._live is not None, "it is asked when a model was loaded"
        frames = token_reading(self._live, text, self._store, neuron, n)
        return {name: base64.b64encode(as_arrow(frame)).decode() for name, frame in frames.items()}


def token_reading(
    live: LiveModel, text: str, store: str, neuron: Sequence[str | int] | None, n: int
) -> Mapping[str, pl.DataFrame]:
    """What a model tells of a text.

    Args:
        live: The model.
        text: The text.
        store: Whose values it should be comparable with.
        neuron: Site, layer and neuron; None: whose experts are active.
        n: How many pairs of a concept and a language are told of a token.

    Returns:
        tokens: a row per token with the value of the neuron; or without one, beside experts, as `active_experts` gives them.
    """
    from actlas.intervene.tokens.typed import active_experts, text_token_values, text_tokens

    if neuron is None:
        experts = active_experts(live, text, store, n=n)
        return {"tokens": text_tokens(live, text, store=store), "experts": experts}
    place = pl.DataFrame([tuple(neuron)], schema=["site", "layer", "neuron"], orient="row")
    return {"tokens": text_token_values(live, text, place, store=store)}


def _commands(report: Report) -> Mapping[str, Command]:
    reader = _Reader()
    return {"load": reader.load, "read": reader.read}


if __name__ == "__main__":
    serve(_commands)
