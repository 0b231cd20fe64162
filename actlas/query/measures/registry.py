"""Every measure by its name on the command line. Pure data: `actlas measure` and docs/measures.md are made of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option that a measure takes besides the store, its checkpoints and its sites.

    Attributes:
        name: The parameter of the function, whose type and default are the option's.
        help: What it says, in a few words.
        flag: Without the dashes; None for the name itself.
        unset: What holds without it, where the default does not say it.
    """

    name: str
    help: str
    flag: str | None = None
    unset: str | None = None


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: As in ``actlas measure NAME``.
        function: Its name in `actlas.query`.
        about: What it tells, in one line.
        source: Where it is published.
        options: In the order of the help.
        is_kept: Whether the answer is a table that the store can keep.
    """

    name: str
    function: str
    about: str
    source: str
    options: tuple[Option, ...] = ()
    is_kept: bool = False


_SEED = Option("seed", "of the draws")

MEASURES: tuple[Measure, ...] = (
    Measure(
        "effective-rank",
        "effective_rank",
        "how many directions token vectors use, by layer and language",
        "Roy and Vetterli 2007",
        (
            Option("n_vectors", "of each language", "vectors", "as many as the one with the fewest has"),
            Option("n_splits", "halvings for the interval; 0: none", "splits"),
            _SEED,
        ),
        is_kept=True,
    ),
)
