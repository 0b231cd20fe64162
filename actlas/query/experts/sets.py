"""`ExpertSets`: the experts of one checkpoint as arrays, and such arrays out of a table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.neurons import Indices, NeuronAxis, names_at


@dataclass(frozen=True)
class ExpertSets:
    """The experts of one checkpoint.

    Attributes:
        checkpoint: Its id.
        axis: The neurons that were ranked.
        languages: Names along the first axis of `neurons`.
        concepts: Names along the second.
        neurons: ``"languages concepts k"``: indices into `axis`, best first; -1 throughout where the scores are null, or
            fewer than k neurons can be ranked.
        ap: Their average precision, same shape.
    """

    checkpoint: str
    axis: NeuronAxis
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    neurons: Indices
    ap: NDArray[np.float64]

    @property
    def k(self) -> int:
        return int(self.neurons.shape[2])

    @property
    def has_experts(self) -> NDArray[np.bool_]:
        """Pairs ``"languages concepts"`` that have experts."""
        return np.asarray(self.neurons[:, :, 0] >= 0)

    def best(self, k: int) -> ExpertSets:
        """The same with the k best alone."""
        return dataclasses.replace(self, neurons=self.neurons[:, :, :k], ap=self.ap[:, :, :k])

    def frame(self) -> pl.DataFrame:
        """Columns checkpoint, language, concept, rank, site, layer, neuron, ap; one row per expert."""
        language_of, concept_of = np.nonzero(self.has_experts)
        index = self.neurons[language_of, concept_of].reshape(-1)
        return pl.DataFrame(
            {
                "checkpoint": pl.repeat(self.checkpoint, index.size, dtype=pl.String, eager=True),
                "language": names_at(self.languages, np.repeat(language_of, self.k)),
                "concept": names_at(self.concepts, np.repeat(concept_of, self.k)),
                "rank": pl.Series(np.tile(np.arange(1, self.k + 1), language_of.size), dtype=pl.Int32),
                **self.axis.columns(index),
                "ap": self.ap[language_of, concept_of].reshape(-1),
            }
        )


def sets_of_rows(
    rows: pl.DataFrame, checkpoint: str, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str], k: int
) -> ExpertSets:
    """Experts out of a table of them.

    Args:
        rows: Columns language, concept, site, layer, neuron, ap: k rows in order of rank for every language and concept that
            has experts.
        checkpoint: Whose they are.
        axis: The neurons that were ranked.
        languages: Which languages to take.
        concepts: Which concepts to take.
        k: Rows per language and concept.
    """
    rows = rows.filter(pl.col("language").is_in(languages), pl.col("concept").is_in(concepts))
    place = pl.DataFrame(
        {
            "site": pl.Series(axis.sites, dtype=pl.String),
            "start": axis.starts[:-1],
            "width": [n_neurons for _, n_neurons in axis.shapes],
        }
    )
    placed = rows.join(place, on="site", how="left", maintain_order="left")
    index = placed.select(pl.col("start") + pl.col("layer").cast(pl.Int64) * pl.col("width") + pl.col("neuron")).to_series()
    pairs = rows.gather_every(k)
    language_of = pairs["language"].replace_strict(languages, range(len(languages)), return_dtype=pl.Int64).to_numpy()
    concept_of = pairs["concept"].replace_strict(concepts, range(len(concepts)), return_dtype=pl.Int64).to_numpy()
    shape = (len(languages), len(concepts), k)
    neurons, ap = np.full(shape, -1, dtype=np.int64), np.full(shape, np.nan)
    neurons[language_of, concept_of] = index.to_numpy().reshape(-1, k)
    ap[language_of, concept_of] = rows["ap"].to_numpy().reshape(-1, k)
    return ExpertSets(checkpoint, axis, tuple(languages), tuple(concepts), neurons, ap)
