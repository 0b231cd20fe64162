"""What all questions about probes share: which checkpoints, vectors and settings they are about, and keeping their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import chosen_checkpoints, no_token_vectors
from actlas.query.keep import Keeper
from actlas.query.probing.draws import Draw
from actlas.query.probing.labels import Labelled, labelled
from actlas.query.probing.settings import ProbeSettings, Values
from actlas.query.probing.solvers import Solver, solver_of
from actlas.query.probing.vectors import ProbeVectors, chosen_values, chosen_vectors
from actlas.query.schema import TABLES

#: Table -> its rows, of one layer.
LayerRows = Mapping[str, Iterable[tuple[Any, ...]]]


@dataclass(frozen=True, eq=False)
class Job:
    """The probes of one checkpoint and site.

    Attributes:
        vectors: What they read.
        labelled: What they read off it.
        draws: One probe each.
        solver: Trains them.
        settings: What decides their numbers.
    """

    vectors: ProbeVectors
    labelled: Labelled
    draws: Sequence[Draw]
    solver: Solver
    settings: ProbeSettings

    def key(self, layer: int, seed: int) -> tuple[str, str, int, str, int]:
        """The first columns of a row of any table of probes."""
        return (self.vectors.checkpoint, self.vectors.site, layer, self.settings.label, seed)


@dataclass(frozen=True)
class Choice:
    """What a question about probes is about, and what becomes of its answer.

    Attributes:
        checkpoints: None for all.
        settings: What decides the numbers.
        progress: Called after every layer.
        keep: As in `Keeper`.
        replace: As in `Keeper`.
    """

    checkpoints: Sequence[str] | None
    settings: ProbeSettings
    progress: StepProgress | None
    keep: bool | None
    replace: bool


def answer(
    store: Atlas | str | Path,
    choice: Choice,
    values: Values | None,
    tables: tuple[str, ...],
    of_layer: Callable[[Job, int], LayerRows],
) -> dict[str, pl.DataFrame]:
    """Tables about probes, of all checkpoints that were chosen; what is kept is found again.

    Args:
        store: With vectors.
        choice: What is asked.
        values: What a vector is; None where it is to be found out.
        tables: Computed together; the first is looked for among what is kept, and the rest with it.
        of_layer: Gives the rows of one layer.
    """
    store = as_atlas(store, "a" if choice.keep else "r")
    names = chosen_checkpoints(store, choice.checkpoints)
    settings = replace(choice.settings, values=chosen_values(store, names, choice.settings.sites, values))
    with Keeper(store, choice.keep, choice.replace) as keeper:
        kept = {name: [keeper.find(table, name, settings.to_json(), along=tables) for table in tables] for name in names}
        todo = {
            name: chosen_vectors(store, name, settings.sites, settings.values) for name, parts in kept.items() if None in parts
        }
        if not any(todo.values()) and all(None in parts for parts in kept.values()):
            raise no_token_vectors(store)
        steps = Steps(choice.progress, sum(vectors.n_layers for own in todo.values() for vectors in own))
        solver = solver_of(settings)
        frames: dict[str, list[pl.DataFrame]] = {table: [TABLES[table].empty()] for table in tables}
        for name, parts in kept.items():
            if name not in todo:
                new = {table: part.scan().collect() for table, part in zip(tables, parts, strict=True) if part is not None}
            else:
                new = _computed(store, todo[name], settings, solver, tables, of_layer, steps)
                if any(frame.height for frame in new.values()):
                    keeper.put(name, new, settings.to_json())
            for table, frame in new.items():
                frames[table].append(TABLES[table].conform(frame))
    return {table: pl.concat(parts) for table, parts in frames.items()}


def _computed(
    store: Atlas,
    chosen: Sequence[ProbeVectors],
    settings: ProbeSettings,
    solver: Solver,
    tables: tuple[str, ...],
    of_layer: Callable[[Job, int], LayerRows],
    steps: Steps,
) -> dict[str, pl.DataFrame]:
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in tables}
    for vectors in chosen:
        of = labelled(store.corpus, vectors.table, settings.label)
        draws = [Draw.of(of, seed, settings) for seed in settings.seeds]
        job = Job(vectors, of, draws, solver, settings)
        for layer in range(vectors.n_layers):
            for table, own in of_layer(job, layer).items():
                rows[table] += own
            steps.add(1, f"{vectors.checkpoint} {vectors.site} layer {layer}")
    return {table: pl.DataFrame(own, schema=dict(TABLES[table].columns), orient="row") for table, own in rows.items()}
