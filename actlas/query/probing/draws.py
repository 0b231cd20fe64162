"""Which vectors each probe is trained and tested on: one draw per seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.probing.labels import Labelled
from actlas.query.probing.settings import ProbeSettings

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draw:
    """One probe: what it is trained on, and what it is tested on.

    Attributes:
        seed: Of the draws.
        grid: Penalties to choose from; one where it was named.
        codes: The label of every vector, as a number.
        train: Vectors to train on.
        test: Vectors to test on.
        fit: Part of `train` that penalties are tried on; empty where there is no choice.
        judge: The rest of `train`, which decides among them.
    """

    seed: int
    grid: tuple[float, ...]
    codes: Rows
    train: Rows
    test: Rows
    fit: Rows
    judge: Rows

    @classmethod
    def of(cls, labelled: Labelled, seed: int, settings: ProbeSettings) -> Draw:
        """Draw the parts for a seed."""
        groups, what, share = labelled.groups, labelled.grouped_by, settings.test_share
        train, test = split(groups, seed, share, settings.max_train, what)
        none = train[:0]
        fit, judge = (none, none) if len(settings.grid) == 1 else validation(groups, train, seed, share, what)
        return cls(seed, settings.grid, labelled.codes, train, test, fit, judge)

    def within(self, is_trained: NDArray[np.bool_]) -> Draw:
        """The same, trained on some of the vectors only, and tested on all."""
        train, fit, judge = (rows[is_trained[rows]] for rows in (self.train, self.fit, self.judge))
        return replace(self, train=train, fit=fit, judge=judge)


def split(groups: Rows, seed: int, test_share: float, max_train: int | None, what: str = "groups of texts") -> tuple[Rows, Rows]:
    """Vectors to train on and vectors to test on; no group, of which there are many of `what`, is in both."""
    rng = np.random.default_rng(seed)
    n_groups = int(groups.max()) + 1
    n_test = round(test_share * n_groups)
    if not 0 < n_test < n_groups:
        raise QueryError(
            f"test_share {test_share} leaves {n_test} of {n_groups} {what} to test on, or to choose the penalty by; "
            "both parts need some: name another test_share, or c"
        )
    is_test = np.zeros(n_groups, dtype=bool)
    is_test[rng.permutation(n_groups)[:n_test]] = True
    train, test = np.flatnonzero(~is_test[groups]), np.flatnonzero(is_test[groups])
    if max_train is not None and train.size > max_train:
        train = np.sort(rng.choice(train, size=max_train, replace=False))
    return train, test


def validation(groups: Rows, train: Rows, seed: int, share: float, what: str = "groups of texts") -> tuple[Rows, Rows]:
    """Vectors of the training part to try penalties on, and those to judge them by; no group is in both."""
    own = np.unique(groups[train], return_inverse=True)[1]
    fit, judge = split(own, seed, share, None, what)
    return train[fit], train[judge]
