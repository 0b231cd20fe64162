"""Which module of which architecture holds which site."""

from actlas.extract.sites.resolve import FAMILIES, Family, SiteMap, known_sites, parse_sites, site_map, site_shape

__all__ = ["FAMILIES", "Family", "SiteMap", "known_sites", "parse_sites", "site_map", "site_shape"]
