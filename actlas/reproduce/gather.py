"""Asks the queries of a figure of one store or of several runs, and puts their answers together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from actlas.errors import ActlasError, QueryError, StaleTable, TableNotFound
from actlas.query import (
    Atlas,
    effective_rank,
    overlap_controls,
    overlap_tests,
    shared_trajectory,
    top_experts,
    train_probes,
)
from actlas.reproduce.figures import COLUMNS, Figure
from actlas.reproduce.verdicts import Effect, Verdict, interval_over_runs, judge

_LOG = logging.getLogger(__name__)

#: What the pages call the two sides.
MODEL, CONTROL = "model", "control"
#: Tables that are answers -> the question that makes them, of a store and the number of experts.
QUESTIONS: Mapping[str, Callable[[Atlas, int], object]] = {
    "probe": lambda store, k: train_probes(store),
    "expert_mask": lambda store, k: top_experts(store, k=k),
    "overlap": lambda store, k: overlap_controls(store, k=k),
    "overlap_controls": lambda store, k: overlap_controls(store, k=k),
    "overlap_controls_by_layer": lambda store, k: overlap_controls(store, k=k, by_layer=True),
    "overlap_tests": lambda store, k: overlap_tests(store, k=k),
    "effective_rank": lambda store, k: effective_rank(store),
    "trajectory": lambda store, k: shared_trajectory(store, k=k),
}


@dataclass(frozen=True)
class Answer:
    """A figure as stores answer it.

    Attributes:
        figure: What was asked.
        sides: "model" and "control" -> rows of `COLUMNS`, over the runs of the side.
        verdicts: What became of its claims.
        missing: What is not there and what makes it; empty where the model's figure is whole.
    """

    figure: Figure
    sides: Mapping[str, pl.DataFrame]
    verdicts: tuple[Verdict, ...]
    missing: str = ""


def ask_missing(store: Atlas, figures: Sequence[Figure], k: int) -> None:
    """Ask a store, open for writing, the questions whose answers the figures read and that it does not keep of every checkpoint.

    What is kept of some checkpoints is asked of the others with the same number of experts. A question that this store cannot
    answer is passed over with a warning: its figure says so too.
    """
    for name in dict.fromkeys(name for figure in figures for name in figure.needs if name in QUESTIONS):
        kept = [checkpoint for checkpoint in store.checkpoints if store.table_file(name, checkpoint) is not None]
        if len(kept) == len(store.checkpoints):
            continue
        try:
            QUESTIONS[name](store, store.table_settings(name, kept[0]).get("k", k) if kept else k)
        except ActlasError as error:
            _LOG.warning("%s: table %s cannot be made: %s", store.path, name, error)


def gather(figure: Figure, models: Sequence[Atlas], controls: Sequence[Atlas]) -> Answer:
    """Ask one figure of the runs and of their controls.

    Args:
        figure: What to ask.
        models: A store per run.
        controls: A store per run as well, or none.
    """
    sides, missing = {}, ""
    for side, stores in ((MODEL, models), (CONTROL, controls)):
        try:
            frames = [_points(store, figure) for store in stores]
        except (TableNotFound, StaleTable, QueryError) as error:
            missing = missing or f"{side}: {error}"
            continue
        if frames and not any(frame.is_empty() for frame in frames):
            sides[side] = over_runs(frames)
        elif frames:
            missing = missing or f"{side}: no row answers to this figure"
    verdicts = []
    for claim in figure.claims:
        effects = [[_effect(store, claim.sql) for store in stores] for stores in (models, controls)]
        verdicts.append(judge(claim, effects[0], effects[1], missing))
    return Answer(figure, sides, tuple(verdicts), missing if MODEL not in sides else "")


def _points(store: Atlas, figure: Figure) -> pl.DataFrame:
    return store.sql(figure.sql).select(
        *(pl.col(name).cast(pl.String) for name in ("panel", "series")),
        pl.col("position").cast(pl.Int64),
        pl.col("step").cast(pl.String),
        *(pl.col(name).cast(pl.Float64) for name in ("value", "low", "high")),
    )


def over_runs(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Points of one store as they are; of several, means over runs with intervals over runs.

    Args:
        frames: Columns `COLUMNS`, a frame per run.

    Returns:
        `COLUMNS` and n_runs, in the order of the first frame.
    """
    if len(frames) == 1:
        return frames[0].select(*COLUMNS, pl.lit(1).alias("n_runs"))
    keys = list(COLUMNS[:4])
    rows = []
    for key, own in pl.concat(frames).group_by(keys, maintain_order=True):
        values = own["value"].drop_nulls().to_list()
        over: tuple[Any, ...] = (None, None, None)
        if values:
            interval = interval_over_runs(values)
            over = (interval.mean, interval.low, interval.high)
        rows.append((*key, *over, len(values)))
    kinds = dict(frames[0].select(COLUMNS).schema)
    return pl.DataFrame(rows, schema={**kinds, "n_runs": pl.Int64}, orient="row").with_columns(
        pl.col("low", "high").fill_nan(None)
    )


def _effect(store: Atlas, sql: str) -> Effect:
    """One number of a store; none where it has no table for it, or nothing in it."""
    try:
        rows = store.sql(sql)
    except (TableNotFound, StaleTable, QueryError):
        return Effect()
    if rows.is_empty():
        return Effect()
    row = rows.row(0, named=True)
    numbers = {name: row.get(name) for name in ("effect", "low", "high", "p_value")}
    return Effect(**{name: None if value is None or value != value else float(value) for name, value in numbers.items()})
