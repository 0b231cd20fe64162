"""What languages share: experts at any k, beside what an overlap is held against."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.lookups.experts import shown_sites
from actlas.query.questions.overlap import expert_overlap


@checks_arguments(QueryError)
def overlap_at(store: Atlas | str | Path, checkpoint: str, concept: str, *, k: Positive) -> pl.DataFrame:
    """How many of the k best experts every two languages share, at any k.

    Args:
        store: With scores, or the path of such a store.
        checkpoint: Which.
        concept: Which.
        k: Experts per language. More than table `experts` holds are ranked, which SQL cannot.

    Returns:
        Columns checkpoint, concept, language_a, language_b, k, shared, overlap, jaccard, chance, n_rankable, as in
        `expert_overlap`; a row for every pair, with nulls where a language has no experts.

    Raises:
        ScoresNotFound: If the checkpoint was not scored.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If k is more than there are neurons, or there is no such concept.

    Example:
        >>> overlap_at(store, "planted-step128", "salt", k=4).select("language_a", "language_b", "shared").rows()
        [('en', 'es', 2), ('en', 'fr', 3), ('es', 'fr', 1)]
    """
    store = as_atlas(store)
    sites = shown_sites(store, checkpoint)
    pairs = expert_overlap(store, k=k, checkpoints=[checkpoint], concepts=[concept], sites=sites, halves=False, keep=False)
    return pairs.drop("ceiling", "cross_half", "n_neurons").sort("language_a", "language_b")


@checks_arguments(QueryError)
def overlap_evidence(store: Atlas | str | Path, checkpoint: str) -> pl.DataFrame:
    """Overlap of every concept and pair of languages in one row with everything that it is held against.

    Args:
        store: With tables `overlap` and `overlap_tests` of one k, or the path of such a store.
        checkpoint: Which.

    Returns:
        Columns checkpoint, concept, language_a, language_b, k, shared, overlap, jaccard, chance, ceiling, cross_half; then, null
        where pairs were not tested at this k: null and null_sd (mean and standard deviation over labels without meaning),
        null_low and null_high (in which 95 % of these lie if they are normal), excess, p_value, q_value, n_repeats.

    Raises:
        TableNotFound: If one of the tables was not computed.
        CheckpointNotFound: If there is no such checkpoint.

    Example:
        >>> overlap_evidence(store, "planted-step64")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table overlap_tests was not computed yet: actlas overlap ...
    """
    return as_atlas(store).ask("overlap_evidence", checkpoint=checkpoint)


@checks_arguments(QueryError)
def shared_by_layer(store: Atlas | str | Path, checkpoint: str, *, m: Positive = 2) -> pl.DataFrame:
    """Which share of the experts of each layer several languages share, beside chance.

    What is counted are pairs of a neuron and a concept that it is an expert for in any language.

    Args:
        store: With tables `expert_mask`, `layer_histogram` and `rankable`, or the path of such a store.
        checkpoint: Which.
        m: In how many languages at least.

    Returns:
        Columns layer, n_neuron_concepts, n_shared, share, and chance: the share if each language drew as many experts of each
        layer at random, of the neurons that can be experts.

    Raises:
        TableNotFound: If experts are not kept.
        QueryError: If there are fewer languages than m.

    Example:
        >>> shared_by_layer(store, "planted-step128")["n_shared"].to_list()
        [9, 16]
    """
    return as_atlas(store).ask("shared_by_layer", checkpoint=checkpoint, m=m)


@checks_arguments(QueryError)
def first_shared_by_concept(store: Atlas | str | Path, *, m: Positive = 2) -> pl.DataFrame:
    """The first checkpoint at which each neuron is an expert in several languages at once, of all concepts.

    `first_shared` says the same of a trajectory, for any k, concepts and sites.

    Args:
        store: With table `expert_mask`, or the path of such a store.
        m: In how many languages at least.

    Returns:
        Columns concept, site, layer, neuron, checkpoint, step, n_languages; neurons that never get there are left out, and
        controls are no step.

    Raises:
        TableNotFound: If experts are not kept.
        QueryError: If there are fewer languages than m.

    Example:
        >>> first_shared_by_concept(store, m=3)["step"].unique().to_list()
        [128]
    """
    return as_atlas(store).ask("first_shared_by_concept", m=m)
