"""What a question is about: which checkpoints, sites, languages and concepts were chosen, and that they exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from actlas.errors import CheckpointNotFound, QueryError, ScoresNotFound
from actlas.names import LINEAR_SITES
from actlas.query.neurons import NeuronAxis
from actlas.store.store import Store


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
        CheckpointNotFound: If one is not in the store; the message says which are, and which is nearest.
        IncompleteCube: If one was begun and did not commit.
    """
    existing = store.checkpoints
    if names is None:
        return existing
    for name in names:
        if name in existing:
            continue
        if name in store.unfinished:
            store.checkpoint(name)
        nearest = get_close_matches(name, existing, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise CheckpointNotFound(f"no checkpoint {name!r} in {store.path}; {hint}it has {', '.join(existing) or 'none yet'}")
    return list(names)


def chosen_labels(
    store: Store, languages: Sequence[str] | None, concepts: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Languages and concepts asked for, in the store's order; None for all.

    Raises:
        QueryError: If one is not in the corpus, or none is left.
    """
    chosen = []
    for what, asked, existing in (("language", languages, store.corpus.languages), ("concept", concepts, store.corpus.concepts)):
        unknown = [name for name in asked or () if name not in existing]
        if unknown or (asked is not None and not asked):
            raise QueryError(f"no {what} {', '.join(map(repr, unknown))} in {store.path}; it has {', '.join(existing)}")
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
