"""From sites that were asked for to the modules of one concrete model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actlas.errors import CapturePointNotFound, ModelNotSupported
from actlas.extract.sites.families import REFUSED, Family, SitePath, family_of, known_architectures, known_sites
from actlas.names import SINGLE_SITES, SITES, CapturePoint

#: Instead of a site: every linear map of the repeated block, under the name of its module.
AUTO_LINEAR = "auto-linear"
_HAND_NAMED = "Name the module yourself, as in the site 'mlp_hidden=transformer.h.{layer}.mlp.dense_4h_to_h:input'"


def site_shape(site: str, widths: Sequence[int]) -> tuple[int, int]:
    """(layers, neurons) of a site, from its width in every layer.

    Raises:
        ModelNotSupported: If layers differ.
    """
    if len(set(widths)) != 1:
        raise ModelNotSupported(f"site {site} is not equally wide in every layer: {list(widths)}; leave it out")
    return len(widths), widths[0]


@dataclass(frozen=True)
class SiteMap:
    """The capture points of some sites in one concrete model.

    Attributes:
        points: Site -> one capture point per layer, by layer.
        layouts: Site -> note on the order of its neurons, where there is one.
        takes_first: Module paths whose output is a tuple of which the first entry is meant.
    """

    points: Mapping[str, tuple[CapturePoint, ...]]
    layouts: Mapping[str, str]
    takes_first: frozenset[str]


def site_map(
    architecture: str,
    n_layers: int,
    sites: Iterable[str],
    site_modules: Mapping[str, str] | None = None,
    *,
    has_head: bool = True,
) -> SiteMap:
    """Capture points of `sites` in a model.

    Args:
        architecture: Class name from config.json.
        n_layers: Number of blocks.
        sites: Sites asked for.
        site_modules: Sites named by hand: site -> "path with {layer}:input" or ":output". They win over the table.
        has_head: Whether the model was loaded with its head, so that the base model is one attribute further down.

    Raises:
        CapturePointNotFound: If a site is neither named by hand nor known for this architecture.

    Example:
        >>> places = site_map("GPT2LMHeadModel", 2, ["mlp_hidden"])
        >>> [(point.modules, point.side) for point in places.points["mlp_hidden"]]
        [(('transformer.h.0.mlp.c_proj',), 'input'), (('transformer.h.1.mlp.c_proj',), 'input')]
    """
    by_hand = dict(site_modules or {})
    family = family_of(architecture)
    points: dict[str, tuple[CapturePoint, ...]] = {}
    layouts: dict[str, str] = {}
    for site in sites:
        if site in by_hand:
            points[site] = _hand_named(site, by_hand[site], n_layers)
            continue
        if family is None:
            if architecture in REFUSED:
                raise ModelNotSupported(f"{architecture} is not read: {REFUSED[architecture]}")
            raise CapturePointNotFound(
                f"no sites known for architecture {architecture!r} (known: {', '.join(known_architectures())}). {_HAND_NAMED}"
            )
        points[site] = _from_family(site, family, architecture, n_layers, has_head)
        if site in family.sites and family.sites[site].layout:
            layouts[site] = family.sites[site].layout
    return SiteMap(points, layouts, _tuple_blocks(family, n_layers, has_head))


def _base(family: Family, has_head: bool) -> str:
    return f"{family.prefix}." if has_head else ""


def _tuple_blocks(family: Family | None, n_layers: int, has_head: bool) -> frozenset[str]:
    if family is None or family.block_output == "tensor":
        return frozenset()
    return frozenset(f"{_base(family, has_head)}{family.layers_path}.{layer}" for layer in range(n_layers))


def _from_family(site: str, family: Family, architecture: str, n_layers: int, has_head: bool) -> tuple[CapturePoint, ...]:
    base = _base(family, has_head)
    if site == "embed":
        return (CapturePoint("embed", 0, (f"{base}{family.embed}",), "output"),)
    place = SitePath(("",)) if site == "resid" else family.sites.get(site)
    if place is None:
        raise CapturePointNotFound(f"{architecture} has no site {site!r}; it has {', '.join(known_sites(family))}. {_HAND_NAMED}")
    return tuple(
        CapturePoint(
            site,
            layer,
            tuple(".".join(filter(None, (f"{base}{family.layers_path}.{layer}", path))) for path in place.modules),
            place.side,
            place.part,
        )
        for layer in range(n_layers)
    )


def parse_sites(arguments: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split sites as a caller writes them into site names and the modules named by hand.

    Raises:
        CapturePointNotFound: If a name is neither a known site nor given a module.

    Example:
        >>> parse_sites(["mlp_pre", "mlp_hidden=h.{layer}.mlp.c_proj:input"])
        (('mlp_pre', 'mlp_hidden'), {'mlp_hidden': 'h.{layer}.mlp.c_proj:input'})
    """
    sites: list[str] = []
    by_hand: dict[str, str] = {}
    for argument in arguments:
        site, equals, pattern = argument.partition("=")
        if argument == AUTO_LINEAR:
            raise CapturePointNotFound(f"{AUTO_LINEAR} stands for many sites; it is resolved per model, not here")
        if equals:
            _hand_named(site, pattern, 1)
            by_hand[site] = pattern
        elif site not in SITES:
            raise CapturePointNotFound(f"{site!r} is not a site; the sites are {', '.join(SITES)}. {_HAND_NAMED}")
        if site not in sites:
            sites.append(site)
    return tuple(sites), by_hand


def linear_patterns(blocks: str, modules: Sequence[str]) -> list[str]:
    """Sites named by hand, as `parse_sites` takes them, for linear modules of a block by hand.

    Example:
        >>> linear_patterns("transformer.h", ["attn.q_proj"])
        ['attn_q_proj=transformer.h.{layer}.attn.q_proj:output']
    """
    return [f"{path.replace('.', '_')}={blocks}.{{layer}}.{path}:output" for path in modules]


def _hand_named(site: str, pattern: str, n_layers: int) -> tuple[CapturePoint, ...]:
    path, colon, side = pattern.rpartition(":")
    if not colon:
        path, side = pattern, "output"
    if side not in ("input", "output") or not path:
        raise CapturePointNotFound(f"site {site!r} was given as {pattern!r}; write a module path that ends in :input or :output")
    if not re.fullmatch(r"[A-Za-z0-9_]+", site):
        raise CapturePointNotFound(f"site name {site!r} may hold letters, digits and underscores only")
    if "{layer}" not in path:
        if n_layers > 1 and site not in SINGLE_SITES:
            raise CapturePointNotFound(
                f"site {site!r} was given as {pattern!r}, which names one module for all {n_layers} layers; "
                "put {layer} where the number of the block stands"
            )
        return (CapturePoint(site, 0, (path,), side),)
    return tuple(CapturePoint(site, layer, (path.replace("{layer}", str(layer)),), side) for layer in range(n_layers))
