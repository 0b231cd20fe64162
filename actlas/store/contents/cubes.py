"""`Cubes`: values of texts, vectors of tokens, counts of active tokens and states, each opened and compared with its record."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from actlas.errors import CubeNotFound
from actlas.names import safe_id
from actlas.store import layout
from actlas.store.contents.checkpoints import Checkpoints
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.cube import Committed, Cube, StateArrays, TokenCounts, TokenCube, read_array
from actlas.store.files.parquet import read_parquet
from actlas.store.records import CheckpointRecord
from actlas.words import did_you_mean

if TYPE_CHECKING:
    import zarr


class Cubes(Checkpoints):
    """What extraction left of the activations of each checkpoint."""

    def cube(self, checkpoint: str, site: str, pooling: str | None = None) -> Cube:
        """Values of one checkpoint at one site.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `sites`.
            pooling: The pooling of the store's recipe, which is the default; any other is refused.

        Returns:
            The cube; nothing of it is read yet.

        Raises:
            CubeNotFound: If there is no such cube; the message lists what is there.
            IncompleteCube: If its run did not commit yet.

        Example:
            >>> store.cube("planted-step64", "mlp_pre").shape
            (2, 40, 144)
        """
        self._refuse_unfinished(checkpoint, site)
        record = self._records.checkpoint(safe_id(checkpoint))
        if record is None or site not in record.cubes or pooling not in (None, self.recipe.pooling):
            raise self._no_cube(checkpoint, site, pooling)
        array, committed = self._values(record, layout.cube_path(checkpoint, site, self.recipe.pooling))
        text_ids = self.corpus.texts["text_id"].to_numpy()
        return Cube(checkpoint, site, self.recipe.pooling, array, text_ids, committed)

    def token_cube(self, checkpoint: str, site: str) -> TokenCube:
        """Sampled token vectors.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: A site whose token vectors were kept.

        Returns:
            The vectors, dimensions (layer, token, channel), and the table of their tokens.

        Raises:
            CubeNotFound: If none were kept for this site.

        Example:
            >>> store.token_cube("planted-step64", "resid").shape
            (2, 288, 6)
        """
        record = self._checkpoint(checkpoint)
        sites = record.token_cubes
        if site not in sites:
            near = did_you_mean([site], sites)
            raise CubeNotFound(f"no token vectors of {checkpoint} at site {site}; {near}kept are {', '.join(sites) or 'none'}")
        array, committed = self._values(record, layout.token_path(checkpoint, site))
        return TokenCube(checkpoint, site, array, self.sampled_tokens, committed)

    @cached_property
    def sampled_tokens(self) -> pl.DataFrame:
        """The tokens whose vectors are kept: row, text_id, position, token_id, language, split."""
        path = self.path / layout.SAMPLED_TOKENS
        schema = {"row": pl.Int64, "text_id": pl.Int64, "position": pl.Int32, "token_id": pl.Int32}
        # by the recipe, not by whether the file is there: one that was lost is damage
        has_sample = path.is_file() or any(self.about["sampled_tokens_per_block"])
        table = read_parquet(self.checked(path)) if has_sample else pl.DataFrame(schema=schema)
        texts = self.corpus.texts.select("text_id", "language", "split", "parallel_id")
        return table.join(texts, on="text_id", how="left", maintain_order="left")

    def token_counts(self, checkpoint: str, site: str | None = None, threshold: float | None = None) -> TokenCounts:
        """Active tokens per neuron and language, counted over every token of the corpus.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: Where tokens were counted; None for the one that LAPE is about, see `lape_site`.
            threshold: Above which value; None for the recipe's lowest.

        Returns:
            Active tokens, int64 ``"languages layers neurons"``, and tokens in all, ``"languages"``.

        Raises:
            CubeNotFound: If tokens were not counted at this site, or above this value.

        Example:
            >>> store.token_counts("planted-step64").active.shape
            (3, 2, 40)
        """
        record, site = self._checkpoint(checkpoint), site or self.lape_site(checkpoint)
        if self.is_imported:
            raise CubeNotFound(f"{self.only_scores}: no active token of {checkpoint} was counted")
        if site not in record.counts:
            raise CubeNotFound(
                f"active tokens of {checkpoint} were not counted at {site}; {did_you_mean([site], record.counts)}"
                f"counted are {', '.join(record.counts) or 'none'}"
            )
        thresholds = self.recipe.count_thresholds
        chosen = thresholds[0] if threshold is None else threshold
        if chosen not in thresholds:
            raise CubeNotFound(
                f"tokens of {checkpoint} at {site} were not counted above {chosen:g}; counted are those above "
                f"{', '.join(f'{value:g}' for value in thresholds)}"
            )
        array, committed = self._values(record, layout.count_path(checkpoint, site))
        several = (thresholds.index(chosen),) if len(thresholds) > 1 else ()
        active = read_array(array, (*several, None, None, None), committed)
        n_tokens = np.array([record.n_tokens[language] for language in self.corpus.languages], dtype=np.int64)
        return TokenCounts(active, n_tokens, chosen, self.corpus.languages)

    @property
    def text_sets(self) -> tuple[LanguageSets, ...]:
        """The sets of texts that states are kept over."""
        return self.corpus.text_sets

    def states(self, checkpoint: str, site: str) -> StateArrays:
        """States of one checkpoint at one site, where they are kept in place of a cube.

        Args:
            checkpoint: Id, as in `checkpoints`.
            site: As in `state_sites`.

        Returns:
            The arrays of the states; nothing of them is read yet.

        Raises:
            CubeNotFound: If none are kept there.

        Example:
            >>> from actlas.testing import Planting, planted_store
            >>> kept = actlas.open_store(planted_store(folder / "states.actlas", Planting(states=("moments",))))
            >>> sorted(kept.states("planted-step64", "mlp_pre").arrays)
            ['active', 'range', 'squares', 'total']
        """
        sites = self.state_sites(checkpoint)
        if site not in sites or self.recipe.states is None:
            raise CubeNotFound(f"no states of {checkpoint} at site {site}; kept are {', '.join(sites) or 'none'}")
        folder, record = layout.state_path(checkpoint, site, self.recipe.pooling), self._checkpoint(checkpoint)
        self._check_group(self._records.files(record), folder)
        names = [name for name in layout.STATE_ARRAYS if (self.path / folder / name / "zarr.json").is_file()]
        arrays = {name: self._array(f"{folder}/{name}") for name in names}
        committed = {name: self._committed(record, f"{folder}/{name}") for name in names}
        return StateArrays(checkpoint, site, arrays, self.text_sets, committed)

    def _values(self, record: CheckpointRecord, group: str) -> tuple[zarr.Array[Any], Committed]:
        """The one array of a group, and what reads the records of its shards."""
        self._check_group(self._records.files(record), group)
        path = layout.values_path(group, self.about["format"])
        return self._array(path), self._committed(record, path)

    def _committed(self, record: CheckpointRecord, path: str) -> Committed:
        return lambda: self._records.shards(record).get(path, {})
