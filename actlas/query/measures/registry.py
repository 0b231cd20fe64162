"""Every measure by its name on the command line. Pure data: `actlas measure` and docs/measures.md are made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from actlas.allowed import Count, Names, Positive, PositiveNumber, Quantile, Range, Seed, Share
from actlas.query.probing.settings import Values

#: How the vectors of a text's tokens become one: weighted by their places in the text, alike, or the text's last one alone.
Weighting = Literal["position", "mean", "last"]
#: What tells a neuron's texts apart: either of what `discrimination` gives.
Contrasting = Literal["d_prime", "point_biserial"]
#: Monolinguality of values as they are, or over the standard deviation of the neuron.
Scale = Literal["values", "deviations"]
#: How the range of a neuron's values is told.
Bounds = Literal["normal", "quantile"]
#: Share of the values below a range, and as many above it.
Tail = Annotated[float, Range(0, 0.49)]
#: Bins of a neuron's values.
Bins = Annotated[int, Range(2, 1024)]

#: How mutual information is estimated: from bins of values, or from a normal distribution on either side.
Estimate = Literal["bins", "gaussian"]
#: What the classes are whose means are told: languages, concepts over all languages, or concepts of each language.
Classes = Literal["languages", "concepts", "both"]

#: What representations differ in that are compared, all else equal.
Between = Literal["layers", "checkpoints", "languages", "halves", "rest"]


@dataclass(frozen=True)
class Option:
    """One option that a measure takes besides the store, its checkpoints and its sites.

    Attributes:
        name: The parameter of the function.
        kind: Its type, less None.
        default: Its default.
        help: What it says, in a few words.
        flag: Without the dashes; None for the name itself.
        unset: What holds without it, where the default does not say it.
        is_limit: Whether it only says how many of the best are told: the answer for more holds that for fewer.
    """

    name: str
    kind: Any
    default: Any
    help: str
    flag: str | None = None
    unset: str | None = None
    is_limit: bool = False

    @property
    def dashed(self) -> str:
        """Its flag, without the two dashes before it."""
        return (self.flag or self.name).replace("_", "-")


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: As in ``actlas measure NAME``.
        function: Its name in `actlas.query`, and that of the table that its answer is kept as.
        about: What it tells, in one line.
        source: Where it is published.
        options: In the order of the help.
        differs: Where it is not what is published there, in whole sentences.
    """

    name: str
    function: str
    about: str
    source: str
    options: tuple[Option, ...] = ()
    differs: str = ""


_SEED = Option("seed", Seed, 0, "of the draws")
_LANGUAGES = (
    Option("languages", Names, None, "repeat for more", "language", "all"),
    Option("pivot", str, None, "only pairs with this language", unset="all pairs"),
    Option(
        "values",
        Values,
        None,
        "average token vectors of each text, or take its pooled values",
        unset="tokens where they are kept",
    ),
    Option("weighting", Weighting, "position", "of tokens: by position in the text, alike, or the last one alone"),
)
_REPRESENTATIONS = (
    Option("between", Between, "layers", "what is compared, all else equal"),
    Option("languages", Names, None, "whose texts; repeat for more", "language", "all"),
    Option("neurons", Path, None, "Parquet, CSV or JSONL with columns site, layer, neuron: these alone", unset="all"),
    *_LANGUAGES[2:],
    Option("n_texts", Positive, 500, "texts, or meanings, at most", "texts"),
    _SEED,
)
_OF_NEURONS = (
    Option("languages", Names, None, "repeat for more", "language", "all"),
    Option("concepts", Names, None, "repeat for more", "concept", "all"),
    Option("n", Positive, 50, "neurons of each language and concept", "neurons", is_limit=True),
)
_INFORMATION = (
    Option("estimate", Estimate, "bins", "bins of values, or a normal distribution on either side"),
    Option("n_bins", Bins, 8, "of equal size, of the values of a neuron", "bins"),
)

MEASURES: tuple[Measure, ...] = (
    Measure(
        "effective-rank",
        "effective_rank",
        "how many directions token vectors use, by layer and language",
        "Roy and Vetterli 2007",
        (
            Option("n_vectors", Count, None, "of each language", "vectors", "as many as the one with the fewest has"),
            Option("n_splits", Count, 10, "halvings for the interval; 0: none", "splits"),
            _SEED,
        ),
        differs=(
            "Entropy is that of the eigenvalues of the covariance; the paper takes singular values. The interval is not "
            "in the paper."
        ),
    ),
    Measure(
        "class-means",
        "class_means",
        "mean value of every neuron over the texts of a language, of a concept, or of a concept in a language",
        "Libovický et al. 2020",
        (*_OF_NEURONS[:2], Option("of", Classes, "languages", "what the classes are")),
        differs="Means are of pooled values of texts, however they were pooled.",
    ),
    Measure(
        "class-distances",
        "class_distances",
        "cosine and distance of the means of languages, and of the directions that concepts have in them, beside chance",
        "Libovický et al. 2020",
        _OF_NEURONS[:2],
        differs="The distance that chance gives, and cosines with other concepts, are not in the papers.",
    ),
    Measure(
        "mexa",
        "mexa",
        "share of texts whose translation is their mutual nearest text, by layer and pair of languages",
        "Kargaran et al. 2024",
        _LANGUAGES,
        differs=(
            "As the published code, which rounds vectors to float16 and takes 100 texts; here all texts take part. "
            "`expected` is not in the paper."
        ),
    ),
    Measure(
        "translation-similarity",
        "translation_similarity",
        "cosine of translations beside that of other texts, by layer and pair of languages",
        "Li et al. 2024",
        _LANGUAGES,
        differs="The interval over meanings is not in the paper.",
    ),
    Measure(
        "procrustes",
        "procrustes",
        "whether a rotation takes one language to another, on meanings that it was not fitted to",
        "Schönemann 1966",
        (*_LANGUAGES, _SEED),
        differs=(
            "The rotation is fitted to one half of the meanings and told from the other, and turns only what these determine."
        ),
    ),
    Measure(
        "cka",
        "cka",
        "whether layers, checkpoints or languages find the same texts alike",
        "Kornblith et al. 2019",
        _REPRESENTATIONS,
        differs="HSIC is estimated without bias; the paper takes the estimate that rises with the number of neurons.",
    ),
    Measure(
        "svcca",
        "svcca",
        "how far the main directions of layers, checkpoints or languages agree",
        "Raghu et al. 2017",
        _REPRESENTATIONS,
        differs=(
            "All correlations are averaged, as in the paper; the authors' package averages the largest that make up 98 % "
            "of their sum."
        ),
    ),
    Measure(
        "neuron-correlation",
        "neuron_correlation",
        "correlation of every neuron with itself one checkpoint later, and with its best match there",
        "Li et al. 2015",
        (
            Option("best", bool, False, "look for the best match in the layer, too"),
            Option("n_texts", Positive, 2000, "at most", "texts"),
            _SEED,
        ),
        differs="The paper compares nets of different starts, and also matches neurons one to one.",
    ),
    Measure(
        "discrimination",
        "discrimination",
        "neurons that best tell a concept, or a language, from the rest: d' and point-biserial correlation",
        "Tate 1954 and Green and Swets 1966",
        (*_OF_NEURONS, Option("by", Contrasting, "d_prime", "what ranks the neurons")),
    ),
    Measure(
        "monolinguality",
        "monolinguality",
        "neurons whose mean in one language is furthest above their means in the others",
        "Deng et al. 2025",
        (
            _OF_NEURONS[0],
            Option("n", Positive, 50, "neurons of each language", "neurons", is_limit=True),
            Option("of", Scale, "values", "values as they are, or over the standard deviation of the neuron"),
        ),
        differs=(
            "The published code averages tokens, but for the first, of features of sparse autoencoders, and ranks every "
            "layer by itself."
        ),
    ),
    Measure(
        "neuron-ranges",
        "neuron_ranges",
        "ranges of a neuron's values with and without a concept, least overlap first (NeuronLens)",
        "Haider et al. 2025",
        (
            *_OF_NEURONS,
            Option("bounds", Bounds, "normal", "mean and standard deviations, or quantiles"),
            Option("width", PositiveNumber, 2.5, "standard deviations on either side, of normal bounds"),
            Option("tail", Tail, 0.01, "share left out on either side, of quantile bounds"),
        ),
        differs=(
            "Ranges are those of the published code, whose default width is 2; it chooses neurons by their mean absolute "
            "value where the concept is, and here they are ranked by how far their ranges are apart."
        ),
    ),
    Measure(
        "mutual-information",
        "mutual_information",
        "neurons whose value tells most about a concept or language",
        "Torroba Hennigen et al. 2020",
        (*_OF_NEURONS, *_INFORMATION),
        differs=(
            "The published code chooses dimensions one after another, so that none is told twice; its Gaussians have a "
            "prior and are told from held-out words. Here each neuron is told alone, from the texts that fit it; bins are "
            "not in the paper."
        ),
    ),
    Measure(
        "dimension-overlap",
        "dimension_overlap",
        "how many of the neurons that tell most about a concept two languages share, beside chance",
        "Wang et al. 2024",
        (*_OF_NEURONS[:2], replace(_OF_NEURONS[2], is_limit=False), *_INFORMATION),
        differs=(
            "The published code chooses among the dimensions of one layer, and corrects p-values from random draws for "
            "their number; here sites and layers are ranked together, p-values are exact, and none is corrected."
        ),
    ),
    Measure(
        "p90-selection",
        "p90_selection",
        "neurons above their own 90th percentile mostly where a concept or language is",
        "Mondal et al. 2025",
        (
            *_OF_NEURONS,
            Option("bar_quantile", Quantile, 0.9, "the bar, a quantile of the values of a neuron"),
            Option("min_share", Share, 0.5, "of what is above the bar, each side weighted alike"),
        ),
        differs=(
            "The published code takes the percentile of each language by itself, which tokens of every language pass "
            "alike; here one percentile serves both sides."
        ),
    ),
)
