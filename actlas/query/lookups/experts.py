"""Experts of one concept or one layer, their controls, and the scores of one neuron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.allowed import Count, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import Ranking, check_min_languages, chosen_checkpoints
from actlas.query.experts.ranked import expert_sets
from actlas.query.experts.tables import layer_histogram
from actlas.query.keep import KeptPart, kept_parts
from actlas.query.questions.experts import top_experts
from actlas.query.sql.macro import asked_over


@checks_arguments(QueryError)
def experts_by_layer(store: Atlas | str | Path, checkpoint: str, *, k: Positive | None = None) -> pl.DataFrame:
    """How many of the k best experts sit in each layer of each site, for every concept and language.

    Args:
        store: With table `experts`, or with scores where k is given; or the path of such a store.
        checkpoint: Which.
        k: How many experts; None for all that are kept. More than are kept are ranked, which SQL cannot.

    Returns:
        Columns of table `layer_histogram`: checkpoint, concept, language, site, layer, n_experts (zeros included), n_neurons, k.

    Raises:
        TableNotFound: If k is None and no experts are kept.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If k is more than there are neurons.

    Example:
        >>> experts_by_layer(store, "planted-step64", k=3).filter(language="en", concept="salt")["n_experts"].to_list()
        [0, 1, 1, 1]
    """
    store = as_atlas(store)
    chosen_checkpoints(store, [checkpoint])
    if _is_kept(store, checkpoint, k):
        return store.ask("experts_by_layer", checkpoint=checkpoint, k=k)
    assert k is not None
    counted = layer_histogram(expert_sets(store, checkpoint, Ranking(k, shown_sites(store, checkpoint))))
    return counted.sort("concept", "language", "site", "layer")


@checks_arguments(QueryError)
def shared_experts(
    store: Atlas | str | Path, checkpoint: str, concept: str, *, m: Positive = 2, k: Positive | None = None
) -> pl.DataFrame:
    """Neurons that are experts for a concept in several languages at once.

    Args:
        store: With table `experts`, or with scores where k is given; or the path of such a store.
        checkpoint: Which.
        concept: Which.
        m: In how many languages at least.
        k: Experts per language; None for all that are kept. More than are kept are ranked, which SQL cannot.

    Returns:
        Columns site, layer, neuron, n_languages, languages; those in most languages first.

    Raises:
        TableNotFound: If k is None and no experts are kept.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If there is no such concept, or there are fewer languages than m, or fewer neurons than k.

    Example:
        >>> shared_experts(store, "planted-step128", "salt", m=3, k=5).row(0)
        ('mlp_pre', 1, 38, 3, ['fr', 'en', 'es'])
    """
    store = as_atlas(store)
    given: dict[str, Any] = {"checkpoint": checkpoint, "concept": concept, "m": m, "k": k}
    chosen_checkpoints(store, [checkpoint])
    check_min_languages(store, m, "m")
    if _is_kept(store, checkpoint, k):
        return store.ask("shared_experts", **given)
    assert k is not None
    sites = shown_sites(store, checkpoint)
    best = top_experts(store, k=k, checkpoints=[checkpoint], concepts=[concept], sites=sites, keep=False)
    return asked_over("shared_experts", given, {"experts": best, "languages": store.scan("languages").collect()})


@checks_arguments(QueryError)
def steering_mask(store: Atlas | str | Path, checkpoint: str, language: str, concept: str, *, n: Positive = 500) -> pl.DataFrame:
    """The n best experts of a concept in a language as a mask for an intervention, with the values to force them to.

    Args:
        store: With table `experts` or scores, or the path of such a store.
        checkpoint: Which.
        language: Which.
        concept: Which.
        n: How many. More than are kept are ranked, which SQL cannot.

    Returns:
        Columns site, layer, neuron, median and p90 (of the texts that have the concept).

    Raises:
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If there is no such language or concept, or there are fewer neurons than n.

    Source: arXiv 2110.02802 (experts forced to their median while they have a concept).

    Example:
        >>> steering_mask(store, "planted-step64", "en", "salt", n=2).row(0)
        ('mlp_pre', 0, 36, 3.25, 4.0)
    """
    store = as_atlas(store)
    given: dict[str, Any] = {"checkpoint": checkpoint, "language": language, "concept": concept, "n": n}
    chosen_checkpoints(store, [checkpoint])
    if _is_kept(store, checkpoint, n):
        return store.ask("steering_mask", **given)
    sites = shown_sites(store, checkpoint)
    best = top_experts(store, k=n, checkpoints=[checkpoint], languages=[language], concepts=[concept], sites=sites, keep=False)
    return asked_over("steering_mask", given, {"experts": best})


@checks_arguments(QueryError)
def random_experts(
    store: Atlas | str | Path, checkpoint: str, language: str, concept: str, *, k: Positive, seed: Seed = 0
) -> pl.DataFrame:
    """A control set: k neurons at random, out of those that can be experts for a concept in a language.

    The draw goes by the numbers of neurons, mixed with a digest of seed, language and concept, so SQL makes the same one, and a
    larger k begins with a smaller.

    Args:
        store: With scores, or the path of such a store.
        checkpoint: Which.
        language: Which.
        concept: Which.
        k: How many; fewer come where fewer can be experts.
        seed: Of the draw.

    Returns:
        Columns checkpoint, language, concept, rank (in the order of the draw), site, layer, neuron, ap.

    Raises:
        TableNotFound: If nothing was scored.
        QueryError: If there is no such language or concept.

    Example:
        >>> random_experts(store, "planted-step64", "en", "salt", k=2).select("rank", "site", "layer", "neuron").rows()
        [(1, 'mlp_pre', 1, 31), (2, 'mlp_pre', 0, 4)]
    """
    return as_atlas(store).ask("random_experts", checkpoint=checkpoint, language=language, concept=concept, k=k, seed=seed)


@checks_arguments(QueryError)
def anti_experts(store: Atlas | str | Path, checkpoint: str, language: str, concept: str, *, n: Positive = 10) -> pl.DataFrame:
    """The neurons that are lowest where a concept is: those with the lowest average precision, of those below a guess.

    Args:
        store: With scores, or the path of such a store.
        checkpoint: Which.
        language: Which.
        concept: Which.
        n: How many; fewer come where fewer are below a guess.

    Returns:
        Columns checkpoint, language, concept, rank, site, layer, neuron, ap, guess (the share of positives, which is the score of
        a neuron with one value for all texts).

    Raises:
        TableNotFound: If nothing was scored.
        QueryError: If there is no such language or concept.

    Example:
        >>> anti_experts(store, "planted-step64", "en", "salt", n=1).select("site", "layer", "neuron").row(0)
        ('attn_out', 0, 22)
    """
    return as_atlas(store).ask("anti_experts", checkpoint=checkpoint, language=language, concept=concept, n=n)


@checks_arguments(QueryError)
def neuron_scores(store: Atlas | str | Path, site: str, layer: Count, neuron: Count, concept: str) -> pl.DataFrame:
    """Average precision of one neuron for one concept over all checkpoints, controls included, and languages.

    Args:
        store: With scores, or the path of such a store.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        concept: Which.

    Returns:
        Columns checkpoint, step, language, ap; null where a language has no scores for the concept.

    Raises:
        TableNotFound: If nothing was scored.
        QueryError: If there is no such neuron or concept.

    Example:
        >>> neuron_scores(store, "mlp_pre", 1, 38, "salt").filter(language="en")["ap"].round(2).to_list()
        [0.29, 0.31, 1.0]
    """
    return as_atlas(store).ask("neuron_scores", site=site, layer=layer, neuron=neuron, concept=concept)


@checks_arguments(QueryError)
def alike_neurons(
    store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, neuron: Count, *, n: Positive = 10
) -> pl.DataFrame:
    """The neurons that are experts for most of what one neuron is an expert for.

    Two neurons are compared by what table `experts` keeps of them: the smaller of their average precisions over the larger, both
    added up over all concepts and languages that either is an expert for (0 where it is none). It is 1 where they are the same
    experts, 0 where they have nothing in common. A neuron that is an expert for nothing has no neurons like it.

    Args:
        store: With table `experts`, or the path of such a store.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        n: How many; fewer come where fewer have anything in common with it.

    Returns:
        Columns rank, site, layer, neuron, similarity, n_common (pairs of a concept and a language that both are experts for),
        n_roles (that the row's neuron is an expert for), n_own (that the neuron asked about is an expert for).

    Raises:
        TableNotFound: If no experts are kept.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If there is no such neuron.

    Source: the weighted Jaccard similarity, also called Ruzicka's.

    Example:
        >>> alike_neurons(store, "planted-step64", "mlp_pre", 0, 36, n=1).select("site", "layer", "neuron", "n_common").row(0)
        ('mlp_pre', 1, 33, 1)
    """
    return as_atlas(store).ask("alike_neurons", checkpoint=checkpoint, site=site, layer=layer, neuron=neuron, n=n)


def _is_kept(store: Atlas, checkpoint: str, k: int | None) -> bool:
    """Whether table `experts` holds the k best of a checkpoint, so that a macro can be asked for them. None is any k."""
    part = _shown(store, checkpoint)
    return k is None or (part is not None and part.settings.get("k", 0) >= k)


def shown_sites(store: Atlas, checkpoint: str) -> Sequence[str] | None:
    """The sites that table `experts` ranks together at a checkpoint, which macros are about; None where nothing is kept."""
    part = _shown(store, checkpoint)
    return None if part is None else part.settings.get("sites")


def _shown(store: Atlas, checkpoint: str) -> KeptPart | None:
    parts = (part for part in kept_parts(store, "experts") if part.is_shown and part.checkpoint == checkpoint)
    return next(parts, None)
