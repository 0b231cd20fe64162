"""How far values are from those that they should equal, neuron by neuron, and how far a dtype explains; numpy only.

`docs/decisions/0021-checks-that-see.md` derives the limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import FidelityError
from actlas.extract.sites.proofs import EPSILON
from actlas.names import product_dtype

#: Unit roundoff of a dtype, and its smallest number that has all its bits.
_ROUNDOFF = {dtype: epsilon / 2 for dtype, epsilon in EPSILON.items()}
_SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
#: Roundings one after the other in a block: norms, maps, scores, weights, mixing, products and sums, each to its dtype.
_ROUNDINGS = 12
#: Products that float32 adds up one after the other; narrower dtypes are added up in float32.
_ADDED = 2**12
#: Standard deviations that a neuron may be off by, for models make some errors larger on their way: in another engine, and in the
#: same one, which rounds most numbers to the same.
OTHER_ENGINE, SAME_ENGINE = 5.0, 2.5
#: How often the rounding of a neuron that was measured it may be off by.
_MEASURED = 3
#: Share of texts that a neuron may be far off in: a single token can be on the edge of something.
_SET_ASIDE = 0.25
#: Standard deviations between two values, or a value and 0, from which their order is clear.
_CLEAR = 3
#: Share of what is clear that has to agree in a text.
_AGREEING = 0.95
#: The same in a neuron: between what the values of another neuron give by chance, a half, and what is left where a quarter of
#: the texts stands in any order.
_AGREEING_IN_A_NEURON = 0.65
#: Of fewer that are clear, one alone would be more than may disagree: they say nothing.
_FEWEST = 20


@dataclass(frozen=True)
class Agreement:
    """How far values are from those that they should equal.

    Attributes:
        n_texts: Texts that were compared.
        difference: Of the worst neuron: root mean square over the texts but for the worst quarter of them, relative to its size
            (see `neuron_sizes`). Worst is the one that exceeds what rounding explains in its layer most, or comes closest.
        limit: What rounding explains there.
        where: Site, layer and neuron, and the text at which it differs most.
        sign_agreement: Smallest share of neurons in a layer that have the right sign for a text, of those not too close to 0.
        sign_where: Which layer and text.
        rank_agreement: Smallest share of neurons and other texts for which a text is rightly above or below the other one, of
            those not too close to each other.
        rank_where: Which layer and text.
        order_agreement: Smallest share of pairs of texts that a neuron rightly has one above the other, of those not too close.
        order_where: Which layer and neuron.
    """

    n_texts: int
    difference: float
    limit: float
    where: str
    sign_agreement: float
    sign_where: str
    rank_agreement: float
    rank_where: str
    order_agreement: float
    order_where: str

    @property
    def share_of_limit(self) -> float:
        """Above 1 where rounding does not explain the difference; NaN counts as larger than any number."""
        return math.inf if math.isnan(self.difference) else self.difference / self.limit

    def complaint(self) -> str | None:
        """What rounding does not explain; None where it explains all.

        Example:
            >>> swapped = compare({"resid": np.array([[[4.0], [1.0]]])}, {"resid": np.array([[[1.0], [4.0]]])}, "float16", [7])
            >>> swapped.complaint()
            'by 3.0e+00 of its size at site resid, layer 0, neuron 0, text 7, where rounding explains 6.9e-03'
        """
        if self.share_of_limit > 1:
            return f"by {self.difference:.1e} of its size at {self.where}, where rounding explains {self.limit:.1e}"
        if self.sign_agreement < _AGREEING:
            return f"in sign: of the values at {self.sign_where}, that are not close to 0, {self.sign_agreement:.0%} agree"
        if self.rank_agreement < _AGREEING:
            return (
                f"in rank: of the values at {self.rank_where}, {self.rank_agreement:.0%} stand to the other texts as they should"
            )
        if self.order_agreement < _AGREEING_IN_A_NEURON:
            return f"in order: {self.order_where}, puts only {self.order_agreement:.0%} of the pairs of texts as it should"
        return None

    def record(self) -> dict[str, Any]:
        """What the checkpoint's record keeps."""
        return asdict(self)


def deviation(compute_dtype: str, layer: int) -> float:
    """Standard deviation, relative to their size, of the difference between values that were computed twice in a dtype.

    Args:
        compute_dtype: A `names.ComputeDtype`.
        layer: Blocks before this one round as well.

    Example:
        >>> f"{deviation('bfloat16', 0):.4f} {deviation('bfloat16', 3):.4f} {deviation('float16', 0):.4f}"
        '0.0110 0.0221 0.0014'
    """
    dtype = product_dtype(compute_dtype)
    # a rounding is off by up to the roundoff in either direction, evenly: a third of its square on average; two runs
    variance = 2 * _ROUNDINGS * (layer + 1) / 3
    return _ROUNDOFF[dtype] * math.sqrt(variance * (_ADDED if dtype == "float32" else 1))


def neuron_sizes(values: NDArray[Any], compute_dtype: str) -> NDArray[np.float64]:
    """What differences of each neuron are measured by: the root mean square of its values over the texts.

    That is its spread and its level together, for rounding is relative to both. A neuron adds up what others have as well, so
    none counts as smaller than most are: the upper quartile of its layer, whatever a few massive ones have.

    Args:
        values: ``"neurons texts"`` of one layer.
        compute_dtype: Numbers below its smallest normal one have fewer bits.

    Example:
        >>> neuron_sizes(np.array([[3000.0, 3000.0], [1.0, -1.0], [0.0, 0.001], [2.0, 2.0], [2.0, -2.0]]), "float32").tolist()
        [3000.0, 2.0, 2.0, 2.0, 2.0]
    """
    sizes: NDArray[np.float64] = np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=1))
    is_used = sizes > 0
    usual = np.quantile(sizes[is_used], 0.75, method="lower") if is_used.any() else 0.0
    return np.maximum(sizes, max(float(usual), _SMALLEST[product_dtype(compute_dtype)]))


def compare(
    values: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    compute_dtype: str,
    text_ids: Sequence[int],
    *,
    deviations: float = OTHER_ENGINE,
    exact: Mapping[str, NDArray[Any]] | None = None,
) -> Agreement:
    """Compare pooled values with those that they should equal.

    Args:
        values: Site -> ``"layers neurons texts"``.
        reference: The same for the same texts; sites that it lacks are not compared.
        compute_dtype: Dtype that both were computed in.
        text_ids: Which texts these are.
        deviations: How many standard deviations rounding explains: `OTHER_ENGINE` or `SAME_ENGINE`.
        exact: What the reference is in float32, which tells by how much rounding moves each neuron: some more than models do in
            general. None where that is not known.

    Returns:
        How far they are apart, where the worst is, and whether signs and order agree; `Agreement.complaint` judges it.

    Raises:
        FidelityError: If they do not have one shape.

    Example:
        >>> values = {"resid": np.array([[[1.0, -2.0], [3.0, 4.0]]])}
        >>> swapped = {"resid": values["resid"][:, ::-1]}
        >>> compare(swapped, values, "bfloat16", [7, 8]).where
        'site resid, layer 0, neuron 0, text 8'
    """
    layers: list[Agreement] = []
    for site, expected in reference.items():
        if values[site].shape != expected.shape:
            raise FidelityError(f"site {site} has values of shape {values[site].shape}, where {expected.shape} was expected")
        for layer in range(len(expected)):
            sizes, apart = neuron_sizes(expected[layer], compute_dtype), deviation(compute_dtype, layer)
            rounding = np.zeros(len(sizes)) if exact is None else _usual_errors(expected[layer], exact[site][layer], sizes)
            measure = _Measure(
                sizes, np.maximum(deviations * apart, _MEASURED * rounding), np.maximum(_CLEAR * apart, _MEASURED * rounding)
            )
            layers.append(_compare_layer(values[site][layer], expected[layer], measure, f"site {site}, layer {layer}", text_ids))
    worst = max(layers, key=lambda found: found.share_of_limit)
    sign = min(layers, key=lambda found: found.sign_agreement)
    rank = min(layers, key=lambda found: found.rank_agreement)
    order = min(layers, key=lambda found: found.order_agreement)
    return replace(
        worst,
        sign_agreement=sign.sign_agreement,
        sign_where=sign.sign_where,
        rank_agreement=rank.rank_agreement,
        rank_where=rank.rank_where,
        order_agreement=order.order_agreement,
        order_where=order.order_where,
    )


@dataclass(frozen=True)
class _Measure:
    """Of the neurons of a layer: their sizes, and relative to these what rounding explains and what is clear of it."""

    sizes: NDArray[np.float64]
    limits: NDArray[np.float64]
    clear: NDArray[np.float64]


def _usual_errors(values: NDArray[Any], expected: NDArray[Any], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every neuron, the root mean square of its differences, relative to its size, but for its worst quarter of the texts."""
    errors = (values.astype(np.float64) - expected) / sizes[:, None]
    # NaN is sorted to the end, which is set aside
    n_kept = errors.shape[1] - int(_SET_ASIDE * errors.shape[1])
    squares = np.mean(np.sort(errors**2, axis=1)[:, :n_kept], axis=1)
    return np.where(np.isnan(errors).any(axis=1), np.nan, np.sqrt(squares))


def _compare_layer(
    values: NDArray[Any], expected: NDArray[Any], measure: _Measure, place: str, text_ids: Sequence[int]
) -> Agreement:
    """The same of one layer, ``"neurons texts"``."""
    values, expected = values.astype(np.float64), expected.astype(np.float64)  # where nothing overflows
    n_texts = len(text_ids)
    differences = _usual_errors(values, expected, measure.sizes)
    neuron = int((differences / measure.limits).argmax())
    text = int(np.abs(values[neuron] - expected[neuron]).argmax())
    clear = (measure.clear * measure.sizes)[:, None]
    signs = _agreeing(values, expected, clear)
    # for each neuron and text: to how many other texts it stands as it should, and from how many it is apart
    pairs = [_agreeing(values - values[:, [text]], expected - expected[:, [text]], clear).sum(axis=2) for text in range(n_texts)]
    ranks = np.stack(pairs, axis=2)
    sign, sign_text = _smallest_share(*signs, axis=0)
    rank, rank_text = _smallest_share(*ranks, axis=0)
    order, order_neuron = _smallest_share(*ranks, axis=1)
    return Agreement(
        n_texts=n_texts,
        difference=float(differences[neuron]),
        limit=float(measure.limits[neuron]),
        where=f"{place}, neuron {neuron}, text {text_ids[text]}",
        sign_agreement=sign,
        sign_where=f"{place}, text {text_ids[sign_text]}",
        rank_agreement=rank,
        rank_where=f"{place}, text {text_ids[rank_text]}",
        order_agreement=order,
        order_where=f"{place}, neuron {order_neuron}",
    )


def _agreeing(values: NDArray[Any], expected: NDArray[Any], clear: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values have the sign that is expected and are expected far enough from 0; and which are expected that far."""
    is_clear = np.abs(expected) > clear
    return np.stack([((values > 0) == (expected > 0)) & is_clear, is_clear])


def _smallest_share(n_agreeing: NDArray[Any], n_clear: NDArray[Any], *, axis: int) -> tuple[float, int]:
    """The smallest share along an axis of what is clear that agrees, and where; 1 where fewer are clear than say anything."""
    agreeing, clear = n_agreeing.sum(axis=axis), n_clear.sum(axis=axis)
    shares = np.where(clear >= _FEWEST, agreeing / np.maximum(clear, 1), 1.0)
    return float(shares.min()), int(shares.argmin())
