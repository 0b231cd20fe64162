"""Expert neurons: the k best by average precision, over all layers and linear sites together."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.names import SITES
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, Steps
from actlas.query.choices import Ranking, check_k, chosen_checkpoints, chosen_labels, linear_sites
from actlas.query.keep import Keeper, KeptPart, kept_answer
from actlas.query.neurons import Indices, NeuronAxis, is_rankable, names_at
from actlas.query.rankable import Rankable, ap_cubes, guess_score, kept_rankable
from actlas.query.ranks import n_scores, ranked_scores, scores_of
from actlas.query.schema import LANGUAGES_PER_WORD, TABLES
from actlas.store.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExpertSets:
    """The experts of one checkpoint.

    Attributes:
        checkpoint: Its id.
        axis: The neurons that were ranked.
        languages: Names along the first axis of `neurons`.
        concepts: Names along the second.
        neurons: ``"languages concepts k"``: indices into `axis`, best first; -1 throughout where the scores are null, or
            fewer than k neurons can be ranked.
        ap: Their average precision, same shape.
    """

    checkpoint: str
    axis: NeuronAxis
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    neurons: Indices
    ap: NDArray[np.float64]

    @property
    def k(self) -> int:
        return int(self.neurons.shape[2])

    @property
    def has_experts(self) -> NDArray[np.bool_]:
        """Pairs ``"languages concepts"`` that have experts."""
        return np.asarray(self.neurons[:, :, 0] >= 0)

    def best(self, k: int) -> ExpertSets:
        """The same with the k best alone."""
        return dataclasses.replace(self, neurons=self.neurons[:, :, :k], ap=self.ap[:, :, :k])

    def frame(self) -> pl.DataFrame:
        """Columns checkpoint, language, concept, rank, site, layer, neuron, ap; one row per expert."""
        language_of, concept_of = np.nonzero(self.has_experts)
        index = self.neurons[language_of, concept_of].reshape(-1)
        return pl.DataFrame(
            {
                "checkpoint": pl.repeat(self.checkpoint, index.size, dtype=pl.String, eager=True),
                "language": names_at(self.languages, np.repeat(language_of, self.k)),
                "concept": names_at(self.concepts, np.repeat(concept_of, self.k)),
                "rank": pl.Series(np.tile(np.arange(1, self.k + 1), language_of.size), dtype=pl.Int32),
                **self.axis.columns(index),
                "ap": self.ap[language_of, concept_of].reshape(-1),
            }
        )


def expert_sets(store: Store, checkpoint: str, ranking: Ranking, *, skip: int = 0) -> ExpertSets:
    """The experts of one checkpoint as arrays: out of the kept table where it reaches that far, otherwise ranked.

    Args:
        store: With scores.
        checkpoint: Which.
        ranking: Which experts.
        skip: Leave out this many best ones first.

    Raises:
        QueryError: If there are not that many neurons.
        ScoresNotFound: If a site is not scored.
    """
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis, skip)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    kept = _kept_sets(store, checkpoint, axis, languages, concepts, ranking.k, skip)
    if kept is not None:
        return kept
    neurons, ap, rankable = ranked_scores(store, checkpoint, axis, languages, concepts, ranking.k + skip)
    _tell_too_few(checkpoint, ranking.k + skip, axis, languages, concepts, rankable)
    return _sets(checkpoint, axis, languages, concepts, neurons[:, :, skip:], ap[:, :, skip:])


def ranking_steps(
    store: Store, checkpoints: Sequence[str], ranking: Ranking, progress: StepProgress | None, n_passes: int = 1
) -> Steps:
    """Counts the scores of all checkpoints, kept or ranked, once for every pass over them."""
    labels = chosen_labels(store, ranking.languages, ranking.concepts)
    axes = (NeuronAxis.of(store, name, linear_sites(store, name, ranking.sites)) for name in checkpoints)
    return Steps(progress, n_passes * sum(n_scores(axis, *labels) for axis in axes))


def _kept_sets(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    languages: Sequence[str],
    concepts: Sequence[str],
    k: int,
    skip: int = 0,
) -> ExpertSets | None:
    """Experts out of the kept table; None where it does not reach that far."""
    part = kept_experts(store, checkpoint, {"k": k + skip, "sites": list(axis.sites)})
    if part is None:
        return None
    columns = ("language", "concept", "rank", "site", "layer", "neuron", "ap")
    rows = part.scan().filter(pl.col("rank") > skip, pl.col("rank") <= k + skip).select(columns)
    return sets_of_rows(rows.collect(), checkpoint, axis, languages, concepts, k)


def _sets(
    checkpoint: str,
    axis: NeuronAxis,
    languages: tuple[str, ...],
    concepts: tuple[str, ...],
    neurons: Indices,
    ap: NDArray[np.float64],
) -> ExpertSets:
    """What a ranking found; a pair with fewer neurons than were asked for has no experts."""
    is_short = neurons[:, :, -1] < 0
    neurons[is_short], ap[is_short] = -1, np.nan
    return ExpertSets(checkpoint, axis, languages, concepts, neurons, ap)


def ranked_experts(keeper: Keeper, checkpoint: str, ranking: Ranking, steps: Steps | None = None) -> tuple[ExpertSets, Rankable]:
    """Experts, and how many neurons they were chosen from: out of the kept tables, otherwise by one pass over the scores.

    A pass gives all that is made of ranks, whichever question asks for it, so all of that is kept where the question keeps its
    answer: tables `experts`, `expert_mask`, `layer_histogram` and `rankable`.
    """
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    sets = _kept_sets(store, checkpoint, axis, languages, concepts, ranking.k)
    rankable = kept_rankable(store, checkpoint, axis, languages, concepts)
    if sets is not None and rankable is not None:
        keeper.used("experts", checkpoint)
        if steps is not None:
            steps.add(n_scores(axis, languages, concepts), checkpoint)
        return sets, rankable
    sets, rankable, _ = _rank_and_keep(keeper, checkpoint, axis, ranking, steps, is_answer=False)
    return sets.best(ranking.k), rankable


def _rank_and_keep(
    keeper: Keeper, checkpoint: str, axis: NeuronAxis, ranking: Ranking, steps: Steps | None, *, is_answer: bool
) -> tuple[ExpertSets, Rankable, pl.DataFrame | None]:
    """The pass, and what is made of it, and table `experts` if that is the answer or is kept.

    `is_answer`: whether experts are what was asked for; only then do they take the place of those with other sites.
    """
    store = keeper.store
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "n_neurons": axis.n_neurons}
    is_kept = keeper.is_on and ranking.is_whole
    if is_kept:
        settings["k"] = keeper.largest("k", "experts", checkpoint, settings)
    neurons, ap, rankable = ranked_scores(store, checkpoint, axis, languages, concepts, settings["k"], steps)
    _tell_too_few(checkpoint, settings["k"], axis, languages, concepts, rankable)
    sets = _sets(checkpoint, axis, languages, concepts, neurons, ap)
    frame = _with_values(store, sets) if is_answer or is_kept else None
    if is_kept and frame is not None:
        tables = {
            "experts": frame,
            "expert_mask": expert_mask(sets),
            "layer_histogram": layer_histogram(sets),
            "rankable": rankable.frame(checkpoint, axis, languages, concepts),
        }
        keeper.put(checkpoint, tables, settings, is_answer=is_answer)
    return sets, rankable, frame


def kept_experts(store: Store, checkpoint: str, settings: Mapping[str, Any]) -> KeptPart | None:
    """The part of table `experts` that answers, as `kept_answer`; one of an earlier version that ranks neurons that say no more
    than a guess does not."""
    part = kept_answer(store, "experts", checkpoint, settings)
    return part if part is not None and ranks_no_guess(store, part) else None


def ranks_no_guess(store: Store, part: KeptPart) -> bool:
    """Whether no expert of a kept table has the score of a neuron with one value for all texts."""
    languages, concepts = store.corpus.languages, store.corpus.concepts
    guesses = pl.DataFrame(
        {
            "language": np.repeat(languages, len(concepts)),
            "concept": np.tile(concepts, len(languages)),
            "guess": guess_score(store, languages, concepts).reshape(-1),
        }
    )
    # the last rank has the score nearest to a guess, unless it is below
    rows = part.scan().select("language", "concept", "ap").collect().join(guesses, on=["language", "concept"])
    return bool(is_rankable(rows["ap"].to_numpy(), rows["guess"].to_numpy()).all())


def _tell_too_few(
    checkpoint: str, k: int, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str], rankable: Rankable
) -> None:
    """Warn of the concepts for which a language has no experts because most of its neurons tell no texts apart."""
    n_rankable = np.einsum("cii->ci", rankable.total)
    too_few = np.argwhere((n_rankable > 0) & (n_rankable < k))
    if too_few.size:
        concept, language = too_few[np.argmin(n_rankable[tuple(too_few.T)])]
        _LOG.warning(
            "%s has no experts for %d pairs of a language and a concept: fewer than k = %d of its %s neurons tell texts apart "
            "there (fewest: %s, %s: %s); ask for a smaller k",
            checkpoint, len(too_few), k, f"{axis.n_neurons:,}", languages[language], concepts[concept],
            f"{n_rankable[concept, language]:,}",
        )  # fmt: skip


def sets_of_rows(
    rows: pl.DataFrame, checkpoint: str, axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str], k: int
) -> ExpertSets:
    """Experts out of a table of them.

    Args:
        rows: Columns language, concept, site, layer, neuron, ap: k rows in order of rank for every language and concept that
            has experts.
        checkpoint: Whose they are.
        axis: The neurons that were ranked.
        languages: Which languages to take.
        concepts: Which concepts to take.
        k: Rows per language and concept.
    """
    rows = rows.filter(pl.col("language").is_in(languages), pl.col("concept").is_in(concepts))
    place = pl.DataFrame(
        {
            "site": pl.Series(axis.sites, dtype=pl.String),
            "start": axis.starts[:-1],
            "width": [n_neurons for _, n_neurons in axis.shapes],
        }
    )
    placed = rows.join(place, on="site", how="left", maintain_order="left")
    index = placed.select(pl.col("start") + pl.col("layer").cast(pl.Int64) * pl.col("width") + pl.col("neuron")).to_series()
    pairs = rows.gather_every(k)
    language_of = pairs["language"].replace_strict(languages, range(len(languages)), return_dtype=pl.Int64).to_numpy()
    concept_of = pairs["concept"].replace_strict(concepts, range(len(concepts)), return_dtype=pl.Int64).to_numpy()
    shape = (len(languages), len(concepts), k)
    neurons, ap = np.full(shape, -1, dtype=np.int64), np.full(shape, np.nan)
    neurons[language_of, concept_of] = index.to_numpy().reshape(-1, k)
    ap[language_of, concept_of] = rows["ap"].to_numpy().reshape(-1, k)
    return ExpertSets(checkpoint, axis, tuple(languages), tuple(concepts), neurons, ap)


@checks_arguments(QueryError)
def top_experts(
    store: Atlas | str | Path,
    *,
    k: Positive = 500,
    checkpoints: Names | None = None,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The k best neurons of every concept, language and checkpoint by average precision, all layers and linear sites together.

    Equal scores are ranked by (site, layer, neuron). A neuron with one value for all texts is no expert: it scores what a guess
    does, the share of positives, and neurons with that score are not ranked. A concept without positives or without
    negatives in a language has no experts there, nor one with fewer than k neurons that can be ranked, of which a warning tells.

    Args:
        store: With scores (`score_neurons`), or the path of such a store.
        k: How many. A kept table holds the largest k that was asked for, and answers every smaller one.
        checkpoints: None for all.
        languages: None for all.
        concepts: None for all.
        sites: Sites ranked together; None for the linear ones that are scored.
        progress: Called while scores are ranked, which they are checkpoint by checkpoint: what was stopped goes on with the next.
        keep: Whether an answer for all languages and concepts is kept as tables `experts`, `expert_mask`, `layer_histogram` and
            `rankable`.
            None: if the store was opened with mode "a". A path is opened for writing only where this is True.
        replace: Put the answer in the place of a kept one with other sites, instead of beside it.

    Returns:
        Columns of table `experts`: checkpoint, language, concept, rank, site, layer, neuron, ap, median, p90. The
        last two, null where they were not scored, are what a forced neuron is set to.

    Raises:
        ScoresNotFound: If a checkpoint or site was not scored.
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If k is more than there are neurons, or a language or concept is unknown, or part of an answer is to be kept.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Suau et al. 2022; k = 500 after arXiv 2506.01629.

    Example:
        >>> best = top_experts(store, k=3, checkpoints=["planted-step64"], languages=["en"], concepts=["water"])
        >>> best.select("rank", "site", "layer", "neuron").rows()
        [(1, 'attn_out', 1, 11), (2, 'mlp_pre', 1, 1), (3, 'mlp_pre', 1, 10)]
    """
    store, ranking = as_atlas(store, "a" if keep else "r"), Ranking(k, sites, languages, concepts)
    answers = [TABLES["experts"].empty()]
    names = chosen_checkpoints(store, checkpoints)
    with Keeper(store, keep, replace) as keeper:
        keeper.only_if(ranking.is_whole)
        steps = ranking_steps(store, names, ranking, progress)
        answers += [_top_experts(keeper, checkpoint, ranking, steps) for checkpoint in names]
    return pl.concat(answers)


def _top_experts(keeper: Keeper, checkpoint: str, ranking: Ranking, steps: Steps) -> pl.DataFrame:
    """Table `experts` of one checkpoint, kept or computed, and kept then together with what is made of it."""
    store = keeper.store
    axis = NeuronAxis.of(store, checkpoint, linear_sites(store, checkpoint, ranking.sites))
    check_k(ranking.k, axis)
    languages, concepts = chosen_labels(store, ranking.languages, ranking.concepts)
    settings: dict[str, Any] = {"k": ranking.k, "sites": list(axis.sites), "n_neurons": axis.n_neurons}
    part = keeper.find("experts", checkpoint, settings, along=("expert_mask", "layer_histogram", "rankable"))
    is_complete = not keeper.is_on or kept_answer(store, "rankable", checkpoint, settings) is not None
    if part is not None and is_complete and ranks_no_guess(store, part):
        steps.add(n_scores(axis, languages, concepts), checkpoint)
        rows = part.scan().filter(pl.col("rank") <= ranking.k)
        if not ranking.is_whole:
            rows = rows.filter(pl.col("language").is_in(languages), pl.col("concept").is_in(concepts))
        return TABLES["experts"].conform(rows.collect())
    _, _, frame = _rank_and_keep(keeper, checkpoint, axis, ranking, steps, is_answer=True)
    assert frame is not None, "it was asked for"
    return frame.filter(pl.col("rank") <= ranking.k)


def _with_values(store: Store, sets: ExpertSets) -> pl.DataFrame:
    """The table `experts`: with the values that a forced neuron is set to."""
    cubes = [store.scores(sets.checkpoint, site) for site in sets.axis.sites]
    frame = sets.frame()
    for stat in ("median", "p90"):
        if all(stat in cube.stats for cube in cubes):
            values = scores_of(cubes, sets.axis, stat, sets.languages, sets.concepts, sets.neurons)[sets.has_experts]
            frame = frame.with_columns(pl.Series(stat, values.reshape(-1)).fill_nan(None))
        else:
            frame = frame.with_columns(pl.lit(None).alias(stat))
    return TABLES["experts"].conform(frame)


def control_experts(
    store: Atlas | str | Path,
    checkpoint: str,
    *,
    k: int = 500,
    kind: str = "random",
    skip: int = 500,
    seed: int = 0,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Neurons to hold experts against: k at random, or the k that come after the `skip` best.

    Args:
        store: With scores.
        checkpoint: Which.
        k: How many.
        kind: "random" (a draw of its own for each language and concept, as `random_experts` makes it), or "next".
        skip: For "next": how many best ones are left out.
        seed: For "random".
        languages: None for all.
        concepts: None for all.
        sites: As in `top_experts`.

    Returns:
        Columns of table `experts`. Rank counts the drawn neurons from 1 for "random", and goes on after `skip` for "next".

    Raises:
        QueryError: If `kind` is another word, or there are not that many neurons.

    Source: Random neurons and the next best ones as controls: arXiv 2506.01629.

    Example:
        >>> drawn = control_experts(store, "planted-step64", k=3, languages=["en"], concepts=["water"])
        >>> drawn["rank"].to_list()
        [1, 2, 3]
    """
    store = as_atlas(store)
    if kind not in ("random", "next"):
        raise QueryError(f"controls are 'random' or 'next', not {kind!r}")
    skip = skip if kind == "next" else 0
    sets = expert_sets(store, checkpoint, Ranking(k, sites, languages, concepts), skip=skip)
    if kind == "next":
        return _with_values(store, sets).with_columns(pl.col("rank") + skip)
    neurons = np.full_like(sets.neurons, -1)
    guesses = guess_score(store, sets.languages, sets.concepts)
    cubes = ap_cubes(store, checkpoint, sets.axis)
    for column, concept in enumerate(sets.concepts):
        reads = [cube.read("ap", sets.languages, concept).reshape(len(sets.languages), -1) for cube in cubes]
        can = is_rankable(np.concatenate(reads, axis=1), guesses[:, column, np.newaxis])
        for row in np.flatnonzero(sets.has_experts[:, column]):
            # a draw of its own for each language and concept, whichever others are asked for
            candidates = np.flatnonzero(can[row])
            draw = drawn_numbers(sets.axis, candidates, f"{seed} {sets.languages[row]} {concept}")
            neurons[row, column] = candidates[np.argsort(draw, kind="stable")[:k]]
    ap = scores_of(cubes, sets.axis, "ap", sets.languages, sets.concepts, neurons)
    return _with_values(store, dataclasses.replace(sets, neurons=neurons, ap=ap))


def drawn_numbers(axis: NeuronAxis, index: Indices, words: str) -> NDArray[np.uint64]:
    """Random numbers of 32 bits, one for each neuron: the same in every ranking of sites, and those of macro `random_experts`.

    A neuron's number, mixed with a digest of some words by the finaliser of MurmurHash3, twice.
    """
    digest = int.from_bytes(hashlib.md5(words.encode(), usedforsecurity=False).digest()[8:], "little")
    code = np.array([SITES.index(site) + 1 for site in axis.sites])[axis.site_at(index)]
    low = np.uint64(0xFFFFFFFF)
    number = ((code * 4096 + axis.layer_at(index)) * 131072 + axis.neuron_at(index)).astype(np.uint64) & low
    for part in (digest & 0xFFFFFFFF, digest >> 32):
        number = number ^ np.uint64(part)
        number = ((number ^ (number >> np.uint64(16))) * np.uint64(2246822507)) & low
        number = ((number ^ (number >> np.uint64(13))) * np.uint64(3266489909)) & low
        number = number ^ (number >> np.uint64(16))
    return np.asarray(number)


def expert_mask(sets: ExpertSets) -> pl.DataFrame:
    """Table `expert_mask`: for each neuron and concept the languages in which it is an expert, as bits.

    Bit b of word w stands for the language with that bit and word in table `languages`. Stores of up to 64 languages
    have word 0 only.
    """
    parts = []
    for column, concept in enumerate(sets.concepts):
        languages = np.flatnonzero(sets.has_experts[:, column])
        if not languages.size:
            continue
        index, row = np.unique(sets.neurons[languages, column], return_inverse=True)
        row = row.reshape(languages.size, sets.k)
        n_languages = np.bincount(row.reshape(-1), minlength=index.size)
        for word in range(-(-len(sets.languages) // LANGUAGES_PER_WORD)):
            mask = np.zeros(index.size, dtype=np.uint64)
            for position, language in enumerate(languages):
                if language // LANGUAGES_PER_WORD == word:
                    mask[row[position]] |= np.uint64(1) << np.uint64(language % LANGUAGES_PER_WORD)
            parts.append(
                pl.DataFrame({**sets.axis.columns(index), "mask": mask, "n_languages": n_languages}).with_columns(
                    pl.lit(sets.checkpoint).alias("checkpoint"), pl.lit(concept).alias("concept"), pl.lit(word).alias("word")
                )
            )
    table = TABLES["expert_mask"]
    return pl.concat([table.conform(part) for part in parts]) if parts else table.empty()


def layer_histogram(sets: ExpertSets) -> pl.DataFrame:
    """Table `layer_histogram`: experts in each layer of each site, zeros included."""
    axis = sets.axis
    cells = [
        (site, layer, neurons) for site, (layers, neurons) in zip(axis.sites, axis.shapes, strict=True) for layer in range(layers)
    ]
    cell_start = np.concatenate(
        [np.arange(layers) * n + start for start, (layers, n) in zip(axis.starts[:-1], axis.shapes, strict=True)]
    )
    language_of, concept_of = np.nonzero(sets.has_experts)
    counts = np.zeros((language_of.size, len(cells)), dtype=np.int64)
    for pair, index in enumerate(sets.neurons[language_of, concept_of]):
        counts[pair] = np.bincount(np.searchsorted(cell_start, index, side="right") - 1, minlength=len(cells))
    n_pairs = language_of.size
    frame = pl.DataFrame(
        {
            "checkpoint": pl.repeat(sets.checkpoint, n_pairs * len(cells), dtype=pl.String, eager=True),
            "concept": names_at(sets.concepts, np.repeat(concept_of, len(cells))),
            "language": names_at(sets.languages, np.repeat(language_of, len(cells))),
            "site": pl.Series([site for site, _, _ in cells] * n_pairs, dtype=pl.String),
            "layer": pl.Series([layer for _, layer, _ in cells] * n_pairs, dtype=pl.Int32),
            "n_experts": counts.reshape(-1),
            "n_neurons": pl.Series([n for _, _, n in cells] * n_pairs, dtype=pl.Int32),
            "k": pl.repeat(sets.k, n_pairs * len(cells), dtype=pl.Int32, eager=True),
        }
    )
    return TABLES["layer_histogram"].conform(frame)
