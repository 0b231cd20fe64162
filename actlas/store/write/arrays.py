"""The arrays of one checkpoint: where each lies, how it is laid out, and what a block of texts must bring for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from actlas.store import layout
from actlas.store.dtypes import SiteDtype
from actlas.store.groups import ArrayGroup, count_group, cube_group, token_group
from actlas.store.layout import TextBlock
from actlas.store.values import BlockValues, Shapes
from actlas.store.write.context import WriteContext


class CheckpointArrays:
    """Plans of the cubes, token vectors and counts of one checkpoint.

    Args:
        context: What all checkpoints of the store have in common.
        checkpoint: Id of the checkpoint.
        cubes: site -> layers, neurons of its cube.
        token_cubes: The same of its sampled token vectors.
        counts: The same where active tokens are counted.
        dtypes: What a site's values are stored in, where that is not by the recipe.

    Attributes:
        cubes: site -> plan.
        token_cubes: The same.
        counts: The same.
        dtypes: Those of the recipe, and those that were given.
    """

    def __init__(
        self,
        context: WriteContext,
        checkpoint: str,
        cubes: Shapes,
        token_cubes: Shapes,
        counts: Shapes,
        dtypes: Mapping[str, SiteDtype],
    ) -> None:
        self._context, self._checkpoint = context, checkpoint
        recipe, corpus, n_blocks = context.recipe, context.corpus, len(context.blocks)
        texts, most = context.blocks[0].n_texts, max(context.block_tokens)
        self.dtypes = {site: SiteDtype(dtype=dtype) for site, dtype in recipe.dtypes.items()} | dict(dtypes)

        def stored(site: str) -> str:
            return self.dtypes[site].dtype if site in self.dtypes else recipe.dtype_of(site)

        self.cubes = {site: layout.cube_plan(*shape, corpus.n_texts, texts, stored(site)) for site, shape in cubes.items()}
        self.token_cubes = {site: layout.token_plan(*shape, n_blocks, most, stored(site)) for site, shape in token_cubes.items()}
        self.counts = {
            site: layout.count_plan(len(corpus.languages), *shape, len(recipe.count_thresholds)) for site, shape in counts.items()
        }

    def groups(self) -> Iterator[ArrayGroup]:
        """The groups that hold them."""
        name, recipe, corpus = self._checkpoint, self._context.recipe, self._context.corpus
        for site, plan in self.cubes.items():
            yield cube_group(layout.cube_path(name, site, recipe.pooling), plan, corpus.texts["text_id"].to_numpy())
        for site, plan in self.token_cubes.items():
            yield token_group(layout.token_path(name, site), plan, *self._context.token_rows)
        for site, plan in self.counts.items():
            yield count_group(layout.count_path(name, site), plan, corpus.languages, recipe.count_thresholds)

    def cube_path(self, site: str) -> str:
        """Where the values of a cube lie inside the store."""
        return self._values_path(layout.cube_path(self._checkpoint, site, self._context.recipe.pooling))

    def token_path(self, site: str) -> str:
        """Where token vectors lie."""
        return self._values_path(layout.token_path(self._checkpoint, site))

    def count_path(self, site: str) -> str:
        """Where counts lie."""
        return self._values_path(layout.count_path(self._checkpoint, site))

    def _values_path(self, group: str) -> str:
        return layout.values_path(group, self._context.store_format)

    def counted_rows(self, n_tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows of the counts, thresholds times languages, whose language has tokens in a block: only these are written."""
        return np.tile(n_tokens > 0, len(self._context.recipe.count_thresholds))

    def check(self, block: TextBlock, values: BlockValues, states: Shapes) -> None:
        """Refuse a block that has other arrays than were announced.

        Args:
            block: Which block.
            values: What it brings.
            states: Sites whose values go into states in place of a cube.

        Raises:
            ValueError: If an array is missing, was not announced, or has another shape.
        """
        n_tokens = self._context.block_tokens[block.index]
        announced = {("cube", site): (*plan.shape[:2], block.n_texts) for site, plan in self.cubes.items()}
        announced |= {("cube", site): (*shape, block.n_texts) for site, shape in states.items()}
        announced |= {("tokens", site): (plan.shape[0], n_tokens, plan.shape[2]) for site, plan in self.token_cubes.items()}
        announced |= {("counts", site): (prod(plan.shape[:-2]), *plan.shape[-2:]) for site, plan in self.counts.items()}
        given = {("cube", site): array.shape for site, array in values.cubes.items()}
        given |= {("tokens", site): array.shape for site, array in values.tokens.items() if self.token_cubes}
        given |= {("counts", site): array.shape for site, array in values.counts.items()}
        if announced != given:
            differs = sorted({*announced.items()} ^ {*given.items()})
            raise ValueError(f"block {block.index} of {self._checkpoint} has other arrays than announced: {differs}")
