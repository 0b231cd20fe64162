"""Sets of neurons that a store holds: experts, language-specific neurons, sets that others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from actlas.errors import QueryError
from actlas.names import ALL, EXPERTS, LAPE, fingerprint
from actlas.query import Atlas, language_neurons, top_experts
from actlas.query.choices import chosen_labels
from actlas.store.store import Store
from actlas.words import listed, no_such

#: LAPE counts tokens before or behind the activation function of an MLP; what is acted on is behind it, and behind the product
#: with the linear branch where there is one: it is 0 iff the activation function gives 0.
_MLP = ("mlp_pre", "mlp_hidden")
_ACTED_ON = "mlp_hidden"


@dataclass(frozen=True)
class NeuronSet:
    """Neurons that are acted on together.

    Attributes:
        source: "experts", "lape", "all" (every neuron of the MLPs), or the name of imported sets or of a file.
        language: Whose set it is.
        concept: Of experts, what they detect; None for others.
        frame: Columns site, layer, neuron, value; of experts also rank, ap and median.
    """

    source: str
    language: str
    concept: str | None
    frame: pl.DataFrame

    @property
    def name(self) -> str:
        """What messages call it."""
        return " ".join(filter(None, (self.source, self.language, self.concept)))

    @property
    def digest(self) -> str:
        """Hash of its neurons and their values."""
        return fingerprint([self.source, self.language, self.concept, self.frame.rows()])


def store_sets(
    store: Atlas,
    checkpoint: str,
    source: str,
    *,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    k: int = 500,
    share: float = 0.01,
    bar_quantile: float = 0.95,
) -> list[NeuronSet]:
    """The sets of one checkpoint, one per language; of experts, one per language and concept.

    Args:
        store: Where they are.
        checkpoint: Whose.
        source: "experts", "lape", "all" (every neuron of the MLPs, for every language), or the name of imported sets.
        languages: None for all.
        concepts: Of experts; None for all.
        k: Of experts: how many.
        share: Of LAPE's: see `language_neurons`.
        bar_quantile: Likewise.

    Raises:
        QueryError: If there are no such sets, or a language or concept is unknown.
    """
    if concepts is not None and source != EXPERTS:
        raise QueryError(f"sets of {source} are of languages, not of concepts; leave the concepts out")
    if source == EXPERTS:
        chosen_labels(store, languages, concepts)
        rows = top_experts(store, k=k, checkpoints=[checkpoint], languages=languages, concepts=concepts, keep=False)
        frame = rows.with_columns(pl.col("median").alias("value"))
    elif source == LAPE:
        frame = language_neurons(store, checkpoints=[checkpoint], share=share, bar_quantile=bar_quantile, keep=False)
    elif source == ALL:
        frame = _every_neuron(store, checkpoint)
    else:
        frame = _imported(store, checkpoint, source)
    if source != EXPERTS:
        site = pl.when(pl.col("site").is_in(_MLP)).then(pl.lit(_ACTED_ON)).otherwise("site").alias("site")
        frame = frame.with_columns(site, pl.lit(0.0, pl.Float32).alias("value"))
    sets = sets_of(source, frame)
    existing = list(dict.fromkeys(one.language for one in sets))
    unknown = [name for name in languages or () if name not in existing]
    if unknown or not sets:
        raise QueryError(no_such(f"set of {source} of language", unknown or ["any"], existing, f"{store.path}, {checkpoint}"))
    place = {language: number for number, language in enumerate(store.corpus.languages)}
    sets.sort(key=lambda one: place.get(one.language, len(place)))
    return [one for one in sets if languages is None or one.language in languages]


def sets_of(source: str, frame: pl.DataFrame) -> list[NeuronSet]:
    """One set per language and concept that a frame has; a frame without languages is one set, called like its source."""
    concept = pl.col("concept") if "concept" in frame.columns else pl.lit(None, pl.String).alias("concept")
    language = pl.col("language") if "language" in frame.columns else pl.lit(source).alias("language")
    columns = [name for name in ("site", "layer", "neuron", "value", "rank", "ap", "auroc") if name in frame.columns]
    rows = frame.select(language, concept, *columns)
    return [
        NeuronSet(source, str(key[0]), None if key[1] is None else str(key[1]), part.drop("language", "concept"))
        for key, part in rows.group_by("language", "concept", maintain_order=True)
    ]


def site_shape(store: Store, checkpoint: str, site: str) -> tuple[int, int]:
    """Layers and neurons of a site, from whatever the store has there; of an MLP, at either side of its activation function.

    Raises:
        QueryError: If it has nothing there.
    """
    record = store.snapshot().checkpoints[checkpoint]
    for one in _MLP if site in _MLP else (site,):
        if one in record.sites:
            return record.shape(one)
        if one in record.counts:
            _, n_layers, n_neurons = store.token_counts(checkpoint, one).active.shape
            return n_layers, n_neurons
    known = listed(sorted({*record.sites, *record.counts}))
    raise QueryError(f"how many neurons {checkpoint} has at {site} is not known to {store.path}; it has some at {known}")


def with_auroc(store: Store, checkpoint: str, one: NeuronSet) -> pl.DataFrame:
    """The neurons of a set of experts with column auroc, by which they are damped.

    Raises:
        QueryError: If it is no set of experts, or their auroc was not scored.
    """
    if "auroc" in one.frame.columns:
        return one.frame
    if one.concept is None:
        raise QueryError(f"{one.name} are no experts of a concept, and damping is by how well a neuron detects one")
    parts = []
    for (site,), neurons in one.frame.group_by("site", maintain_order=True):
        scores = store.scores(checkpoint, str(site))
        if "auroc" not in scores.stats:
            raise QueryError(
                f"auroc of {checkpoint} at {site} was not scored; score it: actlas score {store.path} --stats ap,auroc"
            )
        layers, row = np.unique(neurons["layer"].to_numpy(), return_inverse=True)
        slab = scores.read("auroc", one.language, one.concept, layers.tolist())
        auroc = np.asarray(slab, dtype=np.float64)[row, neurons["neuron"].to_numpy()]
        parts.append(neurons.with_columns(pl.Series("auroc", auroc)))
    return pl.concat(parts)


def _every_neuron(store: Store, checkpoint: str) -> pl.DataFrame:
    """All neurons that language-specific ones are acted on among, once for every language."""
    n_layers, n_neurons = site_shape(store, checkpoint, _ACTED_ON)
    layer, neuron = np.divmod(np.arange(n_layers * n_neurons), n_neurons)
    places = pl.DataFrame(
        {"site": _ACTED_ON, "layer": layer, "neuron": neuron}, schema_overrides={"layer": pl.Int32, "neuron": pl.Int32}
    )
    return pl.DataFrame({"language": store.corpus.languages}).join(places, how="cross", maintain_order="left_right")


def _imported(store: Atlas, checkpoint: str, source: str) -> pl.DataFrame:
    if store.table_file("neuron_sets", checkpoint) is None:
        raise QueryError(
            f"no sets called {source} beside {checkpoint}; it has {EXPERTS}, {LAPE}, {ALL}, and sets that are imported"
        )
    frame = store.table("neuron_sets", checkpoint)
    names = frame["name"].unique(maintain_order=True).to_list()
    if source not in names:
        raise QueryError(no_such("neuron set", [source], [EXPERTS, LAPE, ALL, *names], f"{store.path}, {checkpoint}"))
    return frame.filter(pl.col("name") == source)
