"""What a question is about: which checkpoints, sites, languages and concepts were chosen, and that they exist."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actlas.errors import CheckpointNotFound, QueryError, ScoresNotFound
from actlas.names import LINEAR_SITES
from actlas.query.neurons import NeuronAxis
from actlas.store.cube import TokenCube
from actlas.store.store import Store
from actlas.words import listed, no_such

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """Which experts a question is about.

    Attributes:
        k: How many per language and concept.
        sites: Ranked together; None for the linear sites that are scored.
        languages: None for all.
        concepts: None for all.
    """

    k: int
    sites: Sequence[str] | None = None
    languages: Sequence[str] | None = None
    concepts: Sequence[str] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is about all languages and concepts."""
        return self.languages is None and self.concepts is None


def chosen_checkpoints(store: Store, names: Sequence[str] | None) -> list[str]:
    """The checkpoints that a question is about: those named, in that order, or all of them.

    Raises:
        CheckpointNotFound: If one is not in the store; the message says which are, the nearest first.
        QueryError: If one is named twice.
        IncompleteCube: If one was begun and did not commit.
    """
    existing = store.checkpoints
    if names is None:
        return existing
    unknown = [name for name in names if name not in existing]
    for name in unknown:
        # one that was begun says so itself
        if name in store.unfinished:
            store.checkpoint(name)
    if unknown:
        raise CheckpointNotFound(no_such("checkpoint", unknown, existing, store.path))
    if len(set(names)) < len(names):
        raise QueryError(f"a checkpoint is named twice: {', '.join(names)}")
    return list(names)


def followed_checkpoints(store: Store, names: Sequence[str] | None) -> list[str]:
    """The checkpoints that are followed over training: those named, or all but the controls, whose weights are no step of it."""
    return chosen_checkpoints(store, names) if names is not None else [c for c in store.checkpoints if c not in store.controls]


def tell_ties(store: Store, names: Sequence[str]) -> None:
    """Say by what checkpoints of one step, or of none, are ordered: nothing that was measured says which came first."""
    by_step: dict[Any, list[str]] = {}
    for name in names:
        by_step.setdefault(store.checkpoint(name).get("step"), []).append(name)
    for step, tied in by_step.items():
        if len(tied) > 1:
            what = "no step" if step is None else f"step {step}"
            _LOG.warning("checkpoints %s have %s; they stand in the order of their ids", listed(tied), what)


def chosen_n(store: Store, n: int | None, usual: int) -> int:
    """How many texts: as many as were asked for, or what is usual and there.

    Raises:
        QueryError: If the corpus has fewer than were asked for.
    """
    n_texts = store.corpus.n_texts
    if n is not None and n > n_texts:
        raise QueryError(f"n = {n}, but the corpus of {store.path} has {n_texts:,} texts; ask for {n_texts:,} or fewer")
    return min(usual, n_texts) if n is None else n


def place_of_text(store: Store, text_id: int) -> int:
    """Where a text is on the text axis.

    Raises:
        QueryError: If there is no such text.
    """
    ids = store.corpus.texts["text_id"].to_numpy()
    place = int(np.searchsorted(ids, text_id))
    if place == len(ids) or ids[place] != text_id:
        raise QueryError(f"no text {text_id} in {store.path}, whose text_id go from {ids[0]} to {ids[-1]}")
    return place


def check_min_languages(store: Store, min_languages: int, name: str = "min_languages") -> None:
    """Refuse a number of languages that the corpus does not have."""
    n_languages = len(store.corpus.languages)
    if min_languages > n_languages:
        raise QueryError(
            f"{name} = {min_languages}, but the corpus of {store.path} has {n_languages} languages "
            f"({listed(store.corpus.languages)}); ask for {n_languages} or fewer"
        )


def chosen_labels(
    store: Store, languages: Sequence[str] | None, concepts: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Languages and concepts asked for, in the store's order; None for all.

    Raises:
        QueryError: If one is not in the corpus.
    """
    chosen = []
    for what, asked, existing in (("language", languages, store.corpus.languages), ("concept", concepts, store.corpus.concepts)):
        unknown = [name for name in asked or () if name not in existing]
        if unknown:
            raise QueryError(no_such(what, unknown, existing, store.path))
        chosen.append(tuple(name for name in existing if asked is None or name in asked))
    return chosen[0], chosen[1]


def linear_sites(store: Store, checkpoint: str, sites: Sequence[str] | None) -> tuple[str, ...]:
    """Sites to rank: those named, or the linear ones that are scored.

    Raises:
        ScoresNotFound: If no linear site is scored, or one named is not.
    """
    scored = store.scored_sites(checkpoint)
    if sites is not None:
        for site in sites:
            if site not in scored:
                store.shape(checkpoint, site)
                raise ScoresNotFound(
                    f"scores of {checkpoint} at {site} are not computed; scored are {', '.join(scored) or 'none'}. "
                    f"Compute them with score_neurons(sites=['{site}']), or: actlas score {store.path} --site {site}"
                )
        return tuple(sorted(set(sites)))
    linear = tuple(site for site in scored if site in LINEAR_SITES)
    if not linear:
        raise ScoresNotFound(
            f"no linear site of {checkpoint} is scored (scored: {', '.join(scored) or 'none'}; linear are "
            f"{', '.join(LINEAR_SITES)}); compute scores with actlas score {store.path}, or name the sites to rank"
        )
    return linear


def check_k(k: int, axis: NeuronAxis, skip: int = 0) -> None:
    """Refuse a k that no ranking can serve."""
    if k < 1 or skip < 0 or k + skip > axis.n_neurons:
        sites = ", ".join(axis.sites)
        raise QueryError(
            f"k = {k} (after {skip}) does not fit {axis.n_neurons:,} neurons of {sites}; choose 1 to {axis.n_neurons - skip:,}"
        )


def chosen_token_cubes(store: Store, checkpoint: str, sites: Sequence[str] | None) -> list[TokenCube]:
    """Sampled token vectors of some sites of a checkpoint; None for all that it has, which may be none.

    Raises:
        CubeNotFound: If a site has no vectors.
    """
    chosen = store.checkpoint(checkpoint)["token_cubes"] if sites is None else sites
    return [store.token_cube(checkpoint, site) for site in chosen]


def no_token_vectors(store: Store) -> QueryError:
    """The error for a store that has none anywhere: what to extract with."""
    if store.is_imported:
        return QueryError(f"{store.only_scores}; there is no token vector in it")
    return QueryError(
        f"{store.path} has no sampled token vectors; extract with a token_sample, on the command line --tokens-per-text 4"
    )
