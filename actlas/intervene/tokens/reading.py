"""A loaded model read at every token: the values of some neurons, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from actlas.extract.backends.taps import TapKey, Taps, tensor_of

if TYPE_CHECKING:
    from actlas.intervene.effects.texts import PaddedTexts
    from actlas.intervene.live import LiveModel

#: Site and layer.
Place = tuple[str, int]


class TokenReader:
    """Reads neurons of a model; a context manager that takes its hooks off again.

    Args:
        live: The model.
        neurons: Columns site, layer, neuron, which the model has, each once.
        dtypes: Site -> the dtype that its values are rounded to; the others are left as they are.
    """

    def __init__(self, live: LiveModel, neurons: pl.DataFrame, dtypes: Mapping[str, str]) -> None:
        self._live, self._dtypes = live, dtypes
        #: Site and layer -> its neurons, ascending.
        self.neurons: dict[Place, NDArray[np.int64]] = {}
        self._parts: dict[Place, list[tuple[TapKey, torch.Tensor]]] = {}
        self._seen: dict[TapKey, Any] = {}
        for (site, layer), rows in neurons.sort("site", "layer", "neuron").group_by("site", "layer", maintain_order=True):
            place, own = (str(site), int(str(layer))), rows["neuron"].cast(pl.Int64).to_numpy()
            self.neurons[place], self._parts[place] = own, []
            for one in live.columns(place[0])[place[1]]:
                here = own[(own >= one.first) & (own < one.first + one.n_neurons)]
                if len(here):
                    columns = torch.from_numpy(here - one.first + one.start).to(live.device)
                    self._parts[place].append(((one.path, one.side), columns))
        keys = dict.fromkeys(key for parts in self._parts.values() for key, _ in parts)
        self._taps = Taps(live.model, keys, self._see)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._taps.remove()

    def _see(self, key: TapKey, value: Any) -> None:
        self._seen[key] = tensor_of(value, key, "first" if self._live.takes_first(key[0]) else "only")

    def read(self, batch: PaddedTexts) -> dict[Place, NDArray[np.float32]]:
        """Run the model on a batch.

        Args:
            batch: Its texts.

        Returns:
            Site and layer -> ``"tokens neurons"``: all tokens of the first text, then of the next, padding left out.
        """
        device = self._live.device
        inputs = {"input_ids": torch.from_numpy(batch.token_ids).to(device)}
        if not batch.is_token.all():
            inputs["attention_mask"] = torch.from_numpy(batch.is_token.astype(np.int64)).to(device)
        is_token = torch.from_numpy(batch.is_token).to(device)
        self._taps.begin_pass()
        with self._live.inference():
            # without the head: no logits are needed
            self._live.model.base_model(**inputs, use_cache=False)
            self._taps.check_pass()
            found = {}
            for place, parts in self._parts.items():
                values = [self._seen[key].reshape(*is_token.shape, -1)[is_token].index_select(1, own) for key, own in parts]
                dtype = getattr(torch, self._dtypes.get(place[0], "float32"))
                found[place] = torch.cat(values, dim=1).to(dtype).float().cpu().numpy()
        self._seen.clear()
        return found
