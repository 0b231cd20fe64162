"""Scores: every statistic of every neuron for every concept and language, streamed from the cube and kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Bytes, Names, Number, checks_arguments
from actlas.errors import QueryError
from actlas.kernels.stats import DEFAULT_STATS, checked_stats
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import BLOCK_BYTES, StepProgress, Steps, language_slices, neuron_blocks, on_host, refuse_imported
from actlas.query.choices import chosen_checkpoints
from actlas.query.questions.state_scores import exactness_of, score_states, stats_of_states
from actlas.store import layout
from actlas.store.corpus.text_sets import has_answer
from actlas.store.cube import Cube
from actlas.store.store import Store
from actlas.store.write.score_writer import ScoreWriter


@checks_arguments(QueryError)
def score_neurons(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Sequence[str] | None = None,
    stats: Sequence[str] = DEFAULT_STATS,
    threshold: Number | None = None,
    backend: str = "auto",
    overwrite: bool = False,
    block_bytes: Bytes = BLOCK_BYTES,
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
        progress: Called after every block.

    Returns:
        One row per cube: checkpoint, site, n_layers, n_neurons, n_languages, n_concepts, n_null (pairs of a language
        and a concept without positives or without negatives, whose scores are null), n_scored (layers scored by this call;
        the others were complete).

    Raises:
        ReadOnlyStore: If the store is open with mode "r".
        RecipeMismatch: If there are scores made with other settings and `overwrite` is False.
        CheckpointNotFound, CubeNotFound: If one named is not there.
        KernelInputError: If a statistic is not known.
        QueryError: If states cannot answer a statistic that is not a default one, or were kept with another threshold.

    Source: Suau et al. 2022, section 4.1, for average precision; docs/kernels.md defines every statistic.

    Example:
        >>> from actlas.testing import planted_store
        >>> path = planted_store(folder / "own.actlas")
        >>> scored = score_neurons(path, checkpoints=["planted-step64"], stats=("ap", "median"))
        >>> scored.select("site", "n_layers", "n_neurons", "n_null").rows()
        [('attn_out', 2, 24, 1), ('mlp_hidden', 2, 40, 1), ('mlp_pre', 2, 40, 1)]
    """
    checked_stats(stats)
    store = as_atlas(store, "a")
    cubes = _chosen_cubes(store, checkpoints, sites)
    steps = Steps(progress, sum(int(np.prod(store.shape(*cube))) for cube in cubes))
    n_null = int(_null_pairs(store).sum())
    rows = []
    for checkpoint, site in cubes:
        settings = _settings(store, checkpoint, site, stats, threshold, backend)
        n_layers, n_neurons = store.shape(checkpoint, site)
        n_scored = 0
        if overwrite or not _are_complete(store, checkpoint, site, settings):
            n_scored = _score_site(store, checkpoint, site, settings, steps, overwrite=overwrite, block_bytes=block_bytes)
        steps.add((n_layers - n_scored) * n_neurons, f"{checkpoint} {site}")
        n_labels = (len(store.corpus.languages), len(store.corpus.concepts), n_null)
        rows.append((checkpoint, site, n_layers, n_neurons, *n_labels, n_scored))
    columns = ["checkpoint", "site", "n_layers", "n_neurons", "n_languages", "n_concepts", "n_null", "n_scored"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _chosen_cubes(store: Store, checkpoints: Sequence[str] | None, sites: Sequence[str] | None) -> list[tuple[str, str]]:
    refuse_imported(store)
    cubes = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        existing = [*store.sites(checkpoint), *store.state_sites(checkpoint)]
        for site in existing if sites is None else sites:
            store.shape(checkpoint, site)
            cubes.append((checkpoint, site))
    if not cubes:
        raise QueryError(f"{store.path} has no committed checkpoint to score; list: actlas info {store.path}")
    if not store.corpus.concepts:
        raise QueryError(f"the corpus of {store.path} has no concept to score neurons for")
    return cubes


def _score_site(
    store: Store,
    checkpoint: str,
    site: str,
    settings: dict[str, Any],
    steps: Steps,
    *,
    overwrite: bool,
    block_bytes: int,
) -> int:
    """Score the layers of a site that are not scored yet; how many that were."""
    labels = {"languages": store.corpus.languages, "concepts": store.corpus.concepts}
    with store.score_writer(
        checkpoint, site, stats=settings["stats"], **labels, settings=settings, overwrite=overwrite
    ) as writer:
        n_scored = len(writer.pending_layers())
        if "sources" in settings:
            assert store.recipe.states is not None  # only then are there states to have sources
            score_states(store, store.states(checkpoint, site), writer, store.recipe.states, steps.add)
        else:
            _score_cube(store, store.cube(checkpoint, site), writer, block_bytes, settings, steps.add)
        writer.finish()
    return n_scored


def _settings(
    store: Store, checkpoint: str, site: str, stats: Sequence[str], threshold: float | None, backend: str
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
    answered = stats_of_states(rules, stats, is_default=tuple(stats) == DEFAULT_STATS)
    exactness = exactness_of(rules, answered, store.snapshot().checkpoints[checkpoint].dtype_of(site, store.recipe))
    return {**settings, "threshold": rules.threshold, "stats": list(answered), "backend": "states", "sources": exactness}


def _are_complete(store: Store, checkpoint: str, site: str, settings: dict[str, Any]) -> bool:
    """Whether scores are complete and made with the same settings; another version of a package is no reason to
    compute them again."""
    record = store.score_record(checkpoint, site)
    if record is None:
        return False
    same = {**record.settings, "versions": None} == {**settings, "versions": None}
    return same and record.concepts == store.corpus.concepts and record.languages == store.corpus.languages


def _null_pairs(store: Store) -> NDArray[np.bool_]:
    """Pairs ``"languages concepts"`` without a positive or without a negative text."""
    return np.array([~has_answer(*store.corpus.concept_matrix(language)) for language in store.corpus.languages])


def _score_cube(
    store: Store,
    cube: Cube,
    writer: ScoreWriter,
    block_bytes: int,
    settings: dict[str, Any],
    finish: Callable[[int, str], None],
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
    for block in neuron_blocks(cube, writer.pending_layers(), block_bytes=block_bytes):
        if block.start == 0:
            layer_scores = {stat: np.full(shape, np.nan, layout.score_dtype(stat)) for stat in writer.stats}
        for row, language in enumerate(corpus.languages):
            scores = concept_scores(
                np.ascontiguousarray(block.values[:, rows[language]]),
                labels[language],
                stats=writer.stats,
                threshold=settings["threshold"],
                backend=settings["backend"],
            )
            for stat, values in scores.items():
                layer_scores[stat][row, :, block.neurons] = on_host(values).T
        if block.neurons.stop == n_neurons:
            writer.write_layer(block.layer, layer_scores)
        finish(block.values.shape[0], f"{cube.checkpoint} {cube.site}")
