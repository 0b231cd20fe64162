"""Training of probes: multinomial logistic regression on standardised vectors, with an L2 penalty on the weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actlas.query.probing.draws import Draw
from actlas.query.probing.settings import ProbeSettings


@dataclass(frozen=True, eq=False)
class Fitted:
    """What became of one draw.

    Attributes:
        predicted: Label of each vector of the test part, as a number.
        c: The penalty that was named or chosen.
        n_iterations: Of the training on the whole training part.
    """

    predicted: NDArray[np.int64]
    c: float
    n_iterations: int


class Solver(Protocol):
    """Trains the probes of one layer."""

    def __call__(self, vectors: NDArray[np.float32], draws: Sequence[Draw]) -> list[Fitted]:
        """One answer per draw, from vectors ``"vectors channels"``."""


@dataclass(frozen=True)
class SklearnSolver:
    """scikit-learn, one probe per core at a time.

    Attributes:
        max_iterations: Of one training.
    """

    max_iterations: int

    def __call__(self, vectors: NDArray[np.float32], draws: Sequence[Draw]) -> list[Fitted]:
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types; scikit-learn brings it

        # probes are small: one thread each and several at a time; threads of a linear algebra library would wait for each other
        with (
            threadpool_limits(1),
            warnings.catch_warnings(),
            ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-probe") as pool,
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)  # n_iterations says it
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # meanings have few texts each
            return list(pool.map(partial(self._fitted, vectors), draws))

    def _fitted(self, vectors: NDArray[np.float32], draw: Draw) -> Fitted:
        c, codes = draw.grid[0], draw.codes
        if len(draw.grid) > 1:
            scaled = standardised(vectors, draw.fit)
            model = self._classifier(draw.seed, warm_start=True)
            right = []
            # from the strongest penalty on, each begins where the one before ended
            for each in draw.grid:
                model.set_params(C=each).fit(scaled[draw.fit], codes[draw.fit])
                right.append(int((model.predict(scaled[draw.judge]) == codes[draw.judge]).sum()))
            c = draw.grid[int(np.argmax(right))]
        scaled = standardised(vectors, draw.train)
        model = self._classifier(draw.seed, C=c).fit(scaled[draw.train], codes[draw.train])
        return Fitted(model.predict(scaled[draw.test]), c, int(np.max(model.n_iter_)))

    def _classifier(self, seed: int, **settings: Any) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=self.max_iterations, random_state=seed, **settings)


def standardised(vectors: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors by the mean and spread of those that are trained on."""
    mean, std = vectors[train].mean(axis=0), vectors[train].std(axis=0)
    return np.asarray((vectors - mean) / np.where(std > 0, std, 1))


def solver_of(settings: ProbeSettings) -> Solver:
    """The solver that settings name."""
    return SklearnSolver(settings.max_iterations)
