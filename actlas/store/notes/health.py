"""What became of the values of every neuron on their way into a store: kept beside them, as table `neuron_health`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32

#: What is noted of every neuron while values are written: their ends as they are stored; how many are kept as 0; how many are not
#: 0 and are kept as 0 or with fewer bits than the dtype has; texts whose value is that of a token that the tokenizer added (NaN:
#: not known).
HEALTH_ROWS = ("low", "high", "n_zero", "n_lost", "n_special")
#: Two values that differ by less, relative to the larger one, differ by the rounding of arithmetic.
SAME_VALUE = 1e-5


@dataclass(frozen=True)
class CodeHealth:
    """What the 8-bit codes of one site's histograms tell apart, each ``"layers neurons"``.

    Attributes:
        n_codes: Codes that any text has.
        fullest: Texts that the fullest of them has.
        n_texts: Texts that are counted, over all languages.
        ap_slack: How far apart the least and the largest average precision are that texts which share a code allow, for the
            concept and language where that is most.
    """

    n_codes: NDArray[np.int64]
    fullest: NDArray[np.int64]
    n_texts: int
    ap_slack: NDArray[np.float64]


class SiteHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A site in the record of a checkpoint. Shares are of neurons unless they say something else.

    Attributes:
        share_constant: Of neurons with one value for all texts.
        share_special: Of texts times neurons, whose value is that of a token that the tokenizer added; None where not known.
        lost_by_layer: Share of each layer's values that are not 0 and were kept as 0 or with fewer bits.
        lost_vectors_by_layer: The same of numbers in token vectors.
        share_crowded: Of neurons with more than half of their texts in one code, though their values differ; None without codes.
        ap_slack: Largest and median `CodeHealth.ap_slack` of the neurons that are not constant.
    """

    share_constant: float | None = None
    share_special: float | None = None
    lost_by_layer: tuple[float, ...] = ()
    lost_vectors_by_layer: tuple[float, ...] = ()
    share_crowded: float | None = None
    ap_slack: tuple[float, float] | None = None


def file_fault(file: Path, digest: str) -> str | None:
    """What is wrong with a table of a checkpoint, in words; None where nothing is.

    Args:
        file: The table.
        digest: SHA-256 of the file that the record of the checkpoint names.
    """
    if not file.is_file():
        return "is missing"
    return None if hashlib.sha256(file.read_bytes()).hexdigest() == digest else "is not what its record says"


def health_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Notes of values that are at hand as they are stored: what was lost before cannot be seen, nor which token decided.

    Args:
        values: ``"layers neurons texts"``; bfloat16 as its bits in uint16.

    Example:
        >>> health_of(np.array([[[0.0, 1e-6, 2.0]]], np.float16)).ravel().tolist()
        [0.0, 2.0, 1.0, 1.0, nan]
    """
    numbers = bfloat16_to_float32(values) if values.dtype == np.uint16 else values
    n_zero = (numbers == 0).sum(2)
    n_lost = (np.abs(numbers) < np.finfo(numbers.dtype).tiny).sum(2) - n_zero
    rows = (numbers.min(2), numbers.max(2), n_zero, n_lost, np.full(n_zero.shape, np.nan))
    return np.stack([row.astype(np.float64) for row in rows])


def merge(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """What was noted of several blocks, as of one.

    Example:
        >>> part = np.array([1.0, 2.0, 3.0, 0.0, 1.0]).reshape(5, 1, 1)
        >>> merge([part, part + 1]).ravel().tolist()
        [1.0, 3.0, 7.0, 1.0, 3.0]
    """
    stacked = np.stack(parts)
    return np.stack([stacked[:, 0].min(0), stacked[:, 1].max(0), *(stacked[:, row].sum(0) for row in (2, 3, 4))])


def is_constant(health: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Neurons with one value for all texts, up to the rounding of arithmetic; bool ``"layers neurons"``."""
    low, high = health[:2]
    constant: NDArray[np.bool_] = high - low <= SAME_VALUE * np.maximum(np.abs(low), np.abs(high))
    return constant


def site_health(health: NDArray[np.float64], n_texts: int, codes: CodeHealth | None = None) -> SiteHealth:
    """A site in short."""
    constant = is_constant(health)
    _, _, n_zero, n_lost, n_special = health
    crowded = slack = None
    if codes is not None:
        # values that are 0, and those of a token before the text, are alike with codes and without
        alike = np.minimum(np.fmax(n_zero, n_special), codes.fullest)
        is_crowded = (codes.fullest - alike > codes.n_texts / 2) & ~constant
        crowded = float(is_crowded.mean())
        differing = codes.ap_slack[~constant]
        slack = (float(differing.max()), float(np.median(differing))) if differing.size else (0.0, 0.0)
    return SiteHealth(
        share_constant=float(constant.mean()),
        share_special=None if np.isnan(n_special).any() else float(n_special.mean() / n_texts),
        lost_by_layer=tuple((n_lost.mean(axis=1) / n_texts).tolist()),
        share_crowded=crowded,
        ap_slack=slack,
    )


def health_frame(
    checkpoint: str, healths: Mapping[str, NDArray[np.float64]], codes: Mapping[str, CodeHealth], n_texts: int
) -> pl.DataFrame:
    """Table `neuron_health` of one checkpoint: a row per neuron, by site, layer and neuron."""
    frames = []
    for site, health in sorted(healths.items()):
        n_layers, n_neurons = health.shape[1:]
        low, high, *counts = health.reshape(len(HEALTH_ROWS), -1)
        shares = dict(zip(("share_zero", "share_lost", "share_special"), (count / n_texts for count in counts), strict=True))
        own = codes.get(site)
        columns: dict[str, Any] = {
            "layer": np.repeat(np.arange(n_layers, dtype=np.int32), n_neurons),
            "neuron": np.tile(np.arange(n_neurons, dtype=np.int32), n_layers),
            "is_constant": is_constant(health).ravel(),
            "low": low.astype(np.float32),
            "high": high.astype(np.float32),
            **{name: share.astype(np.float32) for name, share in shares.items()},
            "n_codes": None if own is None else own.n_codes.ravel().astype(np.int32),
            "ap_slack": None if own is None else own.ap_slack.ravel().astype(np.float32),
        }
        names = [pl.lit(checkpoint).alias("checkpoint"), pl.lit(site).alias("site")]
        types = {"n_codes": pl.Int32, "ap_slack": pl.Float32}
        frame = pl.DataFrame({name: column for name, column in columns.items() if column is not None})
        missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in types.items() if name not in frame.columns]
        frames.append(frame.with_columns(*missing, pl.col("share_special").fill_nan(None)).select(*names, *columns))
    return pl.concat(frames)
