"""Published sets of language-specific neurons, kept in a store and compared with LAPE's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import polars as pl

from actlas.allowed import Names, Number, Quantile, Share, checks_arguments
from actlas.errors import CubeNotFound, QueryError
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.query.keep import basis_of
from actlas.query.questions.lape import language_neurons
from actlas.query.schema import TABLES
from actlas.store.neuron_sets import read_neuron_sets
from actlas.store.store import Store

_LOG = logging.getLogger(__name__)
_TABLE = "neuron_sets"
#: Name under which LAPE's own sets stand among the imported ones.
LAPE = "lape"
#: Sites whose neurons of one index are one neuron, before and after the activation function.
_MLP = ("mlp_pre", "mlp_hidden")

_PAIRS = {
    "checkpoint": pl.String(),
    "name_a": pl.String(),
    "language_a": pl.String(),
    "name_b": pl.String(),
    "language_b": pl.String(),
    "n_a": pl.Int64(),
    "n_b": pl.Int64(),
    "shared": pl.Int64(),
    "jaccard": pl.Float64(),
    "chance": pl.Float64(),
}


@checks_arguments(QueryError)
def import_neuron_sets(
    store: Atlas | str | Path,
    path: Path | str,
    *,
    name: str,
    languages: Sequence[str],
    site: str | None = None,
    checkpoints: Names | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Keep the neuron sets of a published file as table `neuron_sets`, beside the checkpoints that they are compared with.

    Args:
        store: Open with mode "a", or the path of a store.
        path: The file, see `actlas.store.read_neuron_sets`.
        name: What the sets are called from now on; LAPE's own are called lape.
        languages: Their names, in the order of the file; those of the store where they are the same languages.
        site: Where their neurons are; None for the site that LAPE is about, see `Store.lape_site`.
        checkpoints: None for all.
        replace: Put them in the place of other sets of that name.

    Returns:
        Columns of table `neuron_sets`: checkpoint, name, language, site, layer, neuron, digest; these sets alone.

    Raises:
        NeuronSetError: If the file cannot be used, or does not fit a checkpoint.
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If the store has nothing at that site, so that its neurons are not known.
        QueryError: If other sets have that name.
        ReadOnlyStore: If the store is open with mode "r".

    Source: Tang et al. 2024, and the files published with it.

    Example:
        >>> import torch
        >>> from actlas.testing import planted_store
        >>> own = actlas.open_store(planted_store(folder / "sets.actlas"), "a")
        >>> torch.save([[torch.tensor([16]), torch.tensor([3])]], folder / "fr.neuron.pth")
        >>> frame = import_neuron_sets(own, folder / "fr.neuron.pth", name="published", languages=["fr"])
        >>> own.sql("SELECT DISTINCT name, language, site, layer, neuron FROM neuron_sets ORDER BY ALL").rows()
        [('published', 'fr', 'mlp_hidden', 0, 16), ('published', 'fr', 'mlp_hidden', 1, 3)]
    """
    if name == LAPE:
        raise QueryError(f"sets cannot be called {name!r}; {LAPE} are those that are computed from the store's own counts")
    store = as_atlas(store, "a")
    answers = [TABLES[_TABLE].empty()]
    # all are checked before the first is kept
    for checkpoint in chosen_checkpoints(store, checkpoints):
        where = site or store.snapshot().checkpoints[checkpoint].lape_site
        if where is None:
            raise QueryError(f"which site the neurons of {checkpoint} are at is not known; name it")
        sets = read_neuron_sets(path, languages, shape=_shape(store, checkpoint, where))
        constant = {"checkpoint": checkpoint, "name": name, "site": where}
        answers.append(TABLES[_TABLE].conform(sets.with_columns(pl.lit(value).alias(key) for key, value in constant.items())))
        if not replace and not _is_free(_kept(store, checkpoint), answers[-1]):
            raise QueryError(f"{checkpoint} has other sets called {name}; give these another name, or replace those")
    for frame in answers[1:]:
        _add(store, frame, {"file": Path(path).name, "languages": list(languages)})
    return pl.concat(answers)


def _shape(store: Store, checkpoint: str, site: str) -> tuple[int, int]:
    """Layers and neurons of a site, from whatever the store has there."""
    record = store.snapshot().checkpoints[checkpoint]
    if site in record.sites:
        return record.shape(site)
    if site in record.counts:
        _, n_layers, n_neurons = store.token_counts(checkpoint, site).active.shape
        return n_layers, n_neurons
    known = ", ".join(sorted({*record.sites, *record.counts})) or "none"
    raise CubeNotFound(
        f"{checkpoint} has neither values nor counts at {site}, so its neurons there are not known; it has some at {known}"
    )


def _kept(store: Store, checkpoint: str) -> pl.DataFrame:
    """All sets that are kept beside a checkpoint."""
    file = store.table_file(_TABLE, checkpoint)
    frame = TABLES[_TABLE].empty() if file is None else pl.read_parquet(file).with_columns(pl.lit(checkpoint).alias("checkpoint"))
    return TABLES[_TABLE].conform(frame)


def _is_free(kept: pl.DataFrame, sets: pl.DataFrame) -> bool:
    """Whether no sets have that name, or the very same do."""
    same_name = kept.join(sets.select("name").unique(), on="name", how="semi", maintain_order="left")
    return same_name.is_empty() or same_name.equals(sets)


def _add(store: Store, sets: pl.DataFrame, source: dict[str, Any]) -> None:
    """Keep sets in the place of those of the same name, beside all others, also those that another process adds meanwhile."""
    checkpoint, name, is_kept = sets["checkpoint"][0], sets["name"][0], False
    part = (_TABLE, checkpoint, None)
    while not is_kept:
        seen = store.part_files().get(part)
        sources = {} if seen is None else store.table_settings(_TABLE, checkpoint)["sets"]
        others = _kept(store, checkpoint).filter(pl.col("name") != name)
        basis = basis_of(store, _TABLE, checkpoint, {})
        settings = {"sets": {**sources, name: source}, "basis": basis, "actlas": VERSION}

        def is_as_seen(seen: Path | None = seen) -> bool:
            return store.part_files().get(part) == seen

        is_kept = store.publish_table(_TABLE, checkpoint, pl.concat([others, sets]), settings, only_if=is_as_seen)


@checks_arguments(QueryError)
def neuron_set_overlap(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    share: Share = 0.01,
    bar_quantile: Quantile = 0.95,
    threshold: Number | None = None,
) -> pl.DataFrame:
    """How many neurons every two sets have in common: imported ones, and LAPE's own where tokens were counted.

    Args:
        store: With imported sets or counts of active tokens, or the path of such a store.
        checkpoints: None for all.
        share: As in `language_neurons`, of LAPE's own sets.
        bar_quantile: Likewise.
        threshold: Likewise.

    Returns:
        One row per checkpoint and pair, that of a set with itself included: name_a, language_a, name_b, language_b, the sizes n_a
        and n_b, shared, jaccard, and chance: how many two random sets of these sizes would share. A language of null stands for
        all languages of that name together. Neurons of `mlp_pre` and `mlp_hidden` are the same; sets of other sites are
        not paired with them.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        KernelInputError: If a share or quantile is outside 0 to 1.

    Source: Tang et al. 2024.

    Example:
        >>> import torch
        >>> from actlas.testing import planted_store
        >>> own = actlas.open_store(planted_store(folder / "overlap.actlas"), "a")
        >>> torch.save([[torch.tensor([16, 22]), torch.tensor([3])]], folder / "fr.neuron.pth")
        >>> frame = import_neuron_sets(own, folder / "fr.neuron.pth", name="published", languages=["fr"])
        >>> pairs = neuron_set_overlap(own, checkpoints=["planted-step64"], share=0.05)
        >>> french = pairs.filter(language_a="fr", language_b="fr").select("name_a", "name_b", "n_a", "n_b", "shared")
        >>> french.filter(name_a="published", name_b="lape").rows()
        [('published', 'lape', 3, 1, 1)]
    """
    store = as_atlas(store)
    rows: list[tuple[Any, ...]] = []
    for checkpoint in chosen_checkpoints(store, checkpoints):
        own = _lape_sets(store, checkpoint, {"share": share, "bar_quantile": bar_quantile, "threshold": threshold})
        sets = pl.concat([_kept(store, checkpoint).drop("digest"), own])
        rows += [(checkpoint, *pair) for pair in _pairs(store, checkpoint, sets)]
    return pl.DataFrame(rows, schema=_PAIRS, orient="row")


def _lape_sets(store: Atlas, checkpoint: str, settings: dict[str, Any]) -> pl.DataFrame:
    """LAPE's own sets with the columns of imported ones; none where tokens were not counted."""
    columns = [name for name in TABLES[_TABLE].columns if name != "digest"]
    try:
        store.lape_site(checkpoint)
    except CubeNotFound as error:
        _LOG.info("LAPE's own sets are left out: %s", error)
        return TABLES[_TABLE].empty().select(columns)
    own = language_neurons(store, checkpoints=[checkpoint], keep=False, **settings)
    return own.with_columns(pl.lit(LAPE).alias("name")).select(columns)


def _pairs(store: Store, checkpoint: str, sets: pl.DataFrame) -> Iterator[tuple[Any, ...]]:
    """(name, language) twice, sizes, shared, jaccard, chance of every pair of sets of one site."""
    mlp = pl.when(pl.col("site").is_in(_MLP)).then(pl.lit(_MLP[1])).otherwise(pl.col("site"))
    for _, group in sets.with_columns(mlp.alias("group")).group_by("group", maintain_order=True):
        n_layers, width = _shape(store, checkpoint, group["site"][0])
        places: dict[tuple[str, str | None], set[int]] = {}
        for name, language, layer, neuron in group.select("name", "language", "layer", "neuron").iter_rows():
            for key in ((name, None), (name, language)):
                places.setdefault(key, set()).add(layer * width + neuron)
        for (one, a), (other, b) in combinations_with_replacement(places.items(), 2):
            shared = len(a & b)
            yield (*one, *other, len(a), len(b), shared, shared / len(a | b), len(a) * len(b) / (n_layers * width))
