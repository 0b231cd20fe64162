"""Which neurons can be experts at all: a neuron that gives all texts one value detects nothing, and is never ranked.

Such a neuron has the average precision of a guess, the share of positives among the texts that take part. That can be read off
the scores of any store, whether values were kept or not. A neuron whose lowest value all positives have has that score too,
and is as little an expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import ScoresNotFound
from actlas.query.keep import kept_answer
from actlas.query.neurons import NeuronAxis, is_rankable, names_at
from actlas.query.schema import TABLES
from actlas.store.corpus.declared import UNKNOWN
from actlas.store.cube import ScoreCube
from actlas.store.store import Store

#: Score of a guess where it is not known: no score is near it, and no neuron left out.
NO_GUESS = -1.0


def guess_score(store: Store, languages: Sequence[str], concepts: Sequence[str]) -> NDArray[np.float64]:
    """Average precision of a neuron that gives all texts one value, ``"languages concepts"``: the share of positives.

    It is NaN for a concept without texts in a language, and `NO_GUESS` where scores were imported without the counts of labels.
    """
    shares = np.full((len(languages), len(concepts)), np.nan)
    for row, language in enumerate(languages):
        n_positive, n_member = store.corpus.label_counts(language, list(concepts))
        shares[row] = np.where(n_positive == UNKNOWN, NO_GUESS, share_of_positives(n_positive, n_member))
    return shares


def share_of_positives(n_positive: NDArray[np.int64], n_member: NDArray[np.int64]) -> NDArray[np.float64]:
    """Positives per member; NaN where there is no member.

    Example:
        >>> share_of_positives(np.array([1, 0]), np.array([4, 0])).tolist()
        [0.25, nan]
    """
    return np.asarray(np.divide(n_positive, n_member, out=np.full(n_member.shape, np.nan), where=n_member > 0))


@dataclass(frozen=True)
class Rankable:
    """How many neurons can be experts.

    Attributes:
        by_place: Of each layer of each site those that can in both of two languages, ``"concepts sites layers languages
            languages"``; on the diagonal those of a language. A site with fewer layers than others has 0 in the rest.
    """

    by_place: NDArray[np.int64]

    @property
    def by_layer(self) -> NDArray[np.int64]:
        """All sites together: ``"concepts layers languages languages"``."""
        return np.asarray(self.by_place.sum(axis=1))

    @property
    def total(self) -> NDArray[np.int64]:
        """All layers together: ``"concepts languages languages"``."""
        return np.asarray(self.by_layer.sum(axis=1))

    def frame(self, checkpoint: str, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str]) -> pl.DataFrame:
        """Table `rankable` of a checkpoint."""
        order = sorted(range(len(languages)), key=lambda position: languages[position])
        both = [(one, other) for place, one in enumerate(order) for other in order[place:]]
        a, b = np.array(both, dtype=np.int64).reshape(-1, 2).T
        places = [(site, layer) for site, (n_layers, _) in enumerate(axis.shapes) for layer in range(n_layers)]
        site, layer = np.array(places, dtype=np.int64).T
        n_concepts, n_places = len(concepts), len(places)
        counts = self.by_place[:, site, layer][:, :, a, b]
        columns = {
            "checkpoint": pl.repeat(checkpoint, counts.size, dtype=pl.String, eager=True),
            "concept": names_at(concepts, np.repeat(np.arange(n_concepts), n_places * a.size)),
            "language_a": names_at(languages, np.tile(a, n_concepts * n_places)),
            "language_b": names_at(languages, np.tile(b, n_concepts * n_places)),
            "site": names_at(axis.sites, np.tile(np.repeat(site, a.size), n_concepts)),
            "layer": pl.Series(np.tile(np.repeat(layer, a.size), n_concepts)),
            "n_rankable": pl.Series(counts.reshape(-1)),
        }
        return TABLES["rankable"].conform(pl.DataFrame(columns))

    @classmethod
    def of_rows(cls, rows: pl.DataFrame, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str]) -> Rankable:
        """Out of rows of table `rankable`; others than the languages and concepts named are left out."""
        rows = rows.filter(
            pl.col("language_a").is_in(languages), pl.col("language_b").is_in(languages), pl.col("concept").is_in(concepts)
        )
        concept, site, a, b = (
            rows[column].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
            for column, names in (
                ("concept", concepts),
                ("site", axis.sites),
                ("language_a", languages),
                ("language_b", languages),
            )
        )
        n_languages = len(languages)
        by_place = np.zeros((len(concepts), len(axis.sites), axis.n_layers, n_languages, n_languages), dtype=np.int64)
        layer, counts = rows["layer"].to_numpy(), rows["n_rankable"].to_numpy()
        by_place[concept, site, layer, a, b] = counts
        by_place[concept, site, layer, b, a] = counts
        return cls(by_place)


def rankable_pairs(ap: NDArray[Any], guesses: NDArray[np.float64], n_fit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neurons of one layer that can be experts in both of two languages, ``"concepts languages languages"``.

    Args:
        ap: Their scores, ``"languages concepts neurons"``.
        guesses: The score of a guess, ``"languages concepts"``.
        n_fit: How many can in each language, same shape; only where it is neither all nor none is a score looked at again.
    """
    n_neurons = ap.shape[2]
    can = (n_fit > 0).T.astype(np.int64)
    counts = n_neurons * can[:, :, np.newaxis] * can[:, np.newaxis, :]
    for concept in np.flatnonzero(((n_fit > 0) & (n_fit < n_neurons)).any(axis=0)):
        numbers = is_rankable(ap[:, concept], guesses[:, concept, np.newaxis]).astype(np.float32)
        counts[concept] = np.rint(numbers @ numbers.T)
    return np.asarray(counts)


def ap_cubes(store: Store, checkpoint: str, axis: NeuronAxis) -> list[ScoreCube]:
    """The scores of every site of the axis.

    Raises:
        ScoresNotFound: If one of them has no ap.
    """
    cubes = [store.scores(checkpoint, site) for site in axis.sites]
    for cube in cubes:
        if "ap" not in cube.stats:
            raise ScoresNotFound(
                f"scores of {checkpoint} at {cube.site} have no ap (they have {', '.join(cube.stats)}); experts need it"
            )
    return cubes


def kept_rankable(
    store: Store, checkpoint: str, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str]
) -> Rankable | None:
    """How many neurons can be experts in each language, and in both of each two, concept by concept: out of the kept table, if
    there is one."""
    part = kept_answer(store, "rankable", checkpoint, {"sites": list(axis.sites)})
    return None if part is None else Rankable.of_rows(part.scan().collect(), axis, languages, concepts)
