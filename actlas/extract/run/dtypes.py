"""Which dtype each site is stored in: what a few texts say of it, the rule that chooses, and what rounding does to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32, float32_to_bfloat16
from actlas.extract.backends.base import ModelSession
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.pooling.stage import too_large
from actlas.kernels import concept_scores
from actlas.names import DTYPES
from actlas.store.corpus.corpus import Corpus
from actlas.store.dtypes import COARSE, SiteDtype
from actlas.store.notes.health import SAME_VALUE

#: Texts that are looked at: this share of all, between these ends.
_SHARE, _FEWEST, _MOST = 1 / 32, 32, 128
#: Largest number of each dtype.
LARGEST = {"float16": 65_504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104}
#: Other texts may have values this many times as large.
HEADROOM = 2.0
#: Neurons of a site that may be coarse in the dtype that is chosen.
COARSE_SHARE = 1e-3
#: With fewer texts, values may be close to one another by chance.
_TEXTS_FOR_SPREAD = 8
#: Concepts, and best neurons of each, that scores are compared on.
_CONCEPTS, _BEST = 32, 50
#: A concept needs as many positive texts in the sample, and as many negative ones.
_TEXTS_OF_CONCEPT = 2


@dataclass(frozen=True)
class Rounding:
    """What storing some values in one dtype does to them.

    Attributes:
        largest: Largest absolute value.
        worst: Root mean square of what rounding changes, over the spread of the neuron, where that is most.
        share_coarse: Share of neurons where that is more than `COARSE`.
    """

    largest: float
    worst: float
    share_coarse: float

    def fits(self, dtype: str) -> bool:
        """Whether values of other texts will fit the dtype, too, and are told apart in it."""
        limit = LARGEST[dtype]
        return dtype == "float32" or (HEADROOM * self.largest <= limit and self.share_coarse <= COARSE_SHARE)


@dataclass(frozen=True)
class ValueSample:
    """Values of a few texts at one checkpoint, in float32.

    Attributes:
        rows: The texts' rows of the text axis.
        pooled: site -> ``"layers neurons texts"``.
        vectors: site -> ``"layers channels tokens"``.
    """

    rows: NDArray[np.int64]
    pooled: Mapping[str, NDArray[np.float32]]
    vectors: Mapping[str, NDArray[np.float32]]

    @classmethod
    def of(cls, session: ModelSession, texts: TokenisedCorpus) -> ValueSample:
        """Read them.

        Raises:
            NotFiniteValues: If one is NaN or infinite.
        """
        rows = sampled_rows(texts)
        block = replace(texts.block(rows), has_loss=np.zeros(len(rows), dtype=bool))
        values = session.run_block(block, dtype="float32").collect()
        vectors = {site: array.transpose(0, 2, 1) for site, array in values.tokens.items() if array.size}
        return cls(rows, values.cubes, vectors)

    def of_site(self, site: str) -> list[NDArray[np.float32]]:
        """All values of a site, neurons in the second axis; none of a site that has none."""
        return [part[site] for part in (self.pooled, self.vectors) if site in part]

    def roundings(self, sites: Sequence[str]) -> dict[str, dict[str, Rounding]]:
        """site -> what each dtype does to its values."""
        return {site: {dtype: rounding(self.of_site(site), dtype) for dtype in DTYPES} for site in sites if self.of_site(site)}

    def does_not_fit(self, dtypes: Mapping[str, str], texts: TokenisedCorpus) -> str | None:
        """What to say of the first value that is too large for its dtype; None where all fit."""
        text_ids = texts.corpus.texts["text_id"].to_numpy()[self.rows]
        tokens = texts.block(self.rows).sampled_rows
        for values, text_of in ((self.pooled, text_ids), (self.vectors, text_ids[tokens])):
            for site, part in values.items():
                # rounding decides: what is a little larger than the largest number of a dtype becomes that number
                beyond = np.argwhere(np.isinf(rounded(np.stack([part.min(2), part.max(2)]), dtypes[site])).any(0))
                if len(beyond):
                    layer, neuron = (int(i) for i in beyond[0])
                    text = int(text_of[np.abs(part[layer, neuron]).argmax()])
                    return too_large(site, dtypes[site], f"text {text}, site {site}, layer {layer}, neuron {neuron}")
        return None

    def about(self, dtypes: Mapping[str, str], reasons: Mapping[str, str], corpus: Corpus) -> dict[str, SiteDtype]:
        """What the record of the checkpoint says of the dtype of each site."""
        known = {}
        labels = sampled_labels(corpus, self.rows)
        for site, dtype in dtypes.items():
            known[site] = SiteDtype(dtype=dtype, reason=reasons.get(site, "asked for"))
            if parts := self.of_site(site):
                measured = rounding(parts, dtype)
                known[site] = SiteDtype(
                    dtype=dtype,
                    reason=known[site].reason,
                    n_texts=len(self.rows),
                    largest=measured.largest,
                    rounding=measured.worst,
                    share_coarse=measured.share_coarse,
                    **(score_changes(self.pooled[site], dtype, *labels) if site in self.pooled else {}),
                )
        return known


def sampled_rows(texts: TokenisedCorpus) -> NDArray[np.int64]:
    """Rows of the texts to look at, ascending: over all languages and lengths, the longest among them."""
    return texts.few_rows(min(_MOST, max(_FEWEST, round(_SHARE * texts.corpus.n_texts))))


def rounded(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """Values as they are once they were stored.

    Example:
        >>> rounded(np.array([1.001, 70000.0], np.float32), "bfloat16").tolist()
        [1.0, 70144.0]
    """
    if dtype == "bfloat16":
        return bfloat16_to_float32(float32_to_bfloat16(values))
    with np.errstate(over="ignore"):
        return values.astype(dtype).astype(np.float32)


def rounding(parts: Sequence[NDArray[np.float32]], dtype: str) -> Rounding:
    """What storing values in a dtype does to them.

    Neurons with one value for all texts, up to the rounding of arithmetic, say nothing in any dtype and are left out.

    Args:
        parts: Pooled values, token vectors or both, each ``"layers neurons texts"``.
        dtype: The dtype.
    """
    largest, worst, shares = 0.0, 0.0, [0.0]
    for part in parts:
        n_coarse = n_neurons = 0
        for layer in part:
            sizes = np.abs(layer).max(axis=1)
            largest = max(largest, float(sizes.max()))
            spread = layer.std(axis=1, dtype=np.float64)
            varies = np.ptp(layer, axis=1) > SAME_VALUE * sizes
            n_neurons += int(varies.sum())
            if dtype == "float32" or layer.shape[1] < _TEXTS_FOR_SPREAD or not varies.any():
                continue
            changed = rounded(layer[varies], dtype).astype(np.float64) - layer[varies]
            relative = np.sqrt((changed**2).mean(axis=1)) / spread[varies]
            worst = max(worst, float(relative.max()))
            # negated, because a value beyond the dtype is infinite
            n_coarse += int((~(relative <= COARSE)).sum())
        shares.append(n_coarse / max(1, n_neurons))
    return Rounding(largest, worst, max(shares))


def choose(measured: Sequence[Mapping[str, Rounding]]) -> tuple[str, str]:
    """The first dtype that keeps the values of a site at every checkpoint that was looked at.

    Args:
        measured: Per checkpoint, what each dtype does to its values.

    Returns:
        The dtype, and why it was chosen.

    Example:
        >>> small, large = Rounding(3.0, 0.001, 0.0), Rounding(40_000.0, 0.001, 0.0)
        >>> choose([{"float16": small, "bfloat16": Rounding(3.0, 0.2, 0.5), "float32": small}])
        ('float16', "values up to 3, of which rounding changes at most 0.001 of a neuron's spread")
        >>> choose([{"float16": large, "bfloat16": large, "float32": large}])[0]
        'bfloat16'
    """
    if not measured:
        return "float16", "no value was looked at"
    largest = max(by_dtype["float16"].largest for by_dtype in measured)
    refused: list[str] = []
    for dtype in DTYPES:
        each = [by_dtype[dtype] for by_dtype in measured]
        if all(one.fits(dtype) for one in each):
            rest = f"; {'; '.join(refused)}" if refused else ""
            worst = max(one.worst for one in each)
            return dtype, f"values up to {largest:,.4g}, of which rounding changes at most {worst:.1g} of a neuron's spread{rest}"
        coarse = max(one.share_coarse for one in each)
        limit = LARGEST[dtype]
        why = f"would round {coarse:.2%} of the neurons coarsely" if HEADROOM * largest <= limit else f"ends at {limit:,.0f}"
        refused.append(f"{dtype} {why}")
    raise AssertionError("float32 keeps all values")


def sampled_labels(corpus: Corpus, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Labels of some texts, of the concepts that have positive and negative ones among them, the most common first.

    Returns:
        Which texts express each concept, and which take part, bool ``"texts concepts"``.
    """
    text_ids = corpus.texts["text_id"].gather(rows)
    mine = corpus.labels.filter(pl.col("text_id").is_in(text_ids.implode()))
    counted = mine.group_by("concept").agg(pl.col("is_concept").sum().alias("n_positive"), pl.len().alias("n_texts"))
    enough = counted.filter(pl.min_horizontal("n_positive", pl.col("n_texts") - pl.col("n_positive")) >= _TEXTS_OF_CONCEPT)
    names = enough.sort("n_positive", "concept", descending=[True, False])["concept"].to_list()[:_CONCEPTS]
    is_concept, is_member = (np.zeros((len(rows), len(names)), dtype=bool) for _ in range(2))
    for column, name in enumerate(names):
        own = mine.filter(pl.col("concept") == name)
        places = np.searchsorted(text_ids.to_numpy(), own["text_id"].to_numpy())
        is_member[places, column], is_concept[places, column] = True, own["is_concept"].to_numpy()
    return is_concept, is_member


def score_changes(
    values: NDArray[np.float32], dtype: str, is_concept: NDArray[np.bool_], is_member: NDArray[np.bool_]
) -> dict[str, Any]:
    """How average precision, and which neurons are best, change with rounding; nothing where no concept can be scored.

    Args:
        values: ``"layers neurons texts"``.
        dtype: What they are rounded to.
        is_concept: Which texts express each concept, ``"texts concepts"``.
        is_member: Which take part.
    """
    if not is_concept.shape[1]:
        return {}
    if dtype == "float32":
        return {"ap_change": 0.0, "ap_change_most": 0.0, "same_best": 1.0}
    flat = np.ascontiguousarray(values.reshape(-1, values.shape[2]))
    before, after = (
        concept_scores(each, is_concept, ("ap",), is_member, backend="cpu")["ap"] for each in (flat, rounded(flat, dtype))
    )
    change = np.abs(after - before)
    n_best = min(_BEST, len(flat))
    best = (np.argsort(-scores, axis=0, kind="stable")[:n_best] for scores in (before, after))
    same = [len(np.intersect1d(*pair)) / n_best for pair in zip(*(each.T for each in best), strict=True)]
    return {"ap_change": float(change.mean()), "ap_change_most": float(change.max()), "same_best": float(np.mean(same))}


def chosen_line(dtypes: Mapping[str, str], reasons: Mapping[str, str]) -> str:
    """One line on what was chosen.

    Example:
        >>> chosen_line({"mlp_pre": "float16", "resid": "float32"}, {"resid": "float16 ends at 65,504"})
        'stored as float16 (mlp_pre) and float32 (resid: float16 ends at 65,504)'
    """
    words = []
    for dtype in DTYPES:
        sites = [site for site, its_dtype in dtypes.items() if its_dtype == dtype]
        why = [reasons[site].rpartition("; ")[2] if site in reasons and dtype != "float16" else "" for site in sites]
        if sites:
            named = ", ".join(f"{site}: {reason}" if reason else site for site, reason in zip(sites, why, strict=True))
            words.append(f"{dtype} ({named})")
    return f"stored as {' and '.join(words)}"
