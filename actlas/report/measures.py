"""Frames of the report: its parts asked of stores, one function for each that sentences are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from actlas.explore.view import Part
from actlas.query.atlas import Atlas
from actlas.report import parts

#: False discovery rate, and p-value, up to which something is told as a finding.
LEVEL = 0.05


@dataclass(frozen=True)
class Labelled:
    """A store and what the report calls it."""

    label: str
    store: Atlas

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints that stand on an axis: all but controls."""
        return [checkpoint for checkpoint in self.store.checkpoints if checkpoint not in self.store.controls]

    def ask(self, part: Part, **params: Any) -> pl.DataFrame:
        """The rows of a part.

        Raises:
            TableNotFound: If a table that it needs was never computed.
        """
        return self.store.sql(part.sql, part.params(params))


def gathered(part: Part, sources: Sequence[Labelled], **params: Any) -> pl.DataFrame:
    """The rows of a part in every store, the store in front; the same query for all.

    Raises:
        TableNotFound: If a table that it needs was never computed in one of them.
    """
    return pl.concat([source.ask(part, **params).select(pl.lit(source.label).alias("store"), pl.all()) for source in sources])


def overlap_over_training(source: Labelled) -> pl.DataFrame:
    """Mean overlap of each checkpoint beside what it has to be held against.

    Returns:
        position, step, then `parts.OVERLAP_COLUMNS` and twin; by position.

    Raises:
        TableNotFound: If the overlap was never computed.
    """
    return source.ask(parts.OVERLAP)


def overlap_of_twins(source: Labelled) -> pl.DataFrame:
    """The same of the controls that a store holds beside its checkpoints: random-weights twins.

    Returns:
        checkpoint, control (what it is, in words), then `parts.OVERLAP_COLUMNS`; in the order of the store.

    Raises:
        TableNotFound: If the overlap was never computed.
    """
    return source.ask(parts.TWINS)


def concept_tests(source: Labelled) -> pl.DataFrame:
    """How many concepts are shared more than labels without meaning give.

    Returns:
        position, step, n_tests (concepts that were tested), n_found (whose q-value is at most `LEVEL`); by position.

    Raises:
        TableNotFound: If the tests were never computed.
    """
    return source.ask(parts.CONCEPTS_FOUND, level=LEVEL)


def expert_ap(source: Labelled) -> pl.DataFrame:
    """Mean average precision of the experts of each checkpoint.

    Returns:
        position, step, ap; by position.

    Raises:
        TableNotFound: If the experts were never computed.
    """
    return source.ask(parts.EXPERT_AP)


def probe_accuracy(source: Labelled) -> pl.DataFrame:
    """Accuracy of the probes for every label, averaged over seeds.

    Returns:
        label, place ("embed", "resid 0", ...), place_order, position, step, accuracy, deviation (over seeds), chance, lowest_c
        and highest_c; by label, position, place.

    Raises:
        TableNotFound: If no probe was trained.
    """
    return source.ask(parts.PROBE, label=None)


def probe_penalties(source: Labelled, label: str) -> str:
    """What the probes for a label were held back by, in words.

    Raises:
        TableNotFound: If no probe was trained.
    """
    probes = source.store.scan("probe").filter(pl.col("label") == label).select("checkpoint", "c").collect()
    penalties = sorted(set(probes["c"]))
    between = f"{penalties[0]:g}" if len(penalties) == 1 else f"{penalties[0]:g} to {penalties[-1]:g}"
    if source.store.table_settings("probe", probes["checkpoint"][0]).get("c_grid"):
        return f"each with the penalty that was best on a part of its training texts (C = {between})"
    return f"with C = {between}"


def expert_places(source: Labelled) -> pl.DataFrame:
    """Where the experts sit: over all concepts and languages, the share of a checkpoint's experts in each layer of each site.

    Returns:
        site, layer, position, step, share, even (the share that this layer has of the ranked neurons); by site, position, layer.

    Raises:
        TableNotFound: If the experts were never computed.
    """
    return source.ask(parts.PLACES)
