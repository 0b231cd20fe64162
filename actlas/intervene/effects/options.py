"""What a measurement of effects does; the flags of ``actlas effects`` are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from actlas.allowed import Count, Positive, PositiveNumber, Quantile, Seed, Share, why_not
from actlas.errors import QueryError
from actlas.names import ALL, EXPERTS, LAPE, Intervention
from actlas.options import about


@dataclass(frozen=True, kw_only=True)
class EffectOptions:
    """Which sets are acted on, how, and on which texts the loss is taken.

    Attributes:
        sources: "lape", "experts", "all" (every neuron of the MLPs, which has no random sets beside it), names of imported sets,
            or files that `read_neurons` reads.
        interventions: What is done to each set.
        languages: Whose sets; None for all.
        concepts: Of experts; None for all.
        k: Of experts, and of a file with a column ap: how many.
        share: Of LAPE's sets, see `language_neurons`.
        bar_quantile: Likewise.
        any_weights: Take files that name no weights, or others.
        text_languages: Of the texts; None for all.
        n_texts: Texts per language at most.
        split: Of which split of the corpus; None for all.
        n_random: Random sets beside each set.
        seed: Of the texts and of the random sets.
        factor: Of "amplify".
        shift: Of "difference": what the difference is multiplied by.

    Raises:
        QueryError: If a value is not one of those allowed.

    Example:
        >>> EffectOptions(n_random=3).interventions
        ('zero',)
    """

    sources: Sequence[str] = field(
        default=(LAPE,),
        metadata=about(
            f"sets to act on: {LAPE}, {EXPERTS}, {ALL} (every neuron of the MLPs), the name of imported sets, or a file (.csv, "
            ".tsv, .parquet, .safetensors)",
            flags=("--set",),
            metavar="SOURCE",
            repeats=True,
            unset=LAPE,
        ),
    )
    interventions: Sequence[Intervention] = field(
        default=("zero",),
        metadata=about(
            "what is done to each set: zero (deactivate); mean (set to the mean over languages); difference (add what makes the "
            "mean of a text's language that of the set's); amplify; only (zero the sets of all other languages); damp (AurA)",
            metavar="WHAT",
        ),
    )
    languages: Sequence[str] | None = field(
        default=None, metadata=about("whose sets", flags=("--language",), metavar="NAME", repeats=True, unset="all")
    )
    concepts: Sequence[str] | None = field(
        default=None, metadata=about("of experts", flags=("--concept",), metavar="NAME", repeats=True, unset="all")
    )
    k: Positive = field(default=500, metadata=about("experts per language and concept"))
    share: Share = field(default=0.01, metadata=about("share of the neurons that LAPE selects"))
    bar_quantile: Quantile = field(
        default=0.95, metadata=about("quantile of all probabilities that a neuron must exceed for LAPE")
    )
    any_weights: bool = field(default=False, metadata=about("take a file that names no weights, or others than the model's"))
    text_languages: Sequence[str] | None = field(
        default=None,
        metadata=about("languages of the texts", flags=("--text-language",), metavar="NAME", repeats=True, unset="all"),
    )
    n_texts: Positive = field(default=64, metadata=about("texts per language at most", flags=("--texts",)))
    split: str | None = field(default=None, metadata=about("take texts of this split", unset="of all"))
    n_random: Count = field(default=19, metadata=about("random sets beside each set", flags=("--random",)))
    seed: Seed = field(default=0, metadata=about("of the texts and the random sets"))
    factor: PositiveNumber = field(default=2.0, metadata=about("what amplify multiplies by"))
    shift: PositiveNumber = field(default=1.0, metadata=about("what the difference of means is multiplied by"))

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list):
                object.__setattr__(self, each.name, tuple(value))
            reason = why_not(each.name, value, hints[each.name])
            if reason is not None:
                raise QueryError(reason)
        for name in ("sources", "interventions"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise QueryError(f"{name} should name each once; they are {', '.join(values)}")


def settings_of(options: EffectOptions) -> dict[str, Any]:
    """Options as the settings of an answer, in plain types."""
    plain = {each.name: getattr(options, each.name) for each in fields(options)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
