"""Neurons of languages: masks of them, how active they are, and which of them are experts."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Count, Number, checks_arguments
from actlas.errors import QueryError
from actlas.names import Intervention
from actlas.query.atlas import Atlas, as_atlas


@checks_arguments(QueryError)
def language_mask(store: Atlas | str | Path, checkpoint: str, language: str) -> pl.DataFrame:
    """Neurons that are specific to a language by LAPE, to set to 0 or otherwise act on.

    Args:
        store: With table `lape`, or the path of such a store.
        checkpoint: Which.
        language: Which.

    Returns:
        Columns site, layer, neuron, p_active, entropy.

    Raises:
        TableNotFound: If the neurons were not selected yet.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If there is no such language.

    Example:
        >>> language_mask(store, "planted-step64", "fr")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table lape was not computed yet: actlas lape ...
    """
    return as_atlas(store).ask("language_mask", checkpoint=checkpoint, language=language)


@checks_arguments(QueryError)
def lape_overlap(store: Atlas | str | Path, checkpoint_a: str, checkpoint_b: str) -> pl.DataFrame:
    """Language-specific neurons that two checkpoints have in common, per language.

    Args:
        store: With table `lape`, or the path of such a store.
        checkpoint_a: One of the two.
        checkpoint_b: The other.

    Returns:
        Columns language, n_a, n_b, shared, jaccard; a row for every language, null where neither has any.

    Raises:
        TableNotFound: If the neurons were not selected yet.
        CheckpointNotFound: If there is no such checkpoint.

    Example:
        >>> lape_overlap(store, "planted-step64", "planted-step128")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table lape was not computed yet: actlas lape ...
    """
    return as_atlas(store).ask("lape_overlap", checkpoint_a=checkpoint_a, checkpoint_b=checkpoint_b)


@checks_arguments(QueryError)
def language_experts(store: Atlas | str | Path, checkpoint: str) -> pl.DataFrame:
    """Experts that are also language-specific by LAPE.

    Args:
        store: With tables `experts` and `lape`, or the path of such a store.
        checkpoint: Which.

    Returns:
        Columns concept, expert_in (a language), specific_to (a language), site, layer, neuron, rank, ap, entropy. Neurons of
        `mlp_pre` and `mlp_hidden` are the same.

    Raises:
        TableNotFound: If one of the tables was not computed.
        CheckpointNotFound: If there is no such checkpoint.

    Example:
        >>> language_experts(store, "planted-step64")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table lape was not computed yet: actlas lape ...
    """
    return as_atlas(store).ask("language_experts", checkpoint=checkpoint)


@checks_arguments(QueryError)
def experts_in_sets(store: Atlas | str | Path, checkpoint: str) -> pl.DataFrame:
    """Experts that are also in a published set of language-specific neurons.

    Args:
        store: With tables `experts` and `neuron_sets`, or the path of such a store.
        checkpoint: Which.

    Returns:
        Columns name (of the published sets), concept, expert_in (a language), specific_to (a language), site, layer, neuron,
        rank, ap. Neurons of `mlp_pre` and `mlp_hidden` are the same.

    Raises:
        TableNotFound: If one of the tables was not computed.
        CheckpointNotFound: If there is no such checkpoint.

    Example:
        >>> experts_in_sets(store, "planted-step64")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table neuron_sets was not computed yet: actlas neuron-sets import ...
    """
    return as_atlas(store).ask("experts_in_sets", checkpoint=checkpoint)


@checks_arguments(QueryError)
def neuron_activity(store: Atlas | str | Path, site: str, layer: Count, neuron: Count) -> pl.DataFrame:
    """In which share of the tokens of each language a neuron is active, over all checkpoints.

    Args:
        store: With table `token_activity`, or the path of such a store.
        site: Where tokens were counted.
        layer: Where the neuron is.
        neuron: Its coordinate.

    Returns:
        Columns checkpoint, step, language, p_active, entropy (of p_active over languages; null of a neuron that never is).

    Raises:
        TableNotFound: If the counts were not asked for yet.
        QueryError: If tokens were not counted there.

    Example:
        >>> neuron_activity(store, "mlp_hidden", 0, 16)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table token_activity was not computed yet: actlas lape ...
    """
    return as_atlas(store).ask("neuron_activity", site=site, layer=layer, neuron=neuron)


@checks_arguments(QueryError)
def text_activity(store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, *, threshold: Number) -> pl.DataFrame:
    """In which share of the texts of each language the value of a neuron is above a threshold, of a whole layer.

    Any threshold, because the values are there. LAPE counts tokens instead, above those thresholds that the extraction was told:
    no value of a single token is kept.

    Args:
        store: With cubes, or the path of such a store.
        checkpoint: Which.
        site: Which.
        layer: Which.
        threshold: A text counts where its value is above it.

    Returns:
        Columns neuron, language, p_active, n_texts.

    Raises:
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If it has no such site or layer.

    Example:
        >>> active = text_activity(store, "planted-step64", "mlp_pre", 0, threshold=1.5)
        >>> active.filter(neuron=4)["p_active"].round(2).to_list()
        [0.23, 0.23, 0.19]
    """
    return as_atlas(store).ask("text_activity", checkpoint=checkpoint, site=site, layer=layer, threshold=threshold)


@checks_arguments(QueryError)
def language_effects(store: Atlas | str | Path, checkpoint: str, intervention: Intervention) -> pl.DataFrame:
    """What acting on each set of neurons does to the loss on the texts of every language, beside random sets.

    Args:
        store: With table `neuron_effects`, or the path of such a store.
        checkpoint: Which.
        intervention: Which of those that were measured.

    Returns:
        Columns source, concept, set_language, language, n_neurons, n_texts, loss_base, change, low and high (its 95 % interval
        over texts), random_mean, random_sd, excess, p_more, p_less, n_random.

    Raises:
        TableNotFound: If no effect was measured.
        QueryError: If this intervention was not.

    Example:
        >>> language_effects(store, "planted-step64", "zero")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table neuron_effects was not computed yet: actlas effects ...
    """
    return as_atlas(store).ask("language_effects", checkpoint=checkpoint, intervention=intervention)


@checks_arguments(QueryError)
def set_effects(store: Atlas | str | Path, checkpoint: str) -> pl.DataFrame:
    """How necessary, selective and sufficient each set of neurons is for its own language, beyond random sets.

    Args:
        store: With table `neuron_effects`, or the path of such a store.
        checkpoint: Which.

    Returns:
        Columns source, concept, set_language, n_neurons, necessity, selectivity, sufficiency, sufficiency_only; null where that
        was not measured.

    Raises:
        TableNotFound: If no effect was measured.

    Example:
        >>> set_effects(store, "planted-step64")
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table neuron_effects was not computed yet: actlas effects ...
    """
    return as_atlas(store).ask("set_effects", checkpoint=checkpoint)
