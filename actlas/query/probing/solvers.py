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

from actlas.query.probing.batched import Objective, Regressions, bundles, train
from actlas.query.probing.draws import Draw
from actlas.query.probing.settings import ProbeSettings, SolverName

#: Vectors that the rough scale of channels is told from, and that are scaled at a time.
_SCALED_BY, _BLOCK = 4096, 512


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
        tolerance: It stops where no entry of the gradient is larger.
    """

    max_iterations: int
    tolerance: float = 1e-4

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

        return LogisticRegression(max_iter=self.max_iterations, tol=self.tolerance, random_state=seed, **settings)


def standardised(vectors: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Vectors by the mean and spread of those that are trained on."""
    mean, std = vectors[train].mean(axis=0), vectors[train].std(axis=0)
    return np.asarray((vectors - mean) / np.where(std > 0, std, 1))


@dataclass(frozen=True)
class BatchedSolver:
    """All probes of a layer together, in single precision; see `actlas.query.probing.batched`.

    Attributes:
        max_iterations: Of one training.
    """

    max_iterations: int

    def __call__(self, vectors: NDArray[np.float32], draws: Sequence[Draw]) -> list[Fitted]:
        from threadpoolctl import threadpool_limits

        answers: dict[int, Fitted] = {}
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-probe") as pool:
            for members in bundles([draw.train for draw in draws]):
                own = [draws[number] for number in members]
                answers |= zip(members, self._fitted(vectors, own, pool), strict=True)
        return [answers[number] for number in range(len(draws))]

    def _fitted(self, vectors: NDArray[np.float32], draws: Sequence[Draw], pool: ThreadPoolExecutor) -> list[Fitted]:
        rows = np.unique(np.concatenate([draw.train for draw in draws]))
        # roughly standardised is enough here: each regression takes its own mean and spread of these
        some = vectors[rows[:: max(1, rows.size // _SCALED_BY)]]
        mean, spread = some.mean(axis=0), some.std(axis=0)
        scale = np.where(spread > 0, spread, 1)

        def standardised_rows(part: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.asarray((vectors[part] - mean) / scale)

        scaled = np.empty((rows.size, vectors.shape[1]), np.float32)
        starts = range(0, rows.size, _BLOCK)
        blocks = pool.map(standardised_rows, (rows[start : start + _BLOCK] for start in starts))
        for start, block in zip(starts, blocks, strict=True):
            scaled[start : start + _BLOCK] = block
        codes = np.stack([draw.codes[rows] for draw in draws])
        n_labels = int(max(draw.codes.max() for draw in draws)) + 1

        def regressions(parts: Sequence[NDArray[np.int64]]) -> Regressions:
            is_trained = np.zeros((len(parts), len(vectors)), dtype=bool)
            for own, part in enumerate(parts):
                is_trained[own, part] = True
            return Regressions.of(scaled, codes, is_trained[:, rows], n_labels)

        weights = np.zeros((len(draws), n_labels, scaled.shape[1] + 1), np.float32)
        chosen = np.array([draw.grid[0] for draw in draws])
        if len(draws[0].grid) > 1:
            chosen, weights = self._chosen(regressions([draw.fit for draw in draws]), rows, draws, weights, pool)
        final = regressions([draw.train for draw in draws])
        weights, n_steps = train(Objective(final, _penalties(final, chosen), pool), weights, self.max_iterations)
        said = pool.map(lambda own, draw: final.predicted(standardised_rows(draw.test), weights, own), range(len(draws)), draws)
        return [Fitted(labels, float(c), int(n)) for labels, c, n in zip(said, chosen, n_steps, strict=True)]

    def _chosen(
        self,
        of: Regressions,
        rows: NDArray[np.int64],
        draws: Sequence[Draw],
        weights: NDArray[np.float32],
        pool: ThreadPoolExecutor,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The penalty that is best on the judging part of each draw, and the weights that were found with it."""
        judged = [np.searchsorted(rows, draw.judge) for draw in draws]
        best, chosen, kept = np.full(len(draws), -1), np.zeros(len(draws)), weights.copy()
        # from the strongest penalty on, each begins where the one before ended
        for c in draws[0].grid:
            weights, _ = train(Objective(of, _penalties(of, np.full(of.n, c)), pool), weights, self.max_iterations)
            for own, judge in enumerate(judged):
                right = int((of.predicted(of.vectors[judge], weights, own) == of.codes[own, judge]).sum())
                if right > best[own]:
                    best[own], chosen[own], kept[own] = right, c, weights[own]
        return chosen, kept


def _penalties(of: Regressions, c: NDArray[np.float64]) -> NDArray[np.float64]:
    """As scikit-learn has them; of two labels it trains one vector of weights, which is penalised once for both."""
    n_present = [np.unique(of.codes[own, of.is_trained[own]]).size for own in range(of.n)]
    return np.asarray(np.where(np.array(n_present) == 2, 2, 1) / (c * of.is_trained.sum(axis=1)))


def solver_of(settings: ProbeSettings) -> Solver:
    """The solver that settings name."""
    solvers: dict[SolverName, type[SklearnSolver | BatchedSolver]] = {"sklearn": SklearnSolver, "batched": BatchedSolver}
    return solvers[settings.solver](settings.max_iterations)
