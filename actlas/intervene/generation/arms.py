"""What is forced in each arm of a steering run: the experts of a concept, and the controls that they are held against."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.intervene.generation.settings import Forcing
from actlas.names import ARMS
from actlas.query.choices import Ranking, linear_sites
from actlas.query.experts.ranked import expert_sets
from actlas.query.experts.sets import ExpertSets
from actlas.query.neurons import Indices, NeuronAxis, is_rankable
from actlas.query.rankable import ap_cubes, guess_score
from actlas.query.ranks import scores_of
from actlas.store.store import Store
from actlas.words import no_such

_OF_VALUES: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "median": lambda values: np.median(values, axis=1),
    "p90": lambda values: np.quantile(values, 0.9, axis=1),
    "mean": lambda values: values.mean(axis=1),
    "max": lambda values: values.max(axis=1),
}


@dataclass(frozen=True)
class ForcedArm:
    """One arm of a run.

    Attributes:
        name: One of `ARMS`.
        experts_of: The concept whose experts are forced; None where none are.
        frame: Columns site, layer, neuron, value and weight_hash; None where nothing is forced.
    """

    name: str
    experts_of: str | None = None
    frame: pl.DataFrame | None = None


class ArmMaker:
    """Makes the arms of some concepts and languages of a checkpoint; what they are ranked by is read once.

    Random neurons and those that come next are set to the same statistic of their own values over the positives of the concept;
    the experts of another concept to that over the positives of theirs.

    Args:
        store: With scores.
        checkpoint: Whose neurons.
        languages: Whose experts.
        concepts: What is steered towards.
        forcing: Which neurons, and to what.

    Raises:
        ScoresNotFound: If a site is not scored.

    Example:
        >>> arms = ArmMaker(store, "planted-step64", ["en"], ["water"], Forcing(k=6)).make("water", "en")
        >>> [(arm.name, arm.experts_of, 0 if arm.frame is None else arm.frame.height) for arm in arms]
        [('none', None, 0), ('experts', 'water', 6), ('random', None, 6), ('next', None, 6), ('other', 'yeast', 6)]
    """

    def __init__(
        self, store: Store, checkpoint: str, languages: Sequence[str], concepts: Sequence[str], forcing: Forcing
    ) -> None:
        self._store, self._checkpoint, self._forcing = store, checkpoint, forcing
        self._languages, self._concepts = languages, concepts
        self._axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, forcing.sites))
        self._scores = ap_cubes(store, checkpoint, self._axis)
        self._weight_hash = store.checkpoint(checkpoint)["weight_hash"]
        self._ranked: dict[tuple[bool, int], ExpertSets] = {}
        #: What arm `file` forces, once a model is there to read it for.
        self.foreign: pl.DataFrame | None = None

    def make(self, concept: str, language: str, names: Sequence[str] = ARMS) -> list[ForcedArm]:
        """The arms of one concept and language, in the order of their names.

        Raises:
            QueryError: If there are no experts, or not enough neurons.
        """
        return [self._arm(name, concept, language) for name in names]

    def _arm(self, name: str, concept: str, language: str) -> ForcedArm:
        if name == "none":
            return ForcedArm(name)
        if name == "file":
            return ForcedArm(name, None, self._foreign(concept, language))
        of, forcing = concept, self._forcing
        if name == "other":
            of = other_concept(self._store, language, concept, forcing.other)
        if name == "random":
            index = self._matched(concept, language)
        else:
            index = self._best(of, language, (forcing.k if forcing.skip is None else forcing.skip) if name == "next" else 0)
        frame = pl.DataFrame({**self._axis.columns(index), "value": self._values(index, of, language)})
        frame = frame.with_columns(pl.lit(self._weight_hash).alias("weight_hash"))
        return ForcedArm(name, of if name in ("experts", "other") else None, frame)

    def _foreign(self, concept: str, language: str) -> pl.DataFrame:
        """Neurons of the file: those of this concept and language, where it tells them apart."""
        assert self.foreign is not None, "a file is read for a model"
        asked = {"concept": concept, "language": language}
        named = {name: value for name, value in asked.items() if name in self.foreign.columns}
        frame = self.foreign.filter(**named) if named else self.foreign
        if frame.is_empty():
            raise QueryError(f"the file names no neurons of {' and '.join(named.values())}")
        return frame

    def _best(self, concept: str, language: str, skip: int = 0) -> Indices:
        """Neurons that follow the `skip` best ones."""
        is_asked = concept in self._concepts
        if (is_asked, skip) not in self._ranked:
            # those of other concepts are ranked only where they are a control
            others = {
                other_concept(self._store, one, own, self._forcing.other) for own in self._concepts for one in self._languages
            }
            concepts = self._concepts if is_asked else sorted(others)
            ranking = Ranking(self._forcing.k, self._forcing.sites, self._languages, concepts)
            self._ranked[is_asked, skip] = expert_sets(self._store, self._checkpoint, ranking, skip=skip)
        sets = self._ranked[is_asked, skip]
        neurons = sets.neurons[sets.languages.index(language), sets.concepts.index(concept)]
        if neurons[0] < 0:
            raise QueryError(
                f"{concept} has no {self._forcing.k} experts {f'after {skip} ' if skip else ''}in {language} at "
                f"{self._checkpoint}: too few neurons tell its texts apart; ask for a smaller k, or another concept"
            )
        return np.asarray(neurons)

    def _matched(self, concept: str, language: str) -> Indices:
        """As many neurons of each site and layer as there are experts, drawn among those that can be ranked and are no experts.

        Where a layer has too few of these, experts fill up.
        """
        axis, experts = self._axis, self._best(concept, language)
        # a draw of its own for each language and concept, whichever others are asked for
        rng = np.random.default_rng([self._forcing.seed, zlib.crc32(f"{language}/{concept}".encode())])
        ap = np.concatenate([cube.read("ap", language, concept).reshape(-1) for cube in self._scores])
        candidates = np.flatnonzero(is_rankable(ap, guess_score(self._store, [language], [concept])[0, 0]))
        place_of = axis.site_at(candidates) * axis.n_layers + axis.layer_at(candidates)
        places, counts = np.unique(axis.site_at(experts) * axis.n_layers + axis.layer_at(experts), return_counts=True)
        drawn = []
        for place, count in zip(places, counts, strict=True):
            own = rng.permutation(candidates[place_of == place])
            drawn.append(own[np.argsort(np.isin(own, experts), kind="stable")][:count])
        return np.concatenate(drawn)

    def _values(self, index: Indices, concept: str, language: str) -> NDArray[np.float32]:
        """What neurons are set to: out of the scores where these have the statistic, otherwise out of the cubes.

        Raises:
            CubeNotFound: If neither has it, because states were kept in place of a cube.
        """
        statistic = self._forcing.on_value
        if all(statistic in cube.stats for cube in self._scores):
            found = scores_of(self._scores, self._axis, statistic, [language], [concept], index[np.newaxis, np.newaxis])
            return np.asarray(found[0, 0], dtype=np.float32)
        rows = self._store.corpus.language_slice(language)
        is_concept, is_member = self._store.corpus.concept_matrix(language, [concept])
        positives = np.flatnonzero((is_concept & is_member)[:, 0])
        values: NDArray[np.float32] = np.full(index.size, np.nan, dtype=np.float32)
        sites, layers, neurons = self._axis.site_at(index), self._axis.layer_at(index), self._axis.neuron_at(index)
        for site, layer in sorted(set(zip(sites.tolist(), layers.tolist(), strict=True))):
            is_here = (sites == site) & (layers == layer)
            own, row = np.unique(neurons[is_here], return_inverse=True)
            cube = self._store.cube(self._checkpoint, self._axis.sites[site])
            block = cube.read(layer=layer, neurons=own, texts=rows)[:, positives]
            values[is_here] = _OF_VALUES[statistic](block.astype(np.float64))[row]
        return values


def other_concept(store: Store, language: str, concept: str, named: str | None = None) -> str:
    """The concept whose experts are the control: the one named, or the next of the corpus that has positives in the language.

    Raises:
        QueryError: If there is none, or the one named is unknown or the concept itself.
    """
    concepts = store.corpus.concepts
    if named is not None:
        if named not in concepts:
            raise QueryError(no_such("concept", [named], concepts, store.path))
        if named == concept:
            raise QueryError(f"{named} is what is steered towards; as a control, name another concept")
        return named
    at = concepts.index(concept)
    for other in (*concepts[at + 1 :], *concepts[:at]):
        if store.corpus.has_answer(language, other):
            return other
    raise QueryError(f"{store.path} has no other concept than {concept} in {language} to steer towards; leave arm 'other' out")
