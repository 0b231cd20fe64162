"""Scores: every statistic of every neuron for every concept and language, streamed from the cube and kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError, ScoresNotFound
from actlas.kernels.stats import DEFAULT_STATS
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import BLOCK_BYTES, StepProgress, language_slices, neuron_blocks, on_host
from actlas.query.choices import chosen_checkpoints
from actlas.query.questions.state_scores import exactness_of, score_states, stats_of_states
from actlas.store import layout
from actlas.store.corpus.text_sets import has_answer
from actlas.store.cube import Cube
from actlas.store.write.score_writer import ScoreWriter


def score_neurons(
    store: Atlas | str | Path,
    *,
    checkpoints: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    stats: Sequence[str] = DEFAULT_STATS,
    threshold: float | None = None,
    backend: str = "auto",
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
    progress: StepProgress | None = None,
) -> pl.DataFrame:
    """Score every neuron of the store's cubes, or of the states kept in place of cubes, and keep the scores beside them.

    A cube is read once, in blocks of neurons; for each language one ranking of a neuron's texts serves all concepts. A layer is
    committed when it is done: stopped at any moment, the same call goes on with the layers that are missing. Cubes whose scores
    are complete and were made with the same settings are left alone.

    From states come the statistics that their sums and 8-bit codes answer; table `score_sources` says how exact each one is.

    Args:
        store: Opened with mode "a", or a path.
        checkpoints: Which; None for all.
        sites: Which; None for all that the checkpoint has.
        stats: Statistics, as `actlas.kernels.concept_scores` names them; of the default ones, states give those they can.
        threshold: A value above it is active (p_active, p_active_off). None is 0, or what states were kept with.
        backend: Of the kernels: "auto", "cpu", "gpu" or "reference". Nothing is left to choose where there are states.
        overwrite: Replace scores made with other settings instead of refusing.
        block_bytes: Values in memory at a time.
        progress: Told after every block.

    Returns:
        One row per cube: checkpoint, site, n_layers, n_neurons, n_languages, n_concepts, n_null (pairs of a language
        and a concept without positives or without negatives, whose scores are null), n_scored (layers scored now;
        the others were there).

    Raises:
        ReadOnlyStore: If the store is open with mode "r".
        RecipeMismatch: If there are scores made with other settings and `overwrite` is False.
        CheckpointNotFound, CubeNotFound: If one named is not there.
        QueryError: If states cannot answer a statistic that is not a default one, or were kept with another threshold.

    Example:
        >>> score_neurons("run.actlas", sites=["mlp_pre"], stats=("ap", "median"))  # doctest: +SKIP
    """
    store = as_atlas(store, "a")
    cubes = _wanted_cubes(store, checkpoints, sites)
    total = sum(np.prod(store.shape(*cube), dtype=int) for cube in cubes)
    n_null = int(_null_pairs(store).sum())
    rows, done = [], 0
    for checkpoint, site in cubes:
        settings = _settings(store, checkpoint, site, stats, threshold, backend)
        n_layers, n_neurons = store.shape(checkpoint, site)
        n_scored = 0
        if overwrite or not _are_there(store, checkpoint, site, settings):
            with store.score_writer(
                checkpoint,
                site,
                stats=settings["stats"],
                languages=store.corpus.languages,
                concepts=store.corpus.concepts,
                settings=settings,
                overwrite=overwrite,
            ) as writer:
                n_scored = len(writer.pending_layers())
                done += (n_layers - n_scored) * n_neurons
                tell = _counting(progress, done, total)
                if "sources" in settings:
                    assert store.recipe.states is not None  # only then are there states to have sources
                    score_states(store, store.states(checkpoint, site), writer, store.recipe.states, tell)
                else:
                    _score_cube(store, store.cube(checkpoint, site), writer, block_bytes, settings, tell)
                writer.finish()
                done += n_scored * n_neurons
        else:
            done += n_layers * n_neurons
            if progress is not None:
                progress(done, total, f"{checkpoint} {site}")
        rows.append(
            (checkpoint, site, n_layers, n_neurons, len(store.corpus.languages), len(store.corpus.concepts), n_null, n_scored)
        )
    columns = ["checkpoint", "site", "n_layers", "n_neurons", "n_languages", "n_concepts", "n_null", "n_scored"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _wanted_cubes(store: Atlas, checkpoints: Sequence[str] | None, sites: Sequence[str] | None) -> list[tuple[str, str]]:
    cubes = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        there = [*store.sites(checkpoint), *store.state_sites(checkpoint)]
        for site in there if sites is None else sites:
            store.shape(checkpoint, site)
            cubes.append((checkpoint, site))
    if not cubes:
        raise QueryError(f"{store.path} has no committed checkpoint to score; list: actlas info {store.path}")
    if not store.corpus.concepts:
        raise QueryError(f"the corpus of {store.path} has no concept to score neurons for")
    return cubes


def _settings(
    store: Atlas, checkpoint: str, site: str, stats: Sequence[str], threshold: float | None, backend: str
) -> dict[str, Any]:
    settings = {
        "threshold": threshold or 0.0,
        "stats": list(stats),
        "backend": backend,
        "corpus": store.corpus.fingerprint,
        "versions": {"actlas": VERSION, "numpy": np.__version__},
    }
    rules = store.recipe.states
    if rules is None or site not in store.state_sites(checkpoint):
        return settings
    if threshold not in (None, rules.threshold):
        raise QueryError(
            f"states of {site} count values above {rules.threshold:g} as active, and what is above {threshold:g} can not be told "
            "from them; leave the threshold out"
        )
    kept = stats_of_states(rules, stats, is_default=tuple(stats) == DEFAULT_STATS)
    exactness = exactness_of(rules, kept, store.recipe.dtype)
    return {**settings, "threshold": rules.threshold, "stats": list(kept), "backend": "states", "sources": exactness}


def _are_there(store: Atlas, checkpoint: str, site: str, settings: dict[str, Any]) -> bool:
    """Whether scores are complete and made with the same settings; another version of a package is no reason to
    compute them again."""
    try:
        there = store.scores(checkpoint, site)
    except ScoresNotFound:
        return False
    same = {**there.settings, "versions": None} == {**settings, "versions": None}
    return same and there.concepts == store.corpus.concepts and there.languages == store.corpus.languages


def _counting(progress: StepProgress | None, before: int, total: int) -> Callable[[int, str], None]:
    def tell(done: int, what: str) -> None:
        if progress is not None:
            progress(before + done, total, what)

    return tell


def _null_pairs(store: Atlas) -> NDArray[np.bool_]:
    """Pairs ``"languages concepts"`` without a positive or without a negative text."""
    return np.array([~has_answer(*store.corpus.concept_matrix(language)) for language in store.corpus.languages])


def _score_cube(
    store: Atlas,
    cube: Cube,
    writer: ScoreWriter,
    block_bytes: int,
    settings: dict[str, Any],
    tell: Callable[[int, str], None],
) -> None:
    from actlas.kernels import concept_scores, prepare_labels

    corpus = store.corpus
    labels = {}
    for language in corpus.languages:
        is_concept, is_member = corpus.concept_matrix(language)
        labels[language] = prepare_labels(is_concept, None if is_member.all() else is_member)
    rows = language_slices(store)
    _, n_neurons, _ = cube.shape
    shape = (len(corpus.languages), len(corpus.concepts), n_neurons)
    layer_scores: dict[str, NDArray[Any]] = {}
    done = 0
    for block in neuron_blocks(cube, writer.pending_layers(), block_bytes=block_bytes):
        if block.start == 0:
            layer_scores = {stat: np.full(shape, np.nan, layout.score_dtype(stat)) for stat in writer.stats}
        for at, language in enumerate(corpus.languages):
            scores = concept_scores(
                np.ascontiguousarray(block.values[:, rows[language]]),
                labels[language],
                stats=writer.stats,
                threshold=settings["threshold"],
                backend=settings["backend"],
            )
            for stat, values in scores.items():
                layer_scores[stat][at, :, block.neurons] = on_host(values).T
        done += block.values.shape[0]
        if block.neurons.stop == n_neurons:
            writer.write_layer(block.layer, layer_scores)
        tell(done, f"{cube.checkpoint} {cube.site}")
