"""What is done to a set of neurons, and to random sets like it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.intervene.sets import NeuronSet
from actlas.names import ALL

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel

#: Those for which means over tokens are taken.
NEED_MEANS = ("mean", "difference")
_PLACE = ["site", "layer", "neuron"]

#: language -> site -> mean over tokens ``"layers neurons"``.
Means = Mapping[str, Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Arm:
    """One set, or one random set in its place, and what is done to it.

    Attributes:
        neurons: The set; for a random one, with the neurons that were drawn.
        intervention: One of `names.INTERVENTIONS`.
        draw: 0 for the set itself, else the number of the random set.
        others: For "only": the neurons of all other languages' sets, of the same draw.
        strength: Of "amplify": the factor; of "difference": what the difference is multiplied by.
    """

    neurons: NeuronSet
    intervention: str
    draw: int = 0
    others: pl.DataFrame | None = None
    strength: float = 1.0

    def acting(self, live: LiveModel, language: str, means: Means) -> AbstractContextManager[object]:
        """The model with this done to it, for texts of a language.

        Args:
            live: The model.
            language: Of the texts; only "difference" depends on it.
            means: Of all languages.
        """
        from actlas.intervene.steering import ablate, steer

        frame = self.neurons.frame if self.others is None else self.others
        if self.intervention == "damp":
            return ablate(live, frame.select(*_PLACE, "auroc"), how="damp")
        if self.intervention == "mean":
            return ablate(live, _with(frame, average(means)), how="mean")
        if self.intervention == "difference":
            own, there = means.get(self.neurons.language), means[language]
            assert own is not None, "checked before anything is measured"
            shift = {site: self.strength * (own[site] - there[site]) for site in own}
            return steer(live, _with(frame, shift), how="add")
        if self.intervention == "amplify":
            return steer(live, frame.select(*_PLACE, pl.lit(self.strength, pl.Float32).alias("value")), how="scale")
        return ablate(live, frame.select(_PLACE), how="zero")


def average(means: Means) -> dict[str, NDArray[np.float64]]:
    """Mean over languages, each counting as much as any other."""
    first = next(iter(means.values()))
    return {site: np.mean([grids[site] for grids in means.values()], axis=0) for site in first}


def _with(frame: pl.DataFrame, grids: Mapping[str, NDArray[np.float64]]) -> pl.DataFrame:
    """The neurons of a frame with the numbers that grids have for them."""
    parts = []
    for group in frame.partition_by("site", maintain_order=True):
        values = grids[group["site"][0]][group["layer"].to_numpy(), group["neuron"].to_numpy()]
        parts.append(group.select(_PLACE).with_columns(pl.Series("value", values, pl.Float32)))
    return pl.concat(parts)


def random_set(one: NeuronSet, widths: Mapping[str, Sequence[int]], seed: int, draw: int) -> NeuronSet:
    """As many other neurons in the same layers of the same sites, each with the value and auroc of the one that it stands for.

    Where a set has more than half of a layer's neurons, there are too few others, and all of them can be drawn.

    Args:
        one: The set.
        widths: site -> neurons of every layer.
        seed: With the number of the draw and the name of the set, what is drawn follows from it.
        draw: From 1.
    """
    rng = np.random.default_rng([seed, draw, zlib.crc32(one.name.encode())])
    parts = []
    for group in one.frame.partition_by("site", "layer", maintain_order=True):
        every = np.arange(widths[group["site"][0]][group["layer"][0]])
        others = np.setdiff1d(every, group["neuron"].to_numpy())
        drawn = rng.choice(others if len(others) >= group.height else every, group.height, replace=False)
        parts.append(group.with_columns(pl.Series("neuron", drawn, pl.Int32)))
    return replace(one, frame=pl.concat(parts) if parts else one.frame)


def arms(
    sets: Sequence[NeuronSet],
    interventions: Sequence[str],
    widths: Mapping[str, Sequence[int]],
    *,
    n_random: int,
    seed: int,
    strengths: Mapping[str, float],
) -> Iterator[Arm]:
    """Every set under every intervention, each followed by the random sets in its place; all neurons have none."""
    drawn = [list(sets), *([random_set(one, widths, seed, draw) for one in sets] for draw in range(1, n_random + 1))]
    for number in range(len(sets)):
        for intervention in interventions:
            for draw, those in enumerate(drawn[:1] if sets[number].source == ALL else drawn):
                others = _others(those, number) if intervention == "only" else None
                yield Arm(those[number], intervention, draw, others, strengths.get(intervention, 1.0))


def _others(sets: Sequence[NeuronSet], number: int) -> pl.DataFrame:
    """Neurons of the sets of all other languages, of the same source and concept, that are not of this one's."""
    own = sets[number]
    others = [
        one.frame.select(_PLACE)
        for one in sets
        if (one.source, one.concept) == (own.source, own.concept) and one.language != own.language
    ]
    if not others:
        return own.frame.select(_PLACE).clear()
    return pl.concat(others).unique(maintain_order=True).join(own.frame, on=_PLACE, how="anti", maintain_order="left")
