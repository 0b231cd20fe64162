"""Which neurons of a site a rank of vLLM holds, where in its tensor, and what their numbers are; numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actlas.errors import CapturePointNotFound, ModelNotSupported
from actlas.extract.sites.families import FAMILIES, EngineFamily, EnginePath, Family, family_of, known_sites
from actlas.extract.sites.resolve import site_shape


@dataclass(frozen=True)
class EnginePoint:
    """A site of one layer in a vLLM model.

    Attributes:
        site: Which site.
        layer: Which layer, from 0.
        module: Full path of the module.
        side: "input" or "output".
        split: As in `sites.EnginePath`.
        adds_residual: Whether the module gives (hidden, residual) and their sum is meant.
        factor: Full path of a buffer that its values are multiplied by afterwards, which transformers does inside the module.
    """

    site: str
    layer: int
    module: str
    side: str
    split: str
    adds_residual: bool = False
    factor: str = ""


def engine_family(architecture: str) -> tuple[Family, EngineFamily]:
    """The family of an architecture and what vLLM makes of it.

    Raises:
        ModelNotSupported: If its modules in vLLM are not known.
    """
    family = family_of(architecture)
    if family is None or family.engine is None or architecture != family.architectures[0]:
        known = ", ".join(other.architectures[0] for other in FAMILIES if other.engine is not None)
        raise ModelNotSupported(
            f"backend vllm does not know where {architecture!r} has its sites (it knows {known}); extract it with backend hf"
        )
    return family, family.engine


def engine_points(architecture: str, n_layers: int, sites: Iterable[str]) -> list[EnginePoint]:
    """Where vLLM has some sites, layer by layer.

    Raises:
        CapturePointNotFound: If the architecture has no such site.
        ModelNotSupported: If it is not known in vLLM.

    Example:
        >>> [(point.module, point.split) for point in engine_points("LlamaForCausalLM", 1, ["mlp_pre", "mlp_up"])]
        [('model.layers.0.mlp.gate_up_proj', 'gate'), ('model.layers.0.mlp.gate_up_proj', 'up')]
    """
    family, engine = engine_family(architecture)
    points: list[EnginePoint] = []
    for site in sites:
        if site == "embed":
            factor = f"{family.prefix}.{engine.embed_factor}" if engine.embed_factor else ""
            points.append(EnginePoint(site, 0, f"{family.prefix}.{family.embed}", "output", "all", factor=factor))
            continue
        path = EnginePath("") if site == "resid" else engine.sites.get(site)
        if path is None:
            raise CapturePointNotFound(f"{architecture} has no site {site!r}; it has {', '.join(known_sites(family))}")
        for layer in range(n_layers):
            module = ".".join(filter(None, (family.prefix, family.layers_path, str(layer), path.module)))
            points.append(EnginePoint(site, layer, module, path.side, path.split, site == "resid" and engine.adds_residual))
    return points


@dataclass(frozen=True)
class Heads:
    """Heads of a fused q | k | v projection, over all ranks."""

    n_query: int
    n_key: int
    size: int

    @property
    def width(self) -> int:
        """Neurons of q, k and v together."""
        return (self.n_query + 2 * self.n_key) * self.size


@dataclass(frozen=True)
class RankNeurons:
    """The neurons of a site that one rank writes.

    Attributes:
        width: Width of the tensor that the rank sees.
        first: First column of it that is read.
        last: Column after the last one.
        neurons: int64: number, among all neurons of the site, of each column that is read.
        n_neurons: Neurons of the site, over all ranks.
    """

    width: int
    first: int
    last: int
    neurons: NDArray[np.int64]
    n_neurons: int


def rank_neurons(split: str, n_neurons: int, rank: int, n_ranks: int, heads: Heads | None = None) -> RankNeurons:
    """The share of one rank; over all ranks every neuron is written exactly once.

    Args:
        split: As in `sites.EnginePath`.
        n_neurons: Neurons of the site, over all ranks.
        rank: Which rank, from 0.
        n_ranks: How many there are.
        heads: Of a projection that is split by heads.

    Raises:
        ModelNotSupported: If the neurons can not be divided among that many ranks.

    Example:
        >>> share = rank_neurons("up", 8, rank=1, n_ranks=2)
        >>> share.width, share.first, share.last, share.neurons.tolist()
        (8, 4, 8, [4, 5, 6, 7])
    """
    if split == "all":
        # every rank has all of them: each writes a part, so that none writes twice and all work alike
        own = np.array_split(np.arange(n_neurons), n_ranks)[rank]
        first = int(own[0]) if len(own) else 0
        return RankNeurons(n_neurons, first, first + len(own), own, n_neurons)
    if split in ("heads", "heads_apart"):
        assert heads is not None, "a split by heads needs them"
        return _by_heads(heads, rank, n_ranks, is_apart=split == "heads_apart")
    if n_neurons % n_ranks:
        raise ModelNotSupported(f"{n_neurons} neurons can not be divided among {n_ranks} ranks; take another number of ranks")
    size = n_neurons // n_ranks
    own = np.arange(rank * size, (rank + 1) * size)
    if split == "even":
        return RankNeurons(size, 0, size, own, n_neurons)
    first = 0 if split == "gate" else size
    return RankNeurons(2 * size, first, first + size, own, n_neurons)


def _by_heads(heads: Heads, rank: int, n_ranks: int, *, is_apart: bool) -> RankNeurons:
    if heads.n_query % n_ranks or max(heads.n_key, n_ranks) % min(heads.n_key, n_ranks):
        raise ModelNotSupported(
            f"{heads.n_query} query and {heads.n_key} key heads can not be divided among {n_ranks} ranks; "
            "take another number of ranks"
        )
    if is_apart and heads.n_query != heads.n_key:
        raise ModelNotSupported(f"{heads.n_query} query and {heads.n_key} key heads can not stand head by head")
    n_query, n_key = heads.n_query // n_ranks, max(1, heads.n_key // n_ranks)
    # with fewer key heads than ranks, neighbouring ranks hold the same one and the first of them writes it
    n_replicas = max(1, n_ranks // heads.n_key)
    queries = rank * n_query + np.arange(n_query)
    keys = (rank // n_replicas) * n_key + np.arange(n_key)
    within = np.arange(heads.size)
    if is_apart:
        starts = [(3 * queries + part) * heads.size for part in range(3)]
    else:
        starts = [
            queries * heads.size,
            (heads.n_query + keys) * heads.size,
            (heads.n_query + heads.n_key + keys) * heads.size,
        ]
    if rank % n_replicas:
        starts = starts[:1]
    own = np.concatenate([(part[:, None] + within).ravel() for part in starts])
    return RankNeurons((n_query + 2 * n_key) * heads.size, 0, len(own), own, heads.width)


def site_shapes(points: Iterable[EnginePoint], widths: Mapping[tuple[str, int], int]) -> dict[str, tuple[int, int]]:
    """Site -> (layers, neurons), once every layer is known to be equally wide.

    Raises:
        ModelNotSupported: If one is not.
    """
    sizes: dict[str, list[int]] = {}
    for point in points:
        sizes.setdefault(point.site, []).append(widths[point.site, point.layer])
    return {site: site_shape(site, of_layers) for site, of_layers in sizes.items()}
