"""What is told of experts, as tables `experts`, `expert_mask` and `layer_histogram`."""

from __future__ import annotations

import numpy as np
import polars as pl

from actlas.query.experts.sets import ExpertSets
from actlas.query.neurons import names_at
from actlas.query.ranks import scores_of
from actlas.query.schema import LANGUAGES_PER_WORD, TABLES
from actlas.store.store import Store


def expert_table(store: Store, sets: ExpertSets) -> pl.DataFrame:
    """The table `experts`: with the values that a forced neuron is set to."""
    cubes = [store.scores(sets.checkpoint, site) for site in sets.axis.sites]
    frame = sets.frame()
    for stat in ("median", "p90"):
        if all(stat in cube.stats for cube in cubes):
            values = scores_of(cubes, sets.axis, stat, sets.languages, sets.concepts, sets.neurons)[sets.has_experts]
            frame = frame.with_columns(pl.Series(stat, values.reshape(-1)).fill_nan(None))
        else:
            frame = frame.with_columns(pl.lit(None).alias(stat))
    return TABLES["experts"].conform(frame)


def expert_mask(sets: ExpertSets) -> pl.DataFrame:
    """Table `expert_mask`: for each neuron and concept the languages in which it is an expert, as bits.

    Bit b of word w stands for the language with that bit and word in table `languages`. Stores of up to 64 languages
    have word 0 only.
    """
    parts = []
    for column, concept in enumerate(sets.concepts):
        languages = np.flatnonzero(sets.has_experts[:, column])
        if not languages.size:
            continue
        index, row = np.unique(sets.neurons[languages, column], return_inverse=True)
        row = row.reshape(languages.size, sets.k)
        n_languages = np.bincount(row.reshape(-1), minlength=index.size)
        for word in range(-(-len(sets.languages) // LANGUAGES_PER_WORD)):
            mask = np.zeros(index.size, dtype=np.uint64)
            for position, language in enumerate(languages):
                if language // LANGUAGES_PER_WORD == word:
                    mask[row[position]] |= np.uint64(1) << np.uint64(language % LANGUAGES_PER_WORD)
            parts.append(
                pl.DataFrame({**sets.axis.columns(index), "mask": mask, "n_languages": n_languages}).with_columns(
                    pl.lit(sets.checkpoint).alias("checkpoint"), pl.lit(concept).alias("concept"), pl.lit(word).alias("word")
                )
            )
    table = TABLES["expert_mask"]
    return pl.concat([table.conform(part) for part in parts]) if parts else table.empty()


def layer_histogram(sets: ExpertSets) -> pl.DataFrame:
    """Table `layer_histogram`: experts in each layer of each site, zeros included."""
    axis = sets.axis
    cells = [
        (site, layer, neurons) for site, (layers, neurons) in zip(axis.sites, axis.shapes, strict=True) for layer in range(layers)
    ]
    cell_start = np.concatenate(
        [np.arange(layers) * n + start for start, (layers, n) in zip(axis.starts[:-1], axis.shapes, strict=True)]
    )
    language_of, concept_of = np.nonzero(sets.has_experts)
    counts = np.zeros((language_of.size, len(cells)), dtype=np.int64)
    for pair, index in enumerate(sets.neurons[language_of, concept_of]):
        counts[pair] = np.bincount(np.searchsorted(cell_start, index, side="right") - 1, minlength=len(cells))
    n_pairs = language_of.size
    frame = pl.DataFrame(
        {
            "checkpoint": pl.repeat(sets.checkpoint, n_pairs * len(cells), dtype=pl.String, eager=True),
            "concept": names_at(sets.concepts, np.repeat(concept_of, len(cells))),
            "language": names_at(sets.languages, np.repeat(language_of, len(cells))),
            "site": pl.Series([site for site, _, _ in cells] * n_pairs, dtype=pl.String),
            "layer": pl.Series([layer for _, layer, _ in cells] * n_pairs, dtype=pl.Int32),
            "n_experts": counts.reshape(-1),
            "n_neurons": pl.Series([n for _, _, n in cells] * n_pairs, dtype=pl.Int32),
            "k": pl.repeat(sets.k, n_pairs * len(cells), dtype=pl.Int32, eager=True),
        }
    )
    return TABLES["layer_histogram"].conform(frame)
