"""Expert neurons: the k best by average precision, over all layers and linear sites together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.experts.ranked import rank_and_keep, ranking_steps, ranks_no_guess
from actlas.query.keep import Keeper, kept_answer
from actlas.query.neurons import NeuronAxis
from actlas.query.ranks import n_scores
from actlas.query.schema import TABLES


@checks_arguments(QueryError)
def top_experts(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The k best neurons of every concept, language and checkpoint by average precision, all layers and linear sites together.

    Equal scores are ranked by (site, layer, neuron). A neuron with one value for all texts is no expert: it scores what a guess
    does, the share of positives, and neurons with that score are not ranked. A concept without positives or without
    negatives in a language has no experts there, nor one with fewer than k neurons that can be ranked, of which a warning tells.

    Args:
        store: With scores (`score_neurons`), or the path of such a store.
        k: How many. A kept table holds the largest k that was asked for, and answers every smaller one.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: Sites ranked together; None for the linear ones that are scored.
        progress: Called while scores are ranked, which they are checkpoint by checkpoint: what was stopped goes on with the next.
        keep: Whether an answer for all languages and concepts is kept as tables `experts`, `expert_mask`, `layer_histogram` and
            `rankable`.
            None: if the store was opened with mode "a". A path is opened for writing only where this is True.
        replace: Put the answer in the place of a kept one with other sites, instead of beside it.

    Returns:
        Columns of table `experts`: checkpoint, language, concept, rank, site, layer, neuron, ap, median, p90. The
        last two, null where they were not scored, are what a forced neuron is set to.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Suau et al. 2022; k = 500 after arXiv 2506.01629.

    Example:
        >>> best = top_experts(store, k=3, checkpoints=["planted-step64"], languages=["en"], concepts=["water"])
        >>> best.select("rank", "site", "layer", "neuron").rows()
        [(1, 'attn_out', 1, 11), (2, 'mlp_pre', 1, 1), (3, 'mlp_pre', 1, 10)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    answers = [TABLES["experts"].empty()]
    names = chosen_checkpoints(store, checkpoints)
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        steps = ranking_steps(store, names, ranking, progress)
        answers += [_top_experts(keeper, checkpoint, ranking, steps) for checkpoint in names]
    return pl.concat(answers)


def _top_experts(keeper: Keeper, checkpoint: str, ranking: Ranking, steps: Steps) -> pl.DataFrame:
    """Table `experts` of one checkpoint, kept or computed, and kept then together with what is made of it."""
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "n_neurons": axis.n_neurons}
    part = keeper.find("experts", checkpoint, settings, along=("expert_mask", "layer_histogram", "rankable"))
    is_complete = not keeper.is_on or kept_answer(store, "rankable", checkpoint, settings) is not None
    if part is not None and is_complete and ranks_no_guess(store, part):
        steps.add(n_scores(axis, languages, concepts), checkpoint)
        rows = part.scan().filter(pl.col("rank") <= ranking.k)
        if not ranking.is_whole:
            rows = rows.filter(pl.col("language").is_in(languages), pl.col("concept").is_in(concepts))
        return TABLES["experts"].conform(rows.collect())
    _, _, frame = rank_and_keep(keeper, checkpoint, axis, ranking, steps, is_answer=True)
    assert frame is not None, "it was asked for"
    return frame.filter(pl.col("rank") <= ranking.k)
