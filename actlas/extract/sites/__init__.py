"""Which module of which architecture holds which site."""

from actlas.extract.sites.families import (
    FAMILIES,
    EngineFamily,
    EnginePath,
    Family,
    SitePath,
    family_of,
    known_architectures,
    known_sites,
)
from actlas.extract.sites.resolve import AUTO_LINEAR, SiteMap, linear_patterns, parse_sites, site_map, site_shape

__all__ = [
    "AUTO_LINEAR",
    "FAMILIES",
    "EngineFamily",
    "EnginePath",
    "Family",
    "SiteMap",
    "SitePath",
    "family_of",
    "known_architectures",
    "known_sites",
    "linear_patterns",
    "parse_sites",
    "site_map",
    "site_shape",
]
