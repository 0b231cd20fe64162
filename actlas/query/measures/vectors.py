"""One vector per text, and which texts are translations of each other: what measures of languages compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress, Steps, finite
from actlas.query.choices import chosen_labels, no_token_vectors
from actlas.query.measures.asked import Asked
from actlas.query.measures.registry import Weighting
from actlas.query.probing.settings import Values
from actlas.query.probing.vectors import ProbeVectors, chosen_values, chosen_vectors
from actlas.query.schema import TABLES
from actlas.store.store import Store

#: Fewest texts that languages are compared on.
FEWEST = 4


@dataclass(frozen=True)
class TextVectors:
    """One vector for each text of one checkpoint and site.

    Attributes:
        of: Vectors of tokens, or pooled values of texts.
        tokens: Which of the vectors are read, text by text; None for all, which are texts already.
        starts: Where the tokens of each text begin among these.
        weights: Of each token in the mean of its text.
        text_rows: The row of the text axis of every vector.
    """

    of: ProbeVectors
    tokens: NDArray[np.int64] | None
    starts: NDArray[np.int64]
    weights: NDArray[np.float32]
    text_rows: NDArray[np.int64]

    def read(self, layer: int) -> NDArray[np.float32]:
        """Those of one layer, ``"texts channels"``."""
        vectors = finite(self.of.read(layer), self.of.cube, layer)
        if self.tokens is None:
            return vectors
        weighted = vectors[self.tokens] * self.weights[:, None]
        means: NDArray[np.float32] = np.add.reduceat(weighted, self.starts, axis=0)
        return means


def text_vectors(
    store: Store, checkpoint: str, sites: Sequence[str] | None, values: Values | None, weighting: Weighting
) -> list[TextVectors]:
    """Vectors of the texts at some sites of a checkpoint.

    Args:
        store: With token vectors or cubes.
        checkpoint: One of it.
        sites: None for all that have what `values` says.
        values: "tokens" or "pooled". None: tokens, if all the sites have vectors of them.
        weighting: Of the tokens of a text.

    Raises:
        CubeNotFound: If a site has none.
        QueryError: If last tokens are asked for and those of no text are kept.
    """
    kind = chosen_values(store, [checkpoint], sites, values)
    found = chosen_vectors(store, checkpoint, sites, kind)
    if not found and kind == "tokens" and values is None:
        found = chosen_vectors(store, checkpoint, sites, "pooled")
        kind = "pooled"
    if not found:
        raise no_token_vectors(store)
    if kind == "pooled":
        every = np.arange(store.corpus.n_texts)
        return [TextVectors(of, None, every, np.ones(0, np.float32), every) for of in found]
    return [_averaged(store, of, weighting) for of in found]


def _averaged(store: Store, of: ProbeVectors, weighting: Weighting) -> TextVectors:
    """How the vectors of tokens become those of texts."""
    table = of.table.with_row_index("vector")
    if weighting == "last":
        lengths = store.corpus.texts.select("text_id", pl.col("n_tokens").alias("length"))
        table = table.join(lengths, on="text_id", how="left", maintain_order="left")
        table = table.filter(pl.col("position") == pl.col("length") - 1)
        if table.is_empty():
            raise QueryError(
                f"{of.site} of {of.checkpoint} has the last token of no text; weigh by position or mean, or extract last tokens"
            )
    places = np.searchsorted(store.corpus.texts["text_id"].to_numpy(), table["text_id"].to_numpy())
    order = np.argsort(places, kind="stable")
    text_rows, starts, sizes = np.unique(places[order], return_index=True, return_counts=True)
    weights = (table["position"].to_numpy()[order] + 1.0) if weighting == "position" else np.ones(order.size)
    weights = weights / np.repeat(np.add.reduceat(weights, starts), sizes)
    return TextVectors(of, table["vector"].to_numpy()[order].astype(np.int64), starts, weights.astype(np.float32), text_rows)


@dataclass(frozen=True)
class Translations:
    """Texts of two languages that say the same, in one order.

    Attributes:
        language_a: One language.
        language_b: The other.
        rows_a: Places of its texts among the vectors.
        rows_b: Likewise.
    """

    language_a: str
    language_b: str
    rows_a: NDArray[np.int64]
    rows_b: NDArray[np.int64]


def translations(
    store: Store, text_rows: NDArray[np.int64], languages: Sequence[str] | None, pivot: str | None = None
) -> list[Translations]:
    """Every pair of languages with the texts that both have.

    Args:
        store: Whose corpus has parallel_ids.
        text_rows: The row of the text axis of every vector; a text without one takes no part.
        languages: None for all.
        pivot: Only pairs with this language; None for all pairs.

    Raises:
        QueryError: If there are fewer than two languages, or fewer than four translations of any two.
    """
    names, _ = chosen_labels(store, languages, None)
    if pivot is not None and pivot not in names:
        raise QueryError(f"the pivot {pivot} is none of the languages that are compared: {', '.join(names)}")
    if len(names) < 2:
        raise QueryError(f"languages are compared, and there is {', '.join(names)} alone; name two or more")
    texts = store.corpus.texts[text_rows].select("language", "parallel_id").with_row_index("place")
    # of several texts of one language with one meaning, the first
    texts = texts.filter(pl.col("parallel_id").is_not_null()).unique(("language", "parallel_id"), keep="first")
    of = {name: texts.filter(language=name).select("parallel_id", "place") for name in names}
    pairs = []
    for a, b in combinations(names, 2):
        if pivot is None or pivot in (a, b):
            both = of[a].join(of[b], on="parallel_id", suffix="_b").sort("place")
            if both.height < FEWEST:
                raise QueryError(
                    f"{a} and {b} share {both.height} meanings with vectors, and {FEWEST} or more are compared: texts that "
                    "translate each other have one parallel_id (actlas corpus), or leave one of the two languages out"
                )
            rows = both.select(pl.col("place", "place_b").cast(pl.Int64))
            pairs.append(Translations(a, b, rows["place"].to_numpy(), rows["place_b"].to_numpy()))
    return pairs


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Vectors of length 1; one of zeros stays one.

    Example:
        >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    numbers = vectors.astype(np.float64)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    return np.asarray(np.divide(numbers, lengths, out=np.zeros_like(numbers), where=lengths > 0))


@dataclass(frozen=True)
class Compared:
    """What languages are compared on: the arguments of measures of the same names."""

    languages: Sequence[str] | None
    pivot: str | None
    values: Values | None
    weighting: Weighting


#: What is told of the vectors of texts in two languages, in one order: a number for each column.
Tell = Callable[[NDArray[Any], NDArray[Any]], Mapping[str, float | None]]


def pairs_answer(
    name: str,
    asked: Asked,
    chosen: Compared,
    tell: Tell,
    *,
    prepare: Callable[[NDArray[np.float32]], NDArray[Any]] = lambda vectors: vectors,
    over_layers: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
    **more: Any,
) -> pl.DataFrame:
    """The answer of a measure of translations, layer by layer, for every pair of languages.

    Args:
        name: Of its table.
        asked: Where, and whether it is kept.
        chosen: Which texts, as what vectors.
        tell: Given the vectors in two languages.
        prepare: What it is given in place of the vectors of a layer, ``"texts channels"``, made once for all pairs.
        over_layers: What is added to the rows of a checkpoint.
        **more: Options that only this measure has.
    """

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame:
        rows = [row for checkpoint in names for row in _by_pair(store, checkpoint, asked.sites, chosen, prepare, tell, progress)]
        return over_layers(pl.DataFrame(rows, schema=dict(TABLES[name].columns)))

    return asked.answer(name, {**asdict(chosen), **more}, take)


def _by_pair(
    store: Store,
    checkpoint: str,
    sites: Sequence[str] | None,
    chosen: Compared,
    prepare: Callable[[NDArray[np.float32]], NDArray[Any]],
    tell: Tell,
    progress: StepProgress | None,
) -> Iterator[dict[str, Any]]:
    found = text_vectors(store, checkpoint, sites, chosen.values, chosen.weighting)
    steps = Steps(progress, sum(own.of.n_layers for own in found))
    step = store.checkpoint(checkpoint)["step"]
    for own in found:
        about = {"checkpoint": checkpoint, "step": step, "site": own.of.site}
        pairs = translations(store, own.text_rows, chosen.languages, chosen.pivot)
        for layer in range(own.of.n_layers):
            vectors = prepare(own.read(layer))
            for pair in pairs:
                which = {"language_a": pair.language_a, "language_b": pair.language_b, "n_texts": pair.rows_a.size}
                yield {**about, "layer": layer, **which, **tell(vectors[pair.rows_a], vectors[pair.rows_b])}
            steps.add(1, f"{checkpoint} {own.of.site} layer {layer}")
