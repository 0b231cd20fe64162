"""Mean values of the texts of every language and concept, and how far apart these are between languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress, Steps, finite, language_slices, neuron_blocks
from actlas.query.choices import chosen_labels
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import measured_cubes
from actlas.query.measures.registry import Classes
from actlas.query.schema import TABLES
from actlas.store.cube import Cube
from actlas.store.store import Store


@checks_arguments(QueryError)
def class_means(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    of: Classes = "languages",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The mean value of every neuron over the texts of a class: a language, a concept, or a concept in a language.

    Concepts have two classes, the texts that express them and those that do not; the difference of their means is the direction
    of the concept. The mean of a concept over all languages weighs every text alike.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: None for all with values.
        languages: None for all.
        concepts: None for all; of "languages" they say nothing.
        of: What the classes are: "languages", "concepts" over all the languages, or "both", concepts of each language.
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `class_means`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, step, site, layer, language (null: all that were chosen), concept and is_concept (null: all texts of the
        language), n_texts, variance (mean squared distance of a text from the mean of its class; null of one text) and means, a
        list with a number per neuron of the layer. A class without texts has no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Libovický et al. 2020, On the Language Neutrality of Pre-trained Multilingual Representations (means of languages);
    Rimsky et al. 2024, Steering Llama 2 via Contrastive Activation Addition (difference of the means of a concept).

    Example:
        >>> means = class_means(store, checkpoints=["planted-step64"], sites=["mlp_pre"])
        >>> means.select("layer", "language", "n_texts", pl.col("means").list.first().cast(float).round(2)).row(0)
        (0, 'fr', 48, 0.1)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame | None:
        cubes = [cube for own in measured_cubes(store, names, sites) for cube in own]
        classes = _classes(store, languages, () if of == "languages" else concepts, of)
        steps = Steps(progress, sum(cube.shape[0] * cube.shape[1] for cube in cubes))
        rows = [row for cube in cubes for row in _class_rows(store, cube, classes, steps)]
        return pl.DataFrame(rows, schema=dict(TABLES["class_means"].columns)) if cubes else None

    return asked.answer("class_means", {"languages": languages, "concepts": concepts, "of": of}, take)


@checks_arguments(QueryError)
def class_distances(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """How alike languages are in their means, and in the direction that a concept has in each, layer by layer.

    The vector of a language is the mean of its texts; that of a concept in a language is the mean of the texts that express it
    less the mean of those that do not. Of every two languages: the cosine of the vectors, and their distance. Means of few texts
    are apart by chance: `expected` is the root of the squared distance that the same would have if the languages did not differ,
    the sum over classes of their variance over their number of texts.

    Args:
        store: With pooled values of two languages or more, or the path of such a store.
        checkpoints: None for all.
        sites: None for all with values.
        languages: None for all.
        concepts: None for all.
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `class_distances`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, step, site, layer, concept (null: means of languages), language_a, language_b, n_a, n_b (texts), cosine,
        centred (of means of languages: the cosine of what is left of them without the mean over languages, by chance
        -1 / (languages - 1); null for concepts and of two languages), others (of concepts: the mean cosine of a direction with
        those that other concepts have in the other language; null for languages and of one concept), distance, expected. Concepts
        without texts of both kinds in both languages have no row; a cosine with a vector of zeros is null.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, there is one language alone, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Libovický et al. 2020 (means of languages, centred); Rimsky et al. 2024 (directions of concepts).

    Example:
        >>> told = class_distances(store, checkpoints=["planted-step128"], sites=["mlp_pre"], concepts=["water"])
        >>> told.filter(concept="water").select("layer", "language_a", "language_b", pl.col("cosine").round(2)).row(0)
        (0, 'fr', 'en', 0.84)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    names, _ = chosen_labels(asked.atlas, languages, None)
    if len(names) < 2:
        raise QueryError(f"languages are compared, and there is {', '.join(names)} alone; name two or more")

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame | None:
        cubes = [cube for own in measured_cubes(store, names, sites) for cube in own]
        steps = Steps(progress, sum(cube.shape[0] * cube.shape[1] for cube in cubes))
        classes = _classes(store, languages, (), "languages") + _classes(store, languages, concepts, "both")
        rows = []
        for cube in cubes:
            about = {"checkpoint": cube.checkpoint, "step": store.checkpoint(cube.checkpoint)["step"], "site": cube.site}
            for layer, means, variances in layer_means(cube, classes, steps):
                rows += [{**about, "layer": layer, **row} for row in _distances(_directions(classes, means, variances))]
        return pl.DataFrame(rows, schema=dict(TABLES["class_distances"].columns)) if cubes else None

    return asked.answer("class_distances", {"languages": languages, "concepts": concepts}, take)


@dataclass(frozen=True)
class TextClass:
    """Texts whose mean is told.

    Attributes:
        language: Of all of them; None for several.
        concept: What they were labelled for; None for all texts of a language.
        is_concept: Whether they express it.
        rows: Which texts of the axis.
    """

    language: str | None
    concept: str | None
    is_concept: bool | None
    rows: NDArray[np.int64]


def _classes(store: Store, languages: Sequence[str] | None, concepts: Sequence[str] | None, of: Classes) -> list[TextClass]:
    """Classes that have texts."""
    names, own_concepts = chosen_labels(store, languages, concepts)
    slices = language_slices(store)
    rows = {name: np.arange(slices[name].start, slices[name].stop) for name in names}
    if of == "languages":
        return [TextClass(name, None, None, own) for name, own in rows.items() if own.size]
    found: dict[tuple[str | None, str, bool], list[NDArray[np.int64]]] = {}
    for name, own in rows.items():
        is_concept, is_member = store.corpus.concept_matrix(name, own_concepts)
        for column, concept in enumerate(own_concepts):
            for side in (True, False):
                chosen = own[is_member[:, column] & (is_concept[:, column] == side)]
                found.setdefault((name if of == "both" else None, concept, side), []).append(chosen)
    classes = [TextClass(*key, np.concatenate(parts)) for key, parts in found.items()]
    return [one for one in classes if one.rows.size]


def layer_means(
    cube: Cube, classes: Sequence[TextClass], steps: Steps
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """Means of every class, ``"classes neurons"``, and mean squared distances from them, layer by layer.

    Args:
        cube: What to read, block by block.
        classes: Which texts.
        steps: Counts neurons.
    """
    _, n_neurons, n_texts = cube.shape
    sizes = np.array([one.rows.size for one in classes])
    weights = np.zeros((n_texts, len(classes)), np.float32)
    for column, one in enumerate(classes):
        weights[one.rows, column] = 1
    means, squares = np.zeros((len(classes), n_neurons)), np.zeros(len(classes))
    for block in neuron_blocks(cube):
        values = finite(block.values, cube, block.layer).astype(np.float32)
        # from the middle of each neuron, so that squares do not drown what they differ by
        middle = values.mean(axis=1, dtype=np.float64).astype(np.float32)
        values -= middle[:, None]
        own = (values @ weights).T.astype(np.float64) / sizes[:, None]
        squares += np.square(values, out=values).sum(axis=0, dtype=np.float64) @ weights / sizes - np.square(own).sum(axis=1)
        means[:, block.neurons] = own + middle
        steps.add(len(values), f"{cube.checkpoint} {cube.site}")
        if block.neurons.stop == n_neurons:
            yield block.layer, means, np.maximum(squares, 0)
            means, squares = np.zeros((len(classes), n_neurons)), np.zeros(len(classes))


def _class_rows(store: Store, cube: Cube, classes: Sequence[TextClass], steps: Steps) -> Iterator[dict[str, Any]]:
    """Rows of table `class_means` of one cube."""
    about = {"checkpoint": cube.checkpoint, "step": store.checkpoint(cube.checkpoint)["step"], "site": cube.site}
    for layer, means, variances in layer_means(cube, classes, steps):
        for one, mean, variance in zip(classes, means.astype(np.float32), variances, strict=True):
            which = {"language": one.language, "concept": one.concept, "is_concept": one.is_concept}
            told = {
                "n_texts": one.rows.size,
                "variance": float(variance) if one.rows.size > 1 else None,
                "means": pl.Series(mean),
            }
            yield {**about, "layer": layer, **which, **told}


@dataclass(frozen=True)
class Direction:
    """The vector of a language, or of a concept in it.

    Attributes:
        vector: A number per neuron.
        noise: Expected squared distance from what it estimates; NaN where a class has one text alone.
        n_texts: That it comes from.
    """

    vector: NDArray[np.float64]
    noise: float
    n_texts: int

    @property
    def unit(self) -> NDArray[np.float64]:
        """Its direction, of length 1; zeros for zeros."""
        length = np.linalg.norm(self.vector)
        return self.vector / length if length > 0 else self.vector

    def __sub__(self, other: Direction) -> Direction:
        return Direction(self.vector - other.vector, self.noise + other.noise, self.n_texts + other.n_texts)


def _directions(
    classes: Sequence[TextClass], means: NDArray[np.float64], variances: NDArray[np.float64]
) -> dict[str | None, dict[str, Direction]]:
    """By concept, None for the means of languages, and language."""
    own = {
        (one.concept, one.language, one.is_concept): Direction(
            mean, float(variance) / (one.rows.size - 1) if one.rows.size > 1 else np.nan, one.rows.size
        )
        for one, mean, variance in zip(classes, means, variances, strict=True)
    }
    found: dict[str | None, dict[str, Direction]] = {}
    for (concept, language, is_concept), direction in own.items():
        assert language is not None, "classes of each language"
        if concept is None:
            found.setdefault(None, {})[language] = direction
        elif is_concept and (concept, language, False) in own:
            found.setdefault(concept, {})[language] = direction - own[concept, language, False]
    return found


def _distances(directions: Mapping[str | None, Mapping[str, Direction]]) -> Iterator[dict[str, Any]]:
    """Rows of table `class_distances` of one layer."""
    units = {concept: {name: one.unit for name, one in own.items()} for concept, own in directions.items()}
    middle = np.mean([one.vector for one in directions[None].values()], axis=0)
    centred = {name: Direction(one.vector - middle, 0, 0).unit for name, one in directions[None].items()}
    for concept, own in directions.items():
        others = [units[other] for other in directions if other not in (None, concept)]
        for a, b in combinations(own, 2):
            first, second, between = units[concept][a], units[concept][b], own[a] - own[b]
            told = {"cosine": _cosine(first, second), "distance": float(np.linalg.norm(between.vector))}
            told["expected"] = float(np.sqrt(between.noise)) if np.isfinite(between.noise) else None
            if concept is not None:
                apart = [(first, other[b]) for other in others if b in other] + [
                    (other[a], second) for other in others if a in other
                ]
                cosines = [cosine for pair in apart if (cosine := _cosine(*pair)) is not None]
                told["others"] = float(np.mean(cosines)) if cosines else None
            elif len(own) > 2:
                told["centred"] = _cosine(centred[a], centred[b])
            yield {"concept": concept, "language_a": a, "language_b": b, "n_a": own[a].n_texts, "n_b": own[b].n_texts, **told}


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Of two vectors of length 1, or of zeros."""
    return float(a @ b) if a.any() and b.any() else None
