"""Probes trained on the texts of one language and tested on those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.allowed import Names, PositiveNumber, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.probing.draws import Draw
from actlas.query.probing.probes import chosen_settings, most_frequent
from actlas.query.probing.run import Choice, Job, LayerRows, answer
from actlas.query.probing.settings import SolverName, Values


@checks_arguments(QueryError)
def probe_transfer(
    store: Atlas | str | Path,
    label: str,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    values: Values | None = None,
    seeds: Sequence[Seed] = (0, 1, 2),
    c: PositiveNumber | None = None,
    solver: SolverName = "sklearn",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Train a probe for a label on the texts of each language and tell its accuracy on held-out texts of every language.

    The split is that of `train_probes`: no text that is tested on is a translation of one that was trained on. With label
    "parallel_id", where translations are the class, all texts of a language are trained on and those of all others tested on.

    Args:
        store: As in `train_probes`.
        label: As in `train_probes`, but not "language".
        checkpoints: None for all.
        sites: None for all that have vectors of that kind.
        values: As in `train_probes`.
        seeds: One probe per language each.
        c: As in `train_probes`; has to be named for label "parallel_id", which has no texts to choose it by.
        solver: As in `train_probes`.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `probe_transfer`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `probe_transfer`: checkpoint, site, layer, label, seed, language_train, language_test, accuracy, chance
        (of the most frequent label of the texts tested on), n_train, n_test, c.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no vectors.
        QueryError: If the label is the language, or the texts of a language have fewer than two labels.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Blevins et al. 2022 (accuracy by training language, test language, layer and step).

    Example:
        >>> moved = probe_transfer(store, "concept:water", checkpoints=["planted-step128"], sites=["mlp_pre"], seeds=(0,), c=0.1)
        >>> moved.filter(layer=0, language_train="en").select("language_test", "n_test").rows()
        [('en', 10), ('es', 7), ('fr', 9)]
    """
    if label == "language":
        raise QueryError("a probe for the language cannot be trained on one language; name another label")
    if label == "parallel_id" and c is None:
        raise QueryError("a probe for the meaning has no texts of one language to choose the penalty by; name c")
    choice = Choice(checkpoints, chosen_settings(label, seeds, sites, c, solver), progress, keep, replace)
    return answer(store, choice, values, ("probe_transfer",), _of_layer)["probe_transfer"]


def _of_layer(job: Job, layer: int) -> LayerRows:
    languages = job.labelled.languages
    names = sorted(set(languages.tolist()))
    draws = [(name, _within(job, draw, name)) for draw in job.draws for name in names]
    fitted = job.solver(job.vectors.read(layer)[job.labelled.rows], [draw for _, draw in draws])
    rows = []
    for (trained, draw), one in zip(draws, fitted, strict=True):
        cells = _cells(draw, one.predicted, languages[draw.test].tolist(), names)
        rows += [
            (*job.key(layer, draw.seed), trained, tested, accuracy, chance, draw.train.size, n_test, one.c)
            for tested, accuracy, chance, n_test in cells
        ]
    return {"probe_transfer": rows}


def _within(job: Job, draw: Draw, language: str) -> Draw:
    """A draw that trains on the texts of one language."""
    is_own = job.labelled.languages == language
    if job.settings.label == "parallel_id":
        return replace(draw, train=np.flatnonzero(is_own), test=np.flatnonzero(~is_own))
    own = draw.within(is_own)
    for part in (own.train, *[own.fit] * (len(own.grid) > 1)):
        if np.unique(own.codes[part]).size < 2:
            raise QueryError(f"the training texts of {language} have fewer than two labels of {job.settings.label}")
    return own


def _cells(draw: Draw, predicted: Any, languages: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, float, float, int]]:
    """Language, accuracy, chance and number of the vectors tested on."""
    truth, of = draw.codes[draw.test], np.array(languages)
    for name in names:
        own = of == name
        if own.any():
            yield name, float((predicted[own] == truth[own]).mean()), most_frequent(truth[own]), int(own.sum())
