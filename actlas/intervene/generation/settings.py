"""What decides the texts of a steering run: which neurons are forced, and how, and how tokens are drawn. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Count, Number, Positive, Range, Seed, Share, why_not
from actlas.errors import OptionError
from actlas.intervene.foreign import file_digest
from actlas.names import How, OnValue, Position

Temperature = Annotated[float, Range(0)]


def _check_fields(settings: Any) -> None:
    """Refuse values that annotations do not allow."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        reason = why_not(name, getattr(settings, name), hint)
        if reason is not None:
            raise OptionError(reason)


@dataclass(frozen=True)
class Forcing:
    """Which neurons are forced, and to what.

    Attributes:
        k: How many.
        on_value: What they are set to.
        sites: Ranked together; None for the linear ones that are scored.
        skip: Of arm `next`: how many of the best are left out; None for k.
        other: Of arm `other`: whose experts; None for the concept after the one that is steered.
        seed: Of arm `random`.
        how: As in `steer`.
        position: As in `steer`.
        strength: As in `steer`.

    Raises:
        OptionError: If there is no such value.

    Source: Suau et al. 2022 for the median; K = 500 and the controls after arXiv 2506.01629.

    Example:
        >>> Forcing(k=50, on_value="p90").how
        'set'
    """

    k: Positive = 500
    on_value: OnValue = "median"
    sites: tuple[str, ...] | None = None
    skip: Count | None = None
    other: str | None = None
    seed: Seed = 0
    how: How = "set"
    position: Position = "all"
    strength: Number = 1.0

    def __post_init__(self) -> None:
        _check_fields(self)


@dataclass(frozen=True)
class ForeignNeurons:
    """A file of neurons and values that are forced in arm `file`.

    Attributes:
        path: A file that `read_neurons` takes. Where it has columns language or concept, those rows are forced that are of what
            is steered; otherwise all of it.
        any_weights: Take a file that names no weights, or others.
        value: The column that holds the values; None for the usual one.

    Example:
        >>> ForeignNeurons(Path("mine.csv"), any_weights=True).value is None
        True
    """

    path: Path
    any_weights: bool = False
    value: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What decides texts: the bytes of the file, not where it is.

        Raises:
            NeuronSetError: If it cannot be read, or does not name the languages of its sets.
        """
        return {"digest": file_digest(self.path), "any_weights": self.any_weights, "value": self.value}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Logits are divided by it; 0 takes the likeliest token.
        top_k: Draw among this many likeliest tokens; 0 for all.
        top_p: Draw among the fewest likeliest tokens that have this share of the probability together.
        max_new_tokens: Where a text ends that does not end by itself.

    Raises:
        OptionError: If a number is not allowed.

    Source: Temperature 0.8 and 64 tokens after Kojima et al. 2024; arXiv 2506.01629 does not say what it drew with.

    Example:
        >>> Sampling(top_k=10)
        Sampling(temperature=0.8, top_k=10, top_p=1.0, max_new_tokens=64)
    """

    temperature: Temperature = 0.8
    top_k: Count = 0
    top_p: Share = 1.0
    max_new_tokens: Positive = 64

    def __post_init__(self) -> None:
        _check_fields(self)


@dataclass(frozen=True)
class TextPlan:
    """One text to write.

    Attributes:
        prompt: What it goes on from; None for the start token alone.
        seed: Of its draws.
        frame: Neurons that are forced meanwhile, as `steer` takes them; None for none.
    """

    prompt: str | None
    seed: int
    frame: pl.DataFrame | None = None

    def draws(self, n: int) -> NDArray[np.float64]:
        """Its n numbers from 0 to 1, one per token."""
        return np.random.default_rng([self.seed, *(self.prompt or "").encode()]).random(n)
