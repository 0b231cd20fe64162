"""Logistic regressions of one layer, trained together.

The regressions of all seeds read the same vectors, so their weights stand side by side and one product of matrices serves all of
them. What scikit-learn spends iterations on is the conditioning: channels of a layer are correlated and of very different use.
Here steps are L-BFGS steps in coordinates in which that is undone, by the inverse of the vectors' second moments, weighted by how
undecided the regressions are about each vector: an average over labels of the Hessian, one for all seeds and labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Pairs of steps and changes of the gradient that a direction is told from.
_MEMORY = 12
#: Vectors that a thread works on at a time: their products stay in its cache.
_BLOCK = 1024
#: A regression is done when a whole step would lower its mean loss by less than this.
TOLERANCE = 3e-8
#: What rounding makes of a mean loss, at most.
_LOSS_NOISE = 1e-5
#: After how many steps the second moments are weighted by what is undecided by then.
_WEIGHED_AFTER = 8
#: Second moments are told from so many vectors per channel.
_PER_CHANNEL = 8


@dataclass(frozen=True, eq=False)
class Regressions:
    """Regressions that read the same vectors, each trained on some of them.

    Attributes:
        vectors: float32, ``"vectors channels"``, of a mean near 0 and a spread near 1 in each channel.
        codes: The label of each vector in each regression, ``"regressions vectors"``.
        is_trained: Which vectors each is trained on, likewise.
        n_labels: How many labels there are.
        mean: Of the vectors that each is trained on, ``"regressions channels"``; it reads vectors less that.
        scale: It divides them by this, likewise.
    """

    vectors: Floats
    codes: NDArray[np.int64]
    is_trained: NDArray[np.bool_]
    n_labels: int
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, vectors: Floats, codes: NDArray[np.int64], is_trained: NDArray[np.bool_], n_labels: int) -> Regressions:
        """Take the mean and the spread of what each is trained on."""
        share = is_trained.astype(np.float32)
        share /= share.sum(axis=1, keepdims=True)
        mean = share @ vectors
        square = np.zeros_like(mean)
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            square += share[:, rows] @ np.square(vectors[rows])
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        # a channel that does not change carries what rounding leaves of it
        scale = np.where(spread > 1e-5, spread, 1).astype(np.float32)
        return cls(vectors, codes, is_trained, n_labels, mean, scale)

    @property
    def n(self) -> int:
        """Regressions."""
        return len(self.codes)

    def some(self, which: NDArray[np.int64]) -> Regressions:
        """Some of them, on the same vectors."""
        codes, is_trained = self.codes[which], self.is_trained[which]
        return Regressions(self.vectors, codes, is_trained, self.n_labels, self.mean[which], self.scale[which])

    def flat(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights ``"regressions labels channels+1"``, the last the offset, as those of the vectors as they are."""
        own = weights[:, :, :-1] / self.scale[:, None, :]
        offsets = weights[:, :, -1] - np.einsum("rlc,rc->rl", own, self.mean)
        return own.reshape(-1, own.shape[2]), offsets.reshape(-1)

    def predicted(self, vectors: Floats, weights: Floats, regression: int) -> NDArray[np.int64]:
        """The label of each vector by one of the regressions."""
        own, offsets = self.some(np.array([regression])).flat(weights[regression : regression + 1])
        return np.asarray((vectors @ own.T + offsets).argmax(axis=1))


class Objective:
    """Mean loss of regressions with its penalty, and the gradient, on all cores.

    Args:
        of: What is trained.
        penalty: Of each, half of which times the squared weights is added to its mean loss.
        pool: Threads.
    """

    def __init__(self, of: Regressions, penalty: NDArray[np.float64], pool: ThreadPoolExecutor) -> None:
        self.of, self.penalty, self.pool = of, penalty, pool
        self.n_trained = of.is_trained.sum(axis=1)
        has_label = np.zeros((of.n, of.n_labels), dtype=bool)
        for own in range(of.n):
            has_label[own, of.codes[own, of.is_trained[own]]] = True
        # a label that is not trained on is never said
        self.never = np.where(has_label, np.float32(0), np.float32(-1e30)).reshape(-1)
        blocks = range(0, len(of.vectors), _BLOCK)
        n_threads = os.cpu_count() or 1
        self.parts = [blocks[part::n_threads] for part in range(n_threads)]

    def __call__(self, weights: Floats) -> tuple[NDArray[np.float64], Floats]:
        """Loss of each regression, and its gradient, shaped as the weights."""
        of = self.of
        own, offsets = of.flat(weights)
        done = list(self.pool.map(lambda part: self._of_blocks(part, own, offsets + self.never), self.parts))
        loss = np.sum([one[0] for one in done], axis=0) / self.n_trained
        slope = np.sum([one[1] for one in done], axis=0).reshape(of.n, of.n_labels, -1)
        total = np.sum([one[2] for one in done], axis=0).reshape(of.n, of.n_labels)
        gradient = np.empty_like(weights)
        gradient[:, :, :-1] = (slope - total[:, :, None] * of.mean[:, None, :]) / of.scale[:, None, :]
        gradient[:, :, -1] = total
        gradient /= self.n_trained[:, None, None].astype(np.float32)
        inner = weights[:, :, :-1]
        gradient[:, :, :-1] += self.penalty.astype(np.float32)[:, None, None] * inner
        loss += 0.5 * self.penalty * np.einsum("rlc,rlc->r", inner, inner, dtype=np.float64)
        return loss, gradient

    def _of_blocks(self, starts: range, weights: Floats, offsets: Floats) -> tuple[NDArray[np.float64], Floats, Floats]:
        of = self.of
        loss = np.zeros(of.n)
        slope, total = np.zeros_like(weights), np.zeros_like(offsets)
        each = np.arange(of.n)[:, None]
        for start in starts:
            rows = slice(start, min(start + _BLOCK, len(of.vectors)))
            said = (each, of.codes[:, rows], np.arange(rows.stop - rows.start))
            is_trained = of.is_trained[:, rows]
            # vectors come last: what runs over labels then runs over whole rows at once
            chances = self._logits(rows, weights, offsets)
            right = chances[said]
            np.exp(chances, out=chances)
            sums = chances.sum(axis=1)
            loss += ((np.log(sums) - right) * is_trained).sum(axis=1, dtype=np.float64)
            chances *= (is_trained / sums)[:, None, :]
            chances[said] -= is_trained
            errors = chances.reshape(len(offsets), -1)
            slope += errors @ of.vectors[rows]
            total += errors.sum(axis=1)
        return loss, slope, total

    def _logits(self, rows: slice | NDArray[np.int64], weights: Floats, offsets: Floats) -> Floats:
        """Of each label, 0 for the likeliest, ``"regressions labels vectors"``."""
        logits = weights @ self.of.vectors[rows].T
        logits += offsets[:, None]
        logits = logits.reshape(self.of.n, self.of.n_labels, -1)
        logits -= logits.max(axis=1, keepdims=True)
        return logits

    def moments(self, weights: Floats) -> tuple[Floats, float]:
        """Second moments of the vectors, weighted by how undecided the regressions are about each, and the mean of the weights.

        Both are what the Hessian has on the average of labels and regressions. Where there are more channels than vectors it is
        the diagonal alone: the matrix would cost more than the steps that it saves.
        """
        of = self.of
        own, offsets = of.flat(weights)
        n_vectors, n_channels = of.vectors.shape
        n_rows = min(n_vectors, max(_PER_CHANNEL * n_channels, 8 * _BLOCK))
        rows = np.random.default_rng(0).permutation(n_vectors)[:n_rows]

        def of_part(part: NDArray[np.int64]) -> tuple[Floats, float]:
            chances = np.exp(self._logits(part, own, offsets + self.never))
            decided = np.square(chances).sum(axis=1) / np.square(chances.sum(axis=1))
            share = ((1 - decided) * of.is_trained[:, part] / self.n_trained[:, None]).mean(axis=0) / of.n_labels
            share = (share * (n_vectors / n_rows)).astype(np.float32)
            weighted = of.vectors[part] * np.sqrt(share)[:, None]
            both = np.square(weighted).sum(axis=0) if n_channels > n_vectors else weighted.T @ weighted
            return both, float(share.sum())

        parts = list(self.pool.map(of_part, np.array_split(rows, len(self.parts))))
        return np.sum([one[0] for one in parts], axis=0), sum(one[1] for one in parts)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The inverse of what the Hessian of regressions is on the average of their labels.

    Attributes:
        inverses: For each penalty there is, ``"channels channels"``, or the diagonal.
        number: Which of them is that of a regression.
        of_offset: The inverse for the offsets.
    """

    inverses: Sequence[Floats]
    number: NDArray[np.int64]
    of_offset: np.float32

    @classmethod
    def at(cls, objective: Objective, weights: Floats) -> Whitening:
        """Take the Hessian at some weights."""
        moments, total = objective.moments(weights)
        penalties, number = np.unique(objective.penalty, return_inverse=True)
        floor = 1e-5 * float((moments if moments.ndim == 1 else moments.diagonal()).mean())
        shifts = [np.float32(max(penalty, floor)) for penalty in penalties]
        inverses = list(objective.pool.map(lambda shift: _inverse(moments, shift), shifts))
        return cls(inverses, number, np.float32(1 / max(total, 1e-6)))

    def some(self, which: NDArray[np.int64]) -> Whitening:
        """Of some of the regressions."""
        return Whitening(self.inverses, self.number[which], self.of_offset)

    def __call__(self, gradients: Floats) -> Floats:
        """The step that gradients ask for."""
        steps = np.empty_like(gradients)
        steps[:, :, -1] = gradients[:, :, -1] * self.of_offset
        for number, inverse in enumerate(self.inverses):
            own = self.number == number
            if own.any():
                inner = np.ascontiguousarray(gradients[own][:, :, :-1])
                steps[own, :, :-1] = inner * inverse if inverse.ndim == 1 else inner @ inverse
        return steps


def _inverse(moments: Floats, penalty: np.float32) -> Floats:
    if moments.ndim == 1:
        return np.asarray(1 / (moments + penalty))
    from scipy.linalg import lapack

    shifted = moments.copy()
    shifted[np.diag_indices(len(shifted))] += penalty
    factor, _ = lapack.spotrf(shifted, lower=1)
    inverse, _ = lapack.spotri(factor, lower=1)
    # what stands above the diagonal is 0
    both = inverse + inverse.T
    both[np.diag_indices(len(both))] /= 2
    return np.asarray(both)


@dataclass
class _State:
    """Where the regressions that are not done yet stand."""

    which: NDArray[np.int64]
    objective: Objective
    weights: Floats
    loss: NDArray[np.float64]
    gradient: Floats
    steps: list[Floats] = field(default_factory=list)
    changes: list[Floats] = field(default_factory=list)

    def some(self, kept: NDArray[np.int64]) -> _State:
        objective = Objective(self.objective.of.some(kept), self.objective.penalty[kept], self.objective.pool)
        histories = ([one[kept] for one in history] for history in (self.steps, self.changes))
        return _State(self.which[kept], objective, self.weights[kept], self.loss[kept], self.gradient[kept], *histories)


def _dot(a: Floats, b: Floats) -> NDArray[np.float64]:
    return np.asarray(np.einsum("rlc,rlc->r", a, b), dtype=np.float64)


def _along(factor: NDArray[np.float64], direction: Floats) -> Floats:
    return factor.astype(np.float32)[:, None, None] * direction


def train(objective: Objective, weights: Floats, max_iterations: int) -> tuple[Floats, NDArray[np.int64]]:
    """The weights at which the loss of each regression is lowest, and the steps it took.

    Args:
        objective: Of the regressions.
        weights: Where to begin.
        max_iterations: Steps at most.
    """
    found, n_steps = weights.copy(), np.full(len(weights), max_iterations)
    state = _State(np.arange(len(weights)), objective, weights, *objective(weights))
    whitening, is_first_guess = Whitening.at(objective, weights), not weights.any()
    is_open = np.ones(len(weights), dtype=bool)
    for step in range(max_iterations):
        is_open &= _dot(state.gradient, whitening(state.gradient)) > 2 * TOLERANCE
        if not is_open.all():
            kept = np.flatnonzero(is_open)
            n_steps[state.which[~is_open]] = step
            state, whitening = state.some(kept), whitening.some(kept)
        if not state.which.size:
            break
        if step == _WEIGHED_AFTER and is_first_guess:
            whitening = Whitening.at(state.objective, state.weights)
        # one that finds no lower point is as low as single precision goes
        is_open = _step(state, -_direction(state, whitening))
        found[state.which] = state.weights
    return found, n_steps


def _direction(state: _State, whitening: Whitening) -> Floats:
    """L-BFGS, with the whitening as the first guess of the inverse Hessian (Nocedal and Wright 2006, algorithm 7.4)."""
    asked = state.gradient.copy()
    pairs = list(zip(state.steps, state.changes, strict=True))
    shares = []
    for step, change in reversed(pairs):
        curvature = _dot(step, change)
        share = np.where(curvature > 0, _dot(step, asked) / np.where(curvature > 0, curvature, 1), 0)
        shares.append((share, curvature))
        asked -= _along(share, change)
    asked = whitening(asked)
    if pairs:
        step, change = pairs[-1]
        length, curvature = _dot(change, whitening(change)), _dot(step, change)
        is_told = (length > 0) & (curvature > 0)
        asked = _along(np.where(is_told, curvature / np.where(is_told, length, 1), 1), asked)
    for (step, change), (share, curvature) in zip(pairs, reversed(shares), strict=True):
        back = np.where(curvature > 0, _dot(change, asked) / np.where(curvature > 0, curvature, 1), 0)
        asked += _along(np.where(curvature > 0, share - back, 0), step)
    return asked


def _step(state: _State, direction: Floats) -> NDArray[np.bool_]:
    """Go along a direction as far as the loss of each regression falls enough for it; which did."""
    slope = _dot(state.gradient, direction)
    length = np.ones(len(slope))
    is_done = np.zeros(len(slope), dtype=bool)
    weights, loss, gradient = state.weights.copy(), state.loss.copy(), state.gradient.copy()
    for _ in range(12):
        tried = state.weights + _along(length, direction)
        new_loss, new_gradient = state.objective(tried)
        # near the lowest point the loss is known less well than its slope, which says as much (Hager and Zhang 2005)
        is_near = (new_loss <= state.loss + _LOSS_NOISE) & (_dot(new_gradient, direction) <= -0.5 * slope)
        is_taken = ~is_done & ((new_loss <= state.loss + 1e-4 * length * slope) | is_near)
        weights[is_taken], loss[is_taken], gradient[is_taken] = tried[is_taken], new_loss[is_taken], new_gradient[is_taken]
        is_done |= is_taken
        if is_done.all():
            break
        bend = new_loss - state.loss - length * slope
        shorter = -slope * length**2 / np.where(bend > 0, 2 * bend, np.inf)
        length = np.where(is_done, length, np.clip(shorter, 0.1 * length, 0.5 * length))
    state.steps.append(weights - state.weights)
    state.changes.append(gradient - state.gradient)
    del state.steps[:-_MEMORY], state.changes[:-_MEMORY]
    state.weights, state.loss, state.gradient = weights, loss, gradient
    return is_done


def bundles(rows: Sequence[NDArray[np.int64]]) -> list[list[int]]:
    """Which regressions to train together: those that share most of their vectors, for each product reads all of a bundle's.

    Args:
        rows: The vectors that each is trained on.

    Example:
        >>> bundles([np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.array([0, 1, 2, 4])])
        [[0, 2], [1]]
    """
    found: list[list[int]] = []
    unions: list[NDArray[np.int64]] = []
    for number, own in enumerate(rows):
        for place, members in enumerate(found):
            union = np.union1d(unions[place], own)
            mean_size = (own.size + sum(rows[other].size for other in members)) / (len(members) + 1)
            if union.size <= 1.5 * mean_size:
                members.append(number)
                unions[place] = union
                break
        else:
            found.append([number])
            unions.append(own)
    return found
