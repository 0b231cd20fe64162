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

#: Unit roundoff of a dtype, and its smallest number that has all its bits.
_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
#: Roundings one after the other in a block: norms, maps, scores, weights, mixing, products and sums, each to its dtype.
_ROUNDINGS = 12
#: Products that float32 adds up one after the other; narrower dtypes are added up in float32.
_ADDED = 2**12
#: Standard deviations that a neuron may be off by, for models make some errors larger on their way: in another engine, and in the
#: same one, which rounds most numbers to the same.
OTHER_ENGINE, SAME_ENGINE = 5.0, 2.5
#: Share of texts that a neuron may be far off in: a single token can be on the edge of something.
_SET_ASIDE = 0.25
#: Standard deviations between two values, or a value and 0, from which their order is clear.
_CLEAR = 3
#: Share of what is clear that has to agree.
_AGREEING = 0.95


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
    """

    n_texts: int
    difference: float
    limit: float
    where: str
    sign_agreement: float
    sign_where: str
    rank_agreement: float
    rank_where: str

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
    dtype = compute_dtype.removeprefix("autocast-")
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
    return np.maximum(sizes, max(float(usual), _SMALLEST[compute_dtype.removeprefix("autocast-")]))


def compare(
    values: Mapping[str, NDArray[Any]],
    reference: Mapping[str, NDArray[Any]],
    compute_dtype: str,
    text_ids: Sequence[int],
    *,
    deviations: float = OTHER_ENGINE,
) -> Agreement:
    """Compare pooled values with those that they should equal.

    Args:
        values: Site -> ``"layers neurons texts"``.
        reference: The same for the same texts; sites that it lacks are not compared.
        compute_dtype: Dtype that both were computed in.
        text_ids: Which texts these are.
        deviations: How many standard deviations rounding explains: `OTHER_ENGINE` or `SAME_ENGINE`.

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
            found = _compare_layer(values[site][layer], expected[layer], compute_dtype, layer, site, text_ids)
            layers.append(replace(found, limit=deviations * found.limit))
    worst = max(layers, key=lambda found: found.share_of_limit)
    sign = min(layers, key=lambda found: found.sign_agreement)
    rank = min(layers, key=lambda found: found.rank_agreement)
    return replace(
        worst,
        sign_agreement=sign.sign_agreement,
        sign_where=sign.sign_where,
        rank_agreement=rank.rank_agreement,
        rank_where=rank.rank_where,
    )


def _compare_layer(
    values: NDArray[Any], expected: NDArray[Any], compute_dtype: str, layer: int, site: str, text_ids: Sequence[int]
) -> Agreement:
    """The same of one layer, ``"neurons texts"``, with one standard deviation for a limit."""
    place = f"site {site}, layer {layer}"
    sizes, apart = neuron_sizes(expected, compute_dtype), deviation(compute_dtype, layer)
    # in float64, where nothing overflows
    errors = (values.astype(np.float64) - expected) / sizes[:, None]
    # NaN is sorted to the end, which is set aside
    n_kept = errors.shape[1] - int(_SET_ASIDE * errors.shape[1])
    squares = np.mean(np.sort(errors**2, axis=1)[:, :n_kept], axis=1)
    differences = np.where(np.isnan(errors).any(axis=1), np.nan, np.sqrt(squares))
    neuron = int(differences.argmax())
    clear = _CLEAR * apart * sizes
    texts = range(expected.shape[1])
    signs = [_agreeing(values[:, text], expected[:, text], clear) for text in texts]
    ranks = [_agreeing(values - values[:, [text]], expected - expected[:, [text]], clear[:, None]) for text in texts]
    return Agreement(
        n_texts=len(text_ids),
        difference=float(differences[neuron]),
        limit=apart,
        where=f"{place}, neuron {neuron}, text {text_ids[int(np.abs(errors[neuron]).argmax())]}",
        sign_agreement=min(signs),
        sign_where=f"{place}, text {text_ids[signs.index(min(signs))]}",
        rank_agreement=min(ranks),
        rank_where=f"{place}, text {text_ids[ranks.index(min(ranks))]}",
    )


def _agreeing(values: NDArray[Any], expected: NDArray[Any], clear: NDArray[np.float64]) -> float:
    """Share of values with the sign that is expected, of those that are expected far enough from 0.

    It is 1 where these are so few that a single one would be more than may disagree.
    """
    is_clear = np.abs(expected) > clear
    n_clear = int(is_clear.sum())
    if n_clear * (1 - _AGREEING) < 1:
        return 1.0
    return float(((values > 0) == (expected > 0))[is_clear].sum() / n_clear)
