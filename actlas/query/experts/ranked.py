"""The experts of a checkpoint: out of the kept tables where these reach that far, otherwise by one pass over its scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import Ranking, check_k, chosen_labels, linear_sites
from actlas.query.experts.sets import ExpertSets, sets_of_rows
from actlas.query.experts.tables import expert_mask, expert_table, layer_histogram
from actlas.query.keep import Keeper, KeptPart, kept_answer
from actlas.query.neurons import Indices, NeuronAxis, is_rankable
from actlas.query.rankable import Rankable, guess_score, kept_rankable
from actlas.query.ranks import n_scores, ranked_scores
from actlas.store.store import Store

_LOG = logging.getLogger(__name__)


def expert_sets(store: Store, checkpoint: str, ranking: Ranking, *, skip: int = 0) -> ExpertSets:
    """The experts of one checkpoint as arrays: out of the kept table where it reaches that far, otherwise ranked.

    Args:
        store: With scores.
        checkpoint: Which.
        ranking: Which experts.
        skip: Leave out this many best ones first.

    Raises:
        QueryError: If there are not that many neurons.
        ScoresNotFound: If a site is not scored.
    """
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis, skip)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    kept = _kept_sets(store, checkpoint, axis, languages, concepts, ranking.k, skip)
    if kept is not None:
        return kept
    neurons, ap, rankable = ranked_scores(store, checkpoint, axis, languages, concepts, ranking.k + skip)
    _tell_too_few(checkpoint, ranking.k + skip, axis, languages, concepts, rankable)
    return _sets(checkpoint, axis, languages, concepts, neurons[:, :, skip:], ap[:, :, skip:])


def ranked_experts(keeper: Keeper, checkpoint: str, ranking: Ranking, steps: Steps | None = None) -> tuple[ExpertSets, Rankable]:
    """Experts, and how many neurons they were chosen from: out of the kept tables, otherwise by one pass over the scores.

    A pass gives all that is made of ranks, whichever question asks for it, so all of that is kept where the question keeps its
    answer: tables `experts`, `expert_mask`, `layer_histogram` and `rankable`.
    """
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    sets = _kept_sets(store, checkpoint, axis, languages, concepts, ranking.k)
    rankable = kept_rankable(store, checkpoint, axis, languages, concepts)
    if sets is not None and rankable is not None:
        keeper.used("experts", checkpoint)
        if steps is not None:
            steps.add(n_scores(axis, languages, concepts), checkpoint)
        return sets, rankable
    sets, rankable, _ = rank_and_keep(keeper, checkpoint, axis, ranking, steps, is_answer=False)
    return sets.best(ranking.k), rankable


def rank_and_keep(
    keeper: Keeper, checkpoint: str, axis: NeuronAxis, ranking: Ranking, steps: Steps | None, *, is_answer: bool
) -> tuple[ExpertSets, Rankable, pl.DataFrame | None]:
    """The pass, and what is made of it, and table `experts` if that is the answer or is kept.

    `is_answer`: whether experts are what was asked for; only then do they take the place of those with other sites.
    """
    store = keeper.store
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "n_neurons": axis.n_neurons}
    is_kept = keeper.is_on and ranking.is_whole
    if is_kept:
        settings["k"] = keeper.largest("k", "experts", checkpoint, settings)
    neurons, ap, rankable = ranked_scores(store, checkpoint, axis, languages, concepts, settings["k"], steps)
    _tell_too_few(checkpoint, settings["k"], axis, languages, concepts, rankable)
    sets = _sets(checkpoint, axis, languages, concepts, neurons, ap)
    frame = expert_table(store, sets) if is_answer or is_kept else None
    if is_kept and frame is not None:
        tables = {
            "experts": frame,
            "expert_mask": expert_mask(sets),
            "layer_histogram": layer_histogram(sets),
            "rankable": rankable.frame(checkpoint, axis, languages, concepts),
        }
        keeper.put(checkpoint, tables, settings, is_answer=is_answer)
    return sets, rankable, frame


def ranking_steps(
    store: Store, checkpoints: Sequence[str], ranking: Ranking, progress: StepProgress | None, n_passes: int = 1
) -> Steps:
    """Counts the scores of all checkpoints, kept or ranked, once for every pass over them."""
    labels = chosen_labels(store, ranking.languages, ranking.concepts)
    axes = (NeuronAxis.of(store, name, linear_sites(store, name, ranking.sites)) for name in checkpoints)
    return Steps(progress, n_passes * sum(n_scores(axis, *labels) for axis in axes))


def kept_experts(store: Store, checkpoint: str, settings: Mapping[str, Any]) -> KeptPart | None:
    """The part of table `experts` that answers, as `kept_answer`; one of an earlier version that ranks neurons that say no more
    than a guess does not."""
    part = kept_answer(store, "experts", checkpoint, settings)
    return part if part is not None and ranks_no_guess(store, part) else None


def ranks_no_guess(store: Store, part: KeptPart) -> bool:
    """Whether no expert of a kept table has the score of a neuron with one value for all texts."""
    languages, concepts = store.corpus.languages, store.corpus.concepts
    guesses = pl.DataFrame(
        {
            "language": np.repeat(languages, len(concepts)),
            "concept": np.tile(concepts, len(languages)),
            "guess": guess_score(store, languages, concepts).reshape(-1),
        }
    )
    # the last rank has the score nearest to a guess, unless it is below
    rows = part.scan().select("language", "concept", "ap").collect().join(guesses, on=["language", "concept"])
    return bool(is_rankable(rows["ap"].to_numpy(), rows["guess"].to_numpy()).all())


def _kept_sets(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    languages: Sequence[str],
    concepts: Sequence[str],
    k: int,
    skip: int = 0,
) -> ExpertSets | None:
    """Experts out of the kept table; None where it does not reach that far."""
    part = kept_experts(store, checkpoint, {"k": k + skip, "sites": list(axis.sites)})
    if part is None:
        return None
    columns = ("language", "concept", "rank", "site", "layer", "neuron", "ap")
    rows = part.scan().filter(pl.col("rank") > skip, pl.col("rank") <= k + skip).select(columns)
    return sets_of_rows(rows.collect(), checkpoint, axis, languages, concepts, k)


def _sets(
    checkpoint: str,
    axis: NeuronAxis,
    languages: tuple[str, ...],
    concepts: tuple[str, ...],
    neurons: Indices,
    ap: NDArray[np.float64],
) -> ExpertSets:
    """What a ranking found; a pair with fewer neurons than were asked for has no experts."""
    is_short = neurons[:, :, -1] < 0
    neurons[is_short], ap[is_short] = -1, np.nan
    return ExpertSets(checkpoint, axis, languages, concepts, neurons, ap)


def _tell_too_few(
    checkpoint: str, k: int, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str], rankable: Rankable
) -> None:
    """Warn of the concepts for which a language has no experts because most of its neurons tell no texts apart."""
    n_rankable = np.einsum("cii->ci", rankable.total)
    too_few = np.argwhere((n_rankable > 0) & (n_rankable < k))
    if too_few.size:
        concept, language = too_few[np.argmin(n_rankable[tuple(too_few.T)])]
        _LOG.warning(
            "%s has no experts for %d pairs of a language and a concept: fewer than k = %d of its %s neurons tell texts apart "
            "there (fewest: %s, %s: %s); ask for a smaller k",
            checkpoint, len(too_few), k, f"{axis.n_neurons:,}", languages[language], concepts[concept],
            f"{n_rankable[concept, language]:,}",
        )  # fmt: skip
