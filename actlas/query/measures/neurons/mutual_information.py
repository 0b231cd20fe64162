"""Dimensions that tell most about a concept, by mutual information, and how many of them languages share."""

from __future__ import annotations

import functools
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress
from actlas.query.choices import chosen_checkpoints
from actlas.query.measures.neurons.best import Contrast, Mask, Values, best_of_contrasts, contrasts
from actlas.query.measures.registry import Bins
from actlas.query.neurons import NeuronAxis


@checks_arguments(QueryError)
def mutual_information(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    n_bins: Bins = 8,
    progress: StepProgress | None = None,
) -> pl.DataFrame:
    """The neurons whose value tells most about whether a text expresses a concept, or is in a language, in nats.

    I = sum over bins b and y in {0, 1} of p(b, y) * log(p(b, y) / (p(b) * p(y))), with the shares of the texts that take part;
    bins hold as many values each, equal values in one bin. Each neuron is told alone: the papers add one dimension after another
    to a Gaussian probe, which also leaves out what is told twice. High and low values tell alike. Of few texts the estimate is
    too high, by about (bins - 1) / (2 * texts), for all neurons of a concept and language alike.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: None for all.
        concepts: None for all.
        n: Neurons of every language and concept; 50 as published.
        n_bins: Bins of equal size.
        progress: Called after every block of neurons.

    Returns:
        checkpoint, language, concept (null: the language against the others), rank, site, layer, neuron, mutual_information,
        n_on, n_off. Neurons with a constant value have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.

    Source: Torroba Hennigen et al. 2020, Intrinsic Probing through Dimension Selection.

    Example:
        >>> told = mutual_information(store, checkpoints=["planted-step64"], languages=["en"], concepts=["water"], n=1)
        >>> told.filter(concept="water").select("site", "layer", "neuron", pl.col("mutual_information").round(2)).rows()
        [('mlp_hidden', 1, 19, 0.4)]
    """
    store = as_atlas(store, "r")
    measure = functools.partial(_measure, n_bins=n_bins)
    told_apart = contrasts(store, languages, concepts)
    return best_of_contrasts(store, checkpoints, sites, told_apart, n, "mutual_information", measure, progress)


@checks_arguments(QueryError)
def dimension_overlap(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    n_bins: Bins = 8,
    progress: StepProgress | None = None,
) -> pl.DataFrame:
    """How many of the n neurons that tell most about a concept two languages share, beside what chance gives.

    overlap = shared / n. Two sets of n out of d neurons drawn at random share n / d of themselves on average, which grows as the
    model gets narrower, and their number is hypergeometric.

    Args:
        store: As of `mutual_information`, whose neurons these are.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: Two or more; None for all.
        concepts: None for all.
        n: Neurons of every language and concept; 50 as published.
        n_bins: Bins of equal size.
        progress: Called after every block of neurons.

    Returns:
        checkpoint, concept, language_a, language_b, n, n_neurons (d), n_shared, overlap, chance (n / d), chance_low and
        chance_high (between which at least 95 % of random draws are), p_value (of as many or more by chance). Pairs without n
        neurons of each language have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If fewer than two languages are chosen, n is more than there are neurons, a language or concept is not in the
            corpus, or there are no values.

    Source: Wang et al. 2024, Probing the Emergence of Cross-lingual Alignment during LLM Training.

    Example:
        >>> shared = dimension_overlap(store, checkpoints=["planted-step128"], concepts=["water"], n=6)
        >>> shared.select("language_a", "language_b", "n_shared", "n_neurons", pl.col("chance").round(3)).rows()
        [('fr', 'en', 3, 208, 0.029), ('fr', 'es', 3, 208, 0.029), ('en', 'es', 3, 208, 0.029)]
    """
    from scipy.stats import hypergeom

    store = as_atlas(store, "r")
    told_apart = [one for one in contrasts(store, languages, concepts) if one.concept is not None]
    if len({one.language for one in told_apart}) < 2:
        raise QueryError("an overlap is that of two languages that have texts with and without a concept; choose two or more")
    sizes = {}
    for name in chosen_checkpoints(store, checkpoints):
        sizes[name] = NeuronAxis.of(store, name, store.sites(name) if sites is None else sites).n_neurons
        if n > sizes[name]:
            raise QueryError(f"n = {n}, but {name} has {sizes[name]:,} neurons at these sites; ask for fewer")
    measure = functools.partial(_measure, n_bins=n_bins)
    frame = best_of_contrasts(store, checkpoints, sites, told_apart, n, "mutual_information", measure, progress)
    rows = []
    for (checkpoint, concept), own in frame.group_by("checkpoint", "concept", maintain_order=True):
        sets = {
            str(language): set(part.select("site", "layer", "neuron").iter_rows())
            for (language,), part in own.group_by("language", maintain_order=True)
        }
        chance = hypergeom(sizes[str(checkpoint)], n, n)
        for a, b in combinations([language for language, own_set in sets.items() if len(own_set) == n], 2):
            shared = len(sets[a] & sets[b])
            ends = [float(chance.ppf(quantile)) / n for quantile in (0.025, 0.975)]
            d = sizes[str(checkpoint)]
            rows.append((checkpoint, concept, a, b, n, d, shared, shared / n, n / d, *ends, float(chance.sf(shared - 1))))
    return pl.DataFrame(rows, schema=_OVERLAP, orient="row")


_OVERLAP = pl.Schema(
    {
        **dict.fromkeys(("checkpoint", "concept", "language_a", "language_b"), pl.String()),
        **dict.fromkeys(("n", "n_neurons", "n_shared"), pl.Int64()),
        **dict.fromkeys(("overlap", "chance", "chance_low", "chance_high", "p_value"), pl.Float64()),
    }
)


def _measure(values: Values, of: Contrast, *, n_bins: int) -> dict[str, Values]:
    return {"mutual_information": information(values, of.on, of.off, n_bins)}


def information(values: Values, on: Mask, off: Mask, n_bins: int) -> Values:
    """Mutual information of every neuron's binned value and whether a text is on, in nats; NaN where values are constant.

    Args:
        values: ``"neurons texts"``.
        on: Which texts express the concept.
        off: Which do not; the others take no part.
        n_bins: Bins of equal size.

    Example:
        >>> on = np.array([True, True, False, False])
        >>> information(np.array([[3.0, 4.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]), on, ~on, 2).round(3).tolist()
        [0.693, 0.0]
    """
    both = values[:, on | off]
    is_on = on[on | off]
    edges = np.quantile(both, np.arange(1, n_bins) / n_bins, axis=1, method="lower")
    # values up to each edge, of all and of those that are on: bins are what lies between
    up_to = [both <= edge[:, None] for edge in edges]
    n = np.stack([*(part.sum(axis=1) for part in up_to), np.full(len(both), both.shape[1])])
    n_on = np.stack([*(part[:, is_on].sum(axis=1) for part in up_to), np.full(len(both), is_on.sum())])
    all_in, on_in = (np.diff(counts, axis=0, prepend=0) / both.shape[1] for counts in (n, n_on))
    told = np.zeros(len(both))
    for inside, share in ((on_in, is_on.mean()), (all_in - on_in, 1 - is_on.mean())):
        there = inside > 1e-12
        ratio = np.divide(inside, all_in * share, out=np.ones_like(inside), where=there)
        told += (inside * np.log(ratio)).sum(axis=0)
    return np.where(both.max(axis=1) == both.min(axis=1), np.nan, np.maximum(told, 0.0))
