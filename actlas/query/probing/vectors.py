"""The vectors of one checkpoint and site that probes read: one per sampled token, or the pooled values of one text each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.choices import chosen_token_cubes
from actlas.query.probing.settings import Values
from actlas.store.cube import Cube, TokenCube
from actlas.store.store import Store


@dataclass(frozen=True)
class ProbeVectors:
    """Vectors that labels are read off.

    Attributes:
        cube: Where they are kept.
        table: One row per vector, in their order, with its text_id and language and whatever else may be a label.
    """

    cube: TokenCube | Cube
    table: pl.DataFrame

    @property
    def checkpoint(self) -> str:
        return self.cube.checkpoint

    @property
    def site(self) -> str:
        return self.cube.site

    @property
    def n_layers(self) -> int:
        return self.cube.shape[0]

    def read(self, layer: int) -> NDArray[np.float32]:
        """Those of one layer, ``"vectors channels"``."""
        if isinstance(self.cube, TokenCube):
            return self.cube.read(layer)
        return np.ascontiguousarray(self.cube.read(layer=layer).T, dtype=np.float32)


def chosen_values(store: Store, checkpoints: Sequence[str], sites: Sequence[str] | None, values: Values | None) -> Values:
    """What a vector is where it was not said: a token, if all the sites named have vectors of tokens; else a text."""
    if values is not None:
        return values
    has_tokens = all(set(sites or ()) <= set(store.checkpoint(name)["token_cubes"]) for name in checkpoints)
    return "tokens" if has_tokens else "pooled"


def chosen_vectors(store: Store, checkpoint: str, sites: Sequence[str] | None, values: Values) -> list[ProbeVectors]:
    """Vectors of some sites of a checkpoint; None for all that it has of that kind, which may be none.

    Raises:
        CubeNotFound: If a site has none.
    """
    if values == "tokens":
        return [ProbeVectors(cube, cube.table) for cube in chosen_token_cubes(store, checkpoint, sites)]
    chosen = store.sites(checkpoint) if sites is None else sites
    return [ProbeVectors(store.cube(checkpoint, site), store.corpus.texts) for site in chosen]
