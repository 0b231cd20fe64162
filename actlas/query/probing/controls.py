"""What a probe learns by heart: its accuracy beside that on labels that only the tokens say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from actlas.allowed import Names, PositiveNumber, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.probing.labels import control_codes
from actlas.query.probing.probes import chosen_settings
from actlas.query.probing.run import Choice, Job, LayerRows, answer
from actlas.query.probing.settings import SolverName


@checks_arguments(QueryError)
def probe_controls(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    label: str = "language",
    seeds: Sequence[Seed] = (0, 1, 2),
    c: PositiveNumber | None = None,
    solver: SolverName = "sklearn",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """How selective the probes of `train_probes` are: their accuracy less that of probes for a control label.

    The control label is drawn once for every kind of token (its token_id) from the labels that there are, so vectors say it only
    as far as they say which token they belong to. Its probe has the split and the penalty of the real one.

    Args:
        store: With sampled token vectors.
        checkpoints: None for all.
        sites: None for all that have vectors.
        label: As in `train_probes`.
        seeds: One pair of probes each; each draws its own control label.
        c: As in `train_probes`.
        solver: As in `train_probes`.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `probe_controls`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `probe_controls`: checkpoint, site, layer, label, seed, accuracy, control (the accuracy of the control
        label's probe), selectivity (their difference), c.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no vectors of tokens.
        QueryError: If there are no vectors, or fewer than two labels.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Hewitt & Liang 2019.

    Example:
        >>> controls = probe_controls(store, checkpoints=["planted-step128"], sites=["resid"], seeds=(0,))
        >>> controls.select("layer", pl.col("selectivity") > 0.2).rows()
        [(0, True), (1, True)]
    """
    choice = Choice(checkpoints, chosen_settings(label, seeds, sites, c, solver), progress, keep, replace)
    return answer(store, choice, "tokens", ("probe_controls",), _of_layer)["probe_controls"]


def _of_layer(job: Job, layer: int) -> LayerRows:
    vectors = job.vectors.read(layer)[job.labelled.rows]
    real = job.solver(vectors, job.draws)
    draws = [
        replace(draw, codes=control_codes(job.vectors.table, job.labelled, draw.seed), grid=(one.c,))
        for draw, one in zip(job.draws, real, strict=True)
    ]
    rows = []
    for draw, control, one, guess in zip(job.draws, draws, real, job.solver(vectors, draws), strict=True):
        accuracy = float((one.predicted == draw.codes[draw.test]).mean())
        by_heart = float((guess.predicted == control.codes[draw.test]).mean())
        rows.append((*job.key(layer, draw.seed), accuracy, by_heart, accuracy - by_heart, one.c))
    return {"probe_controls": rows}
