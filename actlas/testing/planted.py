"""Stores with planted contents, for tests and for trying things out: made in a second, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.extract.checkpoints.weights import weight_record
from actlas.names import Checkpoint, RandomTwin, Recipe, StateRules, TokenSample
from actlas.store.corpus.corpus import Corpus, corpus_from_frames
from actlas.store.layout import TextBlock
from actlas.store.notes.health import health_of
from actlas.store.states import StatePlan
from actlas.store.values import BlockValues, TokenIds
from actlas.store.write.writer import StoreWriter

#: What seeds the values of a random-weights twin in the place of a step.
_TWIN_SEED = 10_007


@dataclass(frozen=True)
class Planting:
    """What a planted store holds.

    Attributes:
        languages: In the order of the text axis.
        concepts: The last one has no positive text in the last language, so that its scores are null there.
        n_groups: Texts per language; texts of one group are translations of each other, but for the last two, which stand alone.
        sites: site -> (layers, neurons) of every cube.
        steps: Training steps, one checkpoint each.
        sharing: Per step the share of planted neurons that are the same in all languages.
        has_twin: Whether a random-weights twin follows, ``planted-random0``, in whose values nothing is planted.
        n_planted: Neurons planted per concept and language.
        strength: What a planted neuron adds where its concept is expressed; values around it have a spread of 1.
        n_silent: Concepts, the first ones, that no neuron is planted for.
        n_alike: Neurons of each site that answer to what a group of translations says, alike in all languages and whatever the
            concept.
        share_constant: Share of the neurons of each site that have the same value for every text.
        grid: Values are rounded to multiples of this, so that there are ties; 0 for none.
        token_sites: site -> (layers, channels) of sampled token vectors.
        dtype: Of the cubes.
        texts_per_block: Rows of a block of the text axis.
        states: "moments", "histogram" or both, kept of the same values in place of cubes; none keeps cubes.
        seed: Of everything random.
    """

    languages: tuple[str, ...] = ("fr", "en", "es")
    concepts: tuple[str, ...] = ("fire", "salt", "water", "yeast")
    n_groups: int = 48
    sites: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"attn_out": (2, 24), "mlp_hidden": (2, 40), "mlp_pre": (2, 40)}
    )
    steps: tuple[int, ...] = (0, 64, 128)
    sharing: tuple[float, ...] = (0.0, 0.5, 1.0)
    has_twin: bool = False
    n_planted: int = 6
    strength: float = 3.0
    n_silent: int = 0
    n_alike: int = 0
    share_constant: float = 0.0
    grid: float = 0.25
    token_sites: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"embed": (1, 6), "resid": (2, 6)})
    dtype: str = "float16"
    texts_per_block: int = 64
    states: tuple[str, ...] = ()
    seed: int = 0

    def checkpoint(self, step: int) -> str:
        """Id of the checkpoint of a step.

        Args:
            step: One of `steps`.

        Returns:
            The id under which the store lists it.

        Example:
            >>> Planting().checkpoint(64)
            'planted-step64'
        """
        return f"planted-step{step}"


def planted_corpus(planting: Planting) -> Corpus:
    """Texts in groups of translations, labelled at random; about one text in ten takes no part in a concept.

    Args:
        planting: Which languages, concepts and groups.

    Returns:
        The corpus; the same planting gives the same one.

    Example:
        >>> corpus = planted_corpus(Planting(n_groups=10))
        >>> corpus.n_texts, corpus.concepts
        (30, ('fire', 'salt', 'water', 'yeast'))
    """
    rng = np.random.default_rng(planting.seed)
    n_languages = len(planting.languages)
    is_concept = rng.random((planting.n_groups, len(planting.concepts))) < 0.25
    texts, labels = [], []
    for language_index, language in enumerate(planting.languages):
        for group in range(planting.n_groups):
            alone = group >= planting.n_groups - 2
            text_id = language_index * planting.n_groups + group
            texts.append(
                {
                    "text_id": text_id,
                    "text": f"text {group} in {language}",
                    "language": language,
                    "parallel_id": None if alone else f"group{group}",
                    "split": None,
                }
            )
            for number, concept in enumerate(planting.concepts):
                is_positive = bool(is_concept[group, number])
                if number == len(planting.concepts) - 1 and language_index == n_languages - 1:
                    is_positive = False
                if rng.random() < 0.9:
                    labels.append({"text_id": text_id, "concept": concept, "is_concept": is_positive})
    schema = {"text_id": pl.Int64, "text": pl.String, "language": pl.String, "parallel_id": pl.String, "split": pl.String}
    return corpus_from_frames(pl.DataFrame(texts, schema=schema), pl.DataFrame(labels))


def planted_store(path: Path | str, planting: Planting | None = None) -> Path:
    """Write a store whose neurons are known to detect concepts, in more and more languages at once from step to step.

    Args:
        path: Folder that does not exist yet.
        planting: What to put in; None for a small one.

    Returns:
        The path.

    Example:
        >>> actlas.open_store(planted_store(folder / "tiny.actlas")).checkpoints
        ['planted-step0', 'planted-step64', 'planted-step128']
    """
    planting = planting or Planting()
    path = Path(path)
    corpus = planted_corpus(planting)
    rng = np.random.default_rng(planting.seed + 1)
    lengths = rng.integers(5, 12, corpus.n_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = TokenIds(rng.integers(0, 100, offsets[-1]).astype(np.int32), offsets)
    sample = _sample(corpus, tokens, rng) if planting.token_sites else None
    recipe = Recipe(
        corpus=corpus.fingerprint,
        tokenizer="planted",
        sites=() if planting.states else tuple(sorted(planting.sites)),
        dtype=planting.dtype,
        tokens=TokenSample(per_text=2 if planting.token_sites else 0, sites=tuple(sorted(planting.token_sites))),
        states=StateRules(planting.states, tuple(sorted(planting.sites))) if planting.states else None,
    )
    with StoreWriter(path, recipe, corpus, tokens, sample, texts_per_block=planting.texts_per_block, sync=False) as writer:
        for step, sharing in zip(planting.steps, planting.sharing, strict=True):
            name = planting.checkpoint(step)
            _write_checkpoint(writer, planting, Checkpoint(name, "planted", step), step, sharing, tokens, sample)
        if planting.has_twin:
            twin = Checkpoint("planted-random0", "planted", twin=RandomTwin(planting.checkpoint(planting.steps[-1]), 0))
            _write_checkpoint(writer, replace(planting, strength=0.0), twin, _TWIN_SEED, 0.0, tokens, sample)
    return path


def _sample(corpus: Corpus, tokens: TokenIds, rng: np.random.Generator) -> pl.DataFrame:
    rows = []
    for row, text_id in enumerate(corpus.texts["text_id"]):
        length = int(tokens.lengths[row])
        for position in sorted(rng.choice(length, size=2, replace=False).tolist()):
            rows.append((text_id, position, int(tokens.ids[tokens.offsets[row] + position])))
    return pl.DataFrame(rows, schema={"text_id": pl.Int64, "position": pl.Int32, "token_id": pl.Int32}, orient="row")


def _write_checkpoint(
    writer: StoreWriter,
    planting: Planting,
    which: Checkpoint,
    step: int,
    sharing: float,
    tokens: TokenIds,
    sample: pl.DataFrame | None,
) -> None:
    counted = {site: shape for site, shape in planting.sites.items() if site == "mlp_hidden"}
    values = {site: planted_values(writer.corpus, planting, site, step, sharing) for site in planting.sites}
    checkpoint = writer.checkpoint(
        which,
        {"weight_hash": which.id},
        {} if planting.states else planting.sites,
        planting.token_sites,
        counted,
        _state_plan(planting, values) if planting.states else None,
    )
    vectors = (
        {} if sample is None else {site: _vectors(writer.corpus, sample, planting, site, step) for site in planting.token_sites}
    )
    while (block := checkpoint.claim_next()) is not None:
        checkpoint.write_block(block, _block_values(writer, block, values, vectors, tokens, sample, counted, step))
    checkpoint.flush()
    checkpoint.release_claims()
    checkpoint.write_weights(weight_record(name, "F32", tensor) for name, tensor in planted_weights(planting, step).items())
    checkpoint.finish()


def planted_weights(planting: Planting, step: int) -> dict[str, NDArray[np.float32]]:
    """Weights that move along a line, as far as the steps go: a matrix and a vector for each of two layers.

    Args:
        planting: Its seed and steps.
        step: How far they have moved.

    Returns:
        Name -> tensor.

    Example:
        >>> first, last = (planted_weights(Planting(), step)["h.0.up.weight"] for step in (0, 128))
        >>> first.shape, bool((first == last).any())
        ((96, 64), False)
    """
    weights = {}
    for layer in range(2):
        rng = np.random.default_rng([planting.seed, layer, 13])
        start, move = rng.standard_normal((2, 96, 64))
        weights[f"h.{layer}.up.weight"] = (start + 0.1 * step / max(1, planting.steps[-1]) * move).astype(np.float32)
        weights[f"h.{layer}.norm.weight"] = np.ones(64, np.float32)
    return weights


def _state_plan(planting: Planting, values: Mapping[str, NDArray[Any]]) -> StatePlan:
    """States whose codes divide the range of the values and more, so that values on a grid of 1/4 do not share one."""
    from actlas.extract.run.states import KernelAccumulator, ranges_of

    return StatePlan(planting.sites, KernelAccumulator(planting.states), lambda: ranges_of([values]), 1 << 30)


def planted_values(corpus: Corpus, planting: Planting, site: str, step: int, sharing: float) -> NDArray[Any]:
    """The values that a planted store holds of one site of one checkpoint.

    Args:
        corpus: What `planted_corpus` gives for the planting.
        planting: What is planted.
        site: One of its sites.
        step: One of its steps.
        sharing: Share of planted neurons that are the same in all languages at that step.

    Returns:
        Array ``"layers neurons texts"`` in the dtype of the store (bfloat16 as bits in uint16).

    Example:
        >>> planting = Planting(n_groups=10)
        >>> planted_values(planted_corpus(planting), planting, "mlp_pre", 64, 0.5).shape
        (2, 40, 30)
    """
    n_layers, n_neurons = planting.sites[site]
    rng = np.random.default_rng([planting.seed, step, sum(map(ord, site))])
    values = rng.standard_normal((n_layers * n_neurons, corpus.n_texts))
    for concept in planting.concepts[planting.n_silent :]:
        order = rng.permutation(n_layers * n_neurons)
        n_shared = round(sharing * planting.n_planted)
        for language_index, language in enumerate(planting.languages):
            own = planting.n_planted * (language_index + 1)
            neurons = np.concatenate([order[:n_shared], order[own : own + planting.n_planted - n_shared]])
            rows = corpus.language_slice(language)
            is_concept, _ = corpus.concept_matrix(language, [concept])
            values[neurons, rows] += planting.strength * is_concept[:, 0]
    if planting.n_alike:
        said = rng.standard_normal((planting.n_alike, planting.n_groups))
        group_of = corpus.texts["text_id"].to_numpy() % planting.n_groups
        values[: planting.n_alike] += planting.strength * said[:, group_of]
    if planting.share_constant:
        values[rng.permutation(n_layers * n_neurons)[: round(planting.share_constant * n_layers * n_neurons)]] = 1.0
    if planting.grid:
        values = np.round(values / planting.grid) * planting.grid
    return stored(values.reshape(n_layers, n_neurons, corpus.n_texts), planting.dtype)


def stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers as a store keeps them; bfloat16 as its bits in uint16, cut off rather than rounded.

    Args:
        values: Numbers of any float dtype.
        dtype: Dtype of the store.

    Returns:
        Array of the same shape: in `dtype`, or uint16 for bfloat16.

    Example:
        >>> stored(np.array([1.0, -2.0]), "bfloat16").tolist()
        [16256, 49152]
    """
    if dtype == "bfloat16":
        return np.asarray((values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
    return values.astype(dtype)


def _vectors(corpus: Corpus, sample: pl.DataFrame, planting: Planting, site: str, step: int) -> NDArray[Any]:
    """Token vectors ``"layers tokens channels"`` that tell languages apart, the better the higher the layer."""
    n_layers, n_channels = planting.token_sites[site]
    rng = np.random.default_rng([planting.seed, step, 7])
    language_of = sample.join(corpus.texts.select("text_id", "language"), on="text_id", how="left", maintain_order="left")[
        "language"
    ]
    language_index = language_of.replace_strict(
        planting.languages, range(len(planting.languages)), return_dtype=pl.Int64
    ).to_numpy()
    centres = rng.standard_normal((len(planting.languages), n_channels))
    noise = rng.standard_normal((n_layers, sample.height, n_channels))
    return stored(noise + np.arange(1, n_layers + 1)[:, None, None] * centres[language_index], planting.dtype)


def _block_values(
    writer: StoreWriter,
    block: TextBlock,
    values: Mapping[str, NDArray[Any]],
    vectors: Mapping[str, NDArray[Any]],
    tokens: TokenIds,
    sample: pl.DataFrame | None,
    counted: Mapping[str, tuple[int, int]],
    step: int,
) -> BlockValues:
    corpus = writer.corpus
    in_block = corpus.texts["text_id"][block.rows]
    rows = (
        np.flatnonzero(sample["text_id"].is_in(in_block.implode()).to_numpy()) if sample is not None else np.array([], dtype=int)
    )
    languages = corpus.texts["language"][block.rows]
    n_tokens = np.array(
        [tokens.lengths[block.rows][(languages == language).to_numpy()].sum() for language in corpus.languages], dtype=np.int64
    )
    counts = {}
    for site, shape in counted.items():
        # neurons lean to one language each, some to none; one is dead
        lean = np.random.default_rng([step, 11]).dirichlet(np.full(len(corpus.languages), 0.3), size=shape).transpose(2, 0, 1)
        lean[:, 0, 0] = 0
        counts[site] = np.rint(lean * n_tokens[:, None, None]).astype(np.int64)
    cubes = {site: array[:, :, block.rows] for site, array in values.items()}
    return BlockValues(
        cubes=cubes,
        tokens={site: array[:, rows] for site, array in vectors.items()},
        counts=counts,
        n_tokens=n_tokens,
        loss_sum=float(n_tokens.sum()),
        loss_tokens=int(n_tokens.sum()),
        health={site: health_of(array) for site, array in cubes.items()},
    )
