"""Scores that were computed elsewhere, as a store: out of a frame, out of arrays, or as ml-selfcond leaves them."""

from actlas.query.imports.scores import import_scores
from actlas.query.imports.selfcond import read_selfcond

__all__ = ["import_scores", "read_selfcond"]
