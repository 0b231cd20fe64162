"""Probes for one concept, trained on a store's values, that can be asked about values of texts that the store does not have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.allowed import Count, PositiveNumber, Seed, Share, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_labels
from actlas.query.probing.settings import C_GRID
from actlas.query.splits import text_groups
from actlas.store.cube import Cube
from actlas.store.store import Store

#: Of probes without any knowledge, one in a hundred is above chance in this sense.
_Z_CHANCE = 2.326348
_MAX_ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class ConceptProbe:
    """A linear classifier of texts by their pooled values at one site and layer.

    Attributes:
        checkpoint: Whose values.
        concept: What it tells.
        site: Where it reads.
        layer: Where it reads.
        languages: Of the texts that it was trained and tested on.
        weights: Of each neuron's value, ``"neurons"``.
        offset: Added to the weighted sum; above 0 a text rather has the concept.
        auroc: On held-out texts.
        chance: The highest area that a probe without knowledge reaches in 99 of 100 cases. Translations count as one text there.
        n_train: Texts it was trained on.
        n_test: Texts held out.
        c: Inverse strength of the penalty.
        seed: Of the split.
    """

    checkpoint: str
    concept: str
    site: str
    layer: int
    languages: tuple[str, ...]
    weights: NDArray[np.float64]
    offset: float
    auroc: float
    chance: float
    n_train: int
    n_test: int
    c: float
    seed: int

    @property
    def is_above_chance(self) -> bool:
        """Whether it knows anything: an answer of one that does not is no measurement."""
        return self.auroc > self.chance

    def probabilities(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Probability that a text has the concept, where as many texts have it as do not.

        Args:
            values: Pooled as in the store, ``"texts neurons"``.

        Returns:
            One per text.

        Raises:
            QueryError: If there are other neurons than the probe was trained on.

        Example:
            >>> probe = train_concept_probe(store, "planted-step128", "water", site="mlp_pre", layer=1)
            >>> kept = store.cube("planted-step128", "mlp_pre").read(layer=1).T
            >>> probe.probabilities(kept).shape
            (144,)
        """
        if values.ndim != 2 or values.shape[1] != self.weights.size:
            raise QueryError(f"this probe reads {self.weights.size} neurons of each text, not values of shape {values.shape}")
        return np.asarray(0.5 * (1 + np.tanh(0.5 * (values.astype(np.float64) @ self.weights + self.offset))))

    def to_json(self) -> dict[str, Any]:
        """What is recorded of it beside its answers.

        Returns:
            Plain JSON types, without the weights.

        Example:
            >>> probe = train_concept_probe(store, "planted-step128", "water", site="mlp_pre", layer=1)
            >>> {name: probe.to_json()[name] for name in ("concept", "is_above_chance", "n_test")}
            {'concept': 'water', 'is_above_chance': True, 'n_test': 37}
        """
        names = ("concept", "site", "layer", "auroc", "chance", "is_above_chance", "n_train", "n_test", "c", "seed")
        return {**{name: getattr(self, name) for name in names}, "languages": list(self.languages)}


@checks_arguments(QueryError)
def train_concept_probe(
    store: Atlas | str | Path,
    checkpoint: str,
    concept: str,
    *,
    site: str,
    layer: Count,
    languages: Sequence[str] | None = None,
    c: PositiveNumber | None = None,
    test_share: Share = 0.3,
    seed: Seed = 0,
) -> ConceptProbe:
    """Train a logistic regression that tells texts with a concept from others by all values of one layer.

    Texts with and without the concept weigh the same together, however many there are, so 0.5 is where neither is likelier.
    Values are standardised, and a text and its translations stand in one part of the split, as in `train_probes`.

    Args:
        store: With a cube of that site.
        checkpoint: Whose values.
        concept: What to tell.
        site: Where to read.
        layer: Where to read.
        languages: Of the texts; None for all that have texts with and without the concept.
        c: Inverse strength of the L2 penalty. None: of 0.01, 0.1, 1 and 10 the best one on a part of the training texts.
        test_share: Share of the groups of translations that is held out.
        seed: Of the split.

    Returns:
        The probe, with its area under the ROC curve on held-out texts and what chance reaches there. One that is not above chance
        is returned too: who uses it looks at `is_above_chance`.

    Raises:
        CubeNotFound: If the site was not extracted.
        QueryError: If the layer, a language or the concept is unknown, or there are too few texts to hold some out.

    Source: Kim et al. 2018 (a linear classifier of layer values as the direction of a concept).

    Example:
        >>> probe = train_concept_probe(store, "planted-step128", "water", site="mlp_pre", layer=1)
        >>> probe.is_above_chance, probe.n_train + probe.n_test, probe.weights.shape
        (True, 123, (40,))
    """
    store = as_atlas(store)
    cube = store.cube(checkpoint, site)
    if layer >= cube.shape[0]:
        raise QueryError(f"{site} of {checkpoint} has layers 0 to {cube.shape[0] - 1}, not {layer}")
    asked, _ = chosen_labels(store, languages, [concept])
    answered = [language for language in asked if store.corpus.has_answer(language, concept)]
    if not answered or (languages is not None and len(answered) < len(asked)):
        lacking = ", ".join(language for language in asked if language not in answered)
        raise QueryError(f"concept {concept} has no positive or no negative texts in {lacking}: nothing to tell apart there")
    values, rows, is_concept = _texts(store, cube, layer, answered, concept)
    groups = np.unique(text_groups(store.corpus.texts)[rows], return_inverse=True)[1]
    train, test = _parts(groups, is_concept, seed, test_share, concept)
    if c is None:
        fit, judge = (train[part] for part in _parts(groups[train], is_concept[train], seed, test_share, concept))
        judged = [_auroc(is_concept[judge], _trained(values, is_concept, fit, each, seed), values[judge]) for each in C_GRID]
        c = C_GRID[int(np.argmax(judged))]
    weights, offset = _trained(values, is_concept, train, c, seed)
    return ConceptProbe(
        checkpoint,
        concept,
        site,
        layer,
        tuple(answered),
        weights,
        offset,
        auroc=_auroc(is_concept[test], (weights, offset), values[test]),
        chance=_chance(groups[test], is_concept[test]),
        n_train=train.size,
        n_test=test.size,
        c=c,
        seed=seed,
    )


def _texts(
    store: Store, cube: Cube, layer: int, languages: Sequence[str], concept: str
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Values of the texts that take part, ``"texts neurons"``, their rows of the text axis, and which have the concept."""
    values, rows, labels = [], [], []
    for language in languages:
        is_concept, is_member = store.corpus.concept_matrix(language, [concept])
        own, axis = np.flatnonzero(is_member[:, 0]), store.corpus.language_slice(language)
        values.append(cube.read(layer=layer, texts=axis)[:, own].T.astype(np.float32))
        rows.append(own + axis.start)
        labels.append(is_concept[own, 0])
    return np.concatenate(values), np.concatenate(rows), np.concatenate(labels)


def _parts(
    groups: NDArray[np.int64], is_concept: NDArray[np.bool_], seed: int, test_share: float, concept: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to test on; no group of texts is in both, and both have texts with and without the concept.

    The share is taken of groups with and without the concept alike.
    """
    rng = np.random.default_rng(seed)
    has_concept = np.zeros(int(groups.max()) + 1, dtype=bool)
    has_concept[groups[is_concept]] = True
    present = np.unique(groups)
    is_test = np.zeros(has_concept.size, dtype=bool)
    for kind in (True, False):
        own = present[has_concept[present] == kind]
        is_test[rng.permutation(own)[: round(test_share * own.size)]] = True
    train, test = np.flatnonzero(~is_test[groups]), np.flatnonzero(is_test[groups])
    if any(len(np.unique(is_concept[part])) < 2 for part in (train, test)):
        raise QueryError(
            f"too few texts with or without {concept} to hold a share of {test_share} out: "
            f"{int(is_concept.sum())} of {groups.size}"
        )
    return train, test


def _trained(
    values: NDArray[np.float32], is_concept: NDArray[np.bool_], rows: NDArray[np.int64], c: float, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Weights and offset on values as they are; the training standardises them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, std = values[rows].mean(axis=0), values[rows].std(axis=0)
    scale = np.where(std > 0, std, 1)
    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, class_weight="balanced", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it is worth is measured on held-out texts
        model.fit((values[rows] - mean) / scale, is_concept[rows])
    weights = np.asarray(model.coef_[0], dtype=np.float64) / scale
    return weights, float(model.intercept_[0] - weights @ mean)


def _auroc(is_concept: NDArray[np.bool_], line: tuple[NDArray[np.float64], float], values: NDArray[np.float32]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_concept, values @ line[0] + line[1]))


def _chance(groups: NDArray[np.int64], is_concept: NDArray[np.bool_]) -> float:
    """Upper end of what ranks without meaning reach, groups of translations counted once (normal limit of Mann and Whitney)."""
    n_with, n_without = np.unique(groups[is_concept]).size, np.unique(groups[~is_concept]).size
    return min(1.0, 0.5 + _Z_CHANCE * float(np.sqrt((n_with + n_without + 1) / (12 * n_with * n_without))))
