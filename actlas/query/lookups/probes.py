"""How well probes do: by layer and step, class by class, and beside what languages share."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas


def probe_by_checkpoint(store: Atlas | str | Path) -> pl.DataFrame:
    """Accuracy of the probes of every checkpoint: mean over layers and seeds, and its spreads.

    Args:
        store: With table `probe`, or the path of such a store.

    Returns:
        Columns checkpoint, step, site, label, accuracy, std_layers, std_seeds, n_layers.

    Raises:
        TableNotFound: If no probe was trained.

    Example:
        >>> probe_by_checkpoint(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table probe was not computed yet: actlas probe ...
    """
    return as_atlas(store).ask("probe_by_checkpoint")


def probe_intervals(store: Atlas | str | Path) -> pl.DataFrame:
    """Accuracy of the probes of every layer at every step: mean over seeds, with its 95 % interval.

    Args:
        store: With table `probe`, or the path of such a store.

    Returns:
        Columns checkpoint, step, site, layer, label, n_seeds, accuracy, low, high (null where there is one seed), chance.

    Raises:
        TableNotFound: If no probe was trained.

    Example:
        >>> probe_intervals(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table probe was not computed yet: actlas probe ...
    """
    return as_atlas(store).ask("probe_intervals")


@checks_arguments(QueryError)
def probe_onset(store: Atlas | str | Path, *, percent: Positive = 90) -> pl.DataFrame:
    """The first checkpoint at which the probes of a layer reach a share of the best accuracy that the layer ever has.

    Args:
        store: With table `probe`, or the path of such a store.
        percent: Of the best.

    Returns:
        Columns site, layer, label, checkpoint, step, accuracy, best. Controls are no step.

    Raises:
        TableNotFound: If no probe was trained.

    Example:
        >>> probe_onset(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table probe was not computed yet: actlas probe ...
    """
    return as_atlas(store).ask("probe_onset", percent=percent)


def probe_class_accuracy(store: Atlas | str | Path) -> pl.DataFrame:
    """Which share of the vectors of each label probes take for it, and what they take most of the others for.

    Args:
        store: With table `probe_classes`, or the path of such a store.

    Returns:
        Columns checkpoint, step, site, layer, label, truth, accuracy, taken_for (null where all are right), n.

    Raises:
        TableNotFound: If no probe was trained.

    Example:
        >>> probe_class_accuracy(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table probe_classes was not computed yet: actlas probe ...
    """
    return as_atlas(store).ask("probe_class_accuracy")


@checks_arguments(QueryError)
def probe_sharing(store: Atlas | str | Path, *, m: Positive = 2) -> pl.DataFrame:
    """Whether probes do worse where languages share more experts: correlations over layers, and over checkpoints.

    Args:
        store: With tables `probe` and `expert_mask`, or the path of such a store.
        m: In how many languages a shared expert is one at least.

    Returns:
        Columns over ("layers": of one checkpoint, "checkpoints": of one layer, controls left out), checkpoint, step, layer, site,
        label, n (values on either side), pearson, spearman; null where one side does not vary.

    Raises:
        TableNotFound: If one of the tables was not computed.

    Source: arXiv 2506.01629 (layers in which a language can be told worse share more).

    Example:
        >>> probe_sharing(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table probe was not computed yet: actlas probe ...
    """
    return as_atlas(store).ask("probe_sharing", m=m)
