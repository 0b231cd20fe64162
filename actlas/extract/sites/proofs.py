"""What a proof of a site says: a figure, what rounding allows it to be, and in which layer it is worst."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actlas.errors import SiteNotProved
from actlas.names import SITES, product_dtype

#: Distance from 1 to the next number of each dtype.
EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
#: What is proved -> in words, as the end of "site mlp_out, layer 3: ...".
PROOFS: Mapping[str, str] = {
    "layers": "there is one capture point for every layer of the configuration; the figure is how many more or fewer",
    "width": "neurons are as many as configuration and weights say; the figure is how many more or fewer",
    "once": "its module ran once in a forward pass; the figure is how many times more or less",
    "activation": "mlp_hidden is the nonlinearity of mlp_pre (times mlp_up, where there is one)",
    "down": "mlp_out is the weights of its module times mlp_hidden, plus the bias",
    "stream": "the stream behind a block is the one before it plus attn_out plus mlp_out, as the family adds them",
    "chain": "a block takes what the block before it gave",
    "rows": "embed is the rows of the embedding matrix, times the scale of the family",
    "start": "the first block takes embed, as the family goes on with it",
    "replay": "queries, keys and values alone decide attn_out: set in a run on other tokens, they give it again",
    "queries": "what stands for queries changes attn_out of its own token and of no other",
    "keys": "what stands for keys and values changes attn_out of no token before its own",
    "values": "a token that sees itself alone has the output projection of its values as attn_out",
    "right": "padding on the right changes nothing",
    "left": "padding on the left changes nothing",
}
#: How many steps of rounding a proof may be off: of the result, of its terms, of a nonlinearity that cancels, of a whole model.
_STEPS = {"activation": 8, "down": 4, "stream": 4, "start": 4, "values": 8, "replay": 4, "rows": 2, "chain": 0}
_MODEL_STEPS = 32
#: Where two runs are compared, what no rounding explains: padding that takes part is off by half of a neuron's size and more.
_MOST = 0.25


@dataclass(frozen=True)
class Proof:
    """One property of one site, in the layer where it holds least.

    Attributes:
        site: The site.
        proof: Name of the property, see `PROOFS`.
        layer: The layer.
        figure: How far it is from holding, relative to the values that it is about.
        allowed: What rounding explains.
    """

    site: str
    proof: str
    layer: int
    figure: float
    allowed: float

    @property
    def is_proved(self) -> bool:
        """Whether rounding explains the figure; it never explains NaN."""
        return self.figure <= self.allowed


def limit_of(proof: str, compute_dtype: str, n_layers: int) -> float:
    """The limit of a proof in a dtype.

    Args:
        proof: Its name.
        compute_dtype: A `names.ComputeDtype`.
        n_layers: Of the model; rounding adds up over them where two runs are compared.

    Example:
        >>> limit_of("down", "bfloat16", 2), limit_of("width", "float32", 2)
        (0.03125, 0.0)
    """
    epsilon = EPSILON[product_dtype(compute_dtype)]
    if proof in ("layers", "width", "once"):
        return 0.0
    if proof in ("queries", "keys"):
        # what does not change is compared with what does, which may be small itself
        return math.sqrt(epsilon)
    if proof in ("left", "right"):
        return min(_MODEL_STEPS * epsilon * math.sqrt(n_layers), _MOST)
    return _STEPS[proof] * epsilon


def worst_by_site(proofs: Iterable[Proof]) -> list[Proof]:
    """One proof for every site and property: the one that holds least. In the order of `SITES` and `PROOFS`.

    Example:
        >>> proofs = [Proof("resid", "chain", layer, layer / 8, 1.0) for layer in (1, 2)]
        >>> [proof.layer for proof in worst_by_site(proofs)]
        [2]
    """
    worst: dict[tuple[str, str], Proof] = {}
    for proof in proofs:
        known = worst.get((proof.site, proof.proof))
        if known is None or _badness(proof) > _badness(known):
            worst[proof.site, proof.proof] = proof
    names, order = list(PROOFS), list(SITES)
    rank = {site: order.index(site) if site in order else len(order) for site, _ in worst}
    return sorted(worst.values(), key=lambda each: (rank[each.site], each.site, names.index(each.proof)))


def _badness(proof: Proof) -> tuple[bool, float]:
    """What proofs are ordered by: no number is worse than any."""
    return math.isnan(proof.figure), proof.figure


def refuse_unproved(proofs: Sequence[Proof], architecture: str, compute_dtype: str) -> None:
    """Stop where a site is not what its name says.

    Args:
        proofs: Of all its sites.
        architecture: The family, for the message.
        compute_dtype: What it computed in.

    Raises:
        SiteNotProved: Naming the family, the site, the layer and the figure.
    """
    failed = [proof for proof in proofs if not proof.is_proved]
    if failed:
        first = failed[0]
        more = sorted({f"{each.site} ({each.proof})" for each in failed[1:]})
        beside = f". Nor did {', '.join(more[:5])}" if more else ""
        raise SiteNotProved(
            f"{architecture}: site {first.site}, layer {first.layer} did not pass the proof {first.proof!r} "
            f"({PROOFS[first.proof]}): {first.figure:.1e}, and {compute_dtype} allows {first.allowed:.1e}{beside}"
        )
