"""The dtype that the values of a site are stored in, and what is known of it: part of the record of a checkpoint."""

from __future__ import annotations

import msgspec


class SiteDtype(msgspec.Struct, frozen=True, kw_only=True):
    """A site in the record of a checkpoint. What was measured was measured on a few texts; None where it was not.

    Attributes:
        dtype: What its values and token vectors are stored in.
        reason: Why, in words.
        n_texts: Texts that were looked at.
        largest: Largest absolute value.
        rounding: Root mean square of what rounding to the dtype changes, relative to the spread over texts (standard deviation),
            of the neuron where that is most.
        share_coarse: Share of neurons for which it is more than `COARSE`.
        ap_change: What rounding changes average precision by: mean over neurons and concepts.
        ap_change_most: The largest such change.
        same_best: Share of a concept's best neurons that are among the best after rounding, too.
    """

    dtype: str
    reason: str = ""
    n_texts: int | None = None
    largest: float | None = None
    rounding: float | None = None
    share_coarse: float | None = None
    ap_change: float | None = None
    ap_change_most: float | None = None
    same_best: float | None = None


#: Rounding relative to the spread of a neuron from which its values count as coarse. It is about the share of pairs of texts that
#: can no longer be told apart, too.
COARSE = 1 / 16
