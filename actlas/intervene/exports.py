"""Neurons of a store as files that other programs read: safetensors and Parquet, with the weights that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Positive, Quantile, Seed, Share, checks_arguments
from actlas.errors import BackendUnavailable, QueryError
from actlas.intervene.directions import language_direction
from actlas.intervene.foreign import MASK, VALUE
from actlas.intervene.live import load_live
from actlas.intervene.sets import NeuronSet, site_shape, store_sets
from actlas.names import EXPERTS, LAPE, VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.store.files.atomic import naming, write_atomically
from actlas.store.files.parquet import parquet_bytes
from actlas.words import listed


@checks_arguments(QueryError)
def export_neurons(
    store: Atlas | str | Path,
    path: Path | str,
    *,
    checkpoint: str,
    source: str = EXPERTS,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    k: Positive = 500,
    share: Share = 0.01,
    bar_quantile: Quantile = 0.95,
) -> pl.DataFrame:
    """Write sets of neurons of one checkpoint, with what they are set to, to a file that `read_neurons` reads back.

    Args:
        store: With scores, counts or imported sets; or the path of such a store.
        path: ``.safetensors`` holds one set: of every site a mask ``"layers neurons"`` (bool, called mlp_pre.mask) and the values
            (float32, mlp_pre.value). ``.parquet`` holds any number, a row per neuron.
        checkpoint: Whose neurons.
        source: "experts", "lape", "all", or the name of imported sets.
        languages: None for all.
        concepts: Of experts; None for all.
        k: Of experts: how many of each language and concept.
        share: Of LAPE's sets: see `language_neurons`.
        bar_quantile: Likewise.

    Returns:
        What was written: language, concept, site, layer, neuron, value, and of experts rank and ap. Experts have the median over
        texts with the concept as their value, others 0. Both kinds of file name, in their metadata, the weights, the store, the
        checkpoint and the choice.

    Raises:
        QueryError: If there are no such sets; if several are to go into safetensors; or if the path has another ending.
        CheckpointNotFound: If the checkpoint is not in the store.
        BackendUnavailable: If safetensors is not installed.

    Example:
        >>> frame = export_neurons(
        ...     store, folder / "water.safetensors", checkpoint="planted-step64", languages=["en"], concepts=["water"], k=3
        ... )
        >>> frame.select("language", "site", "layer", "neuron").rows()
        [('en', 'attn_out', 1, 11), ('en', 'mlp_pre', 1, 1), ('en', 'mlp_pre', 1, 10)]
    """
    store, path = as_atlas(store), Path(path)
    (checkpoint,) = chosen_checkpoints(store, [checkpoint])
    _check_ending(path)
    limits = {"k": k} if source == EXPERTS else {"share": share, "bar_quantile": bar_quantile} if source == LAPE else {}
    sets = store_sets(store, checkpoint, source, languages=languages, concepts=concepts, **limits)
    return _write(store, path, checkpoint, sets, {"source": source, **limits})


@checks_arguments(QueryError)
def export_direction(
    store: Atlas | str | Path,
    path: Path | str,
    *,
    checkpoint: str,
    language: str,
    against: Sequence[str] | None = None,
    sites: Sequence[str] = ("mlp_hidden",),
    n_texts: Positive = 64,
    split: str | None = None,
    seed: Seed = 0,
    model: Path | str | None = None,
    device: str = "auto",
) -> pl.DataFrame:
    """Write the direction from other languages to one, see `language_direction`, to a file that `read_neurons` reads back.

    Args:
        store: Whose texts the means are taken on; or the path of it.
        path: ``.safetensors`` or ``.parquet``, as in `export_neurons`.
        checkpoint: Of which model; it is loaded.
        language: Where the direction leads.
        against: Where it comes from, each language counting alike; None for all others.
        sites: Of the neurons.
        n_texts: Texts per language at most.
        split: Of which split of the corpus; None for all.
        seed: Of the draw of the texts.
        model: Folder or hub id of the model, where it is not the one that the store names.
        device: Where it runs.

    Returns:
        What was written: language, concept (null), site, layer, neuron, value.

    Raises:
        QueryError: If a language is not there, or the path has another ending.
        CheckpointNotFound: If the checkpoint is not in the store.
        WeightsDiffer: If the model has other weights.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund"], "language": ["en", "en", "de"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> summary = actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "own.actlas", device="cpu")
        >>> to_file = {"checkpoint": "tiny", "language": "de", "device": "cpu"}
        >>> export_direction(folder / "own.actlas", folder / "de.safetensors", **to_file).height
        80
    """
    store, path = as_atlas(store), Path(path)
    (checkpoint,) = chosen_checkpoints(store, [checkpoint])
    _check_ending(path)
    with load_live(store, checkpoint, model=model, device=device) as live:
        frame = language_direction(store, live, language, against=against, sites=sites, n_texts=n_texts, split=split, seed=seed)
        shapes = {site: (len(live.widths(site)), live.widths(site)[0]) for site in sites}
    one = NeuronSet("difference", language, None, frame.drop("weight_hash"))
    about = {"source": one.source, "against": ",".join(against or ["all others"]), "n_texts": n_texts, "seed": seed}
    return _write(store, path, checkpoint, [one], about if split is None else {**about, "split": split}, shapes)


def _check_ending(path: Path) -> None:
    if path.suffix not in (".safetensors", ".parquet"):
        raise QueryError(f"{path} would be of a kind that is not written; name it .safetensors or .parquet")


def _write(
    store: Atlas,
    path: Path,
    checkpoint: str,
    sets: Sequence[NeuronSet],
    choice: Mapping[str, object],
    shapes: Mapping[str, tuple[int, int]] | None = None,
) -> pl.DataFrame:
    """Write sets, with what they are of; shapes of sites are those that the store knows, unless given."""
    about = {
        "weight_hash": str(store.checkpoint(checkpoint)["weight_hash"]),
        "store": store.recipe.fingerprint,
        "checkpoint": checkpoint,
        "actlas": VERSION,
        **{name: str(value) for name, value in choice.items()},
    }
    if path.suffix == ".safetensors":
        if len(sets) > 1:
            several = listed([one.name for one in sets])
            raise QueryError(f"{path} would hold one set, and {len(sets)} are meant ({several}); name one, or write .parquet")
        known = shapes or {site: site_shape(store, checkpoint, site) for site in sets[0].frame["site"].unique()}
        data = tensor_bytes(sets[0], known, about)
    else:
        data = parquet_bytes(pl.concat(map(_rows, sets)), about)
    with naming(path):
        write_atomically(path, [data])
    return pl.concat(map(_rows, sets))


def tensor_bytes(one: NeuronSet, shapes: Mapping[str, tuple[int, int]], about: Mapping[str, str]) -> bytes:
    """A set as safetensors: masks and values of the sites.

    Args:
        one: The set. Values that are null stand as 0.
        shapes: site -> layers, neurons.
        about: Goes into the metadata, beside language and concept.

    Raises:
        BackendUnavailable: If safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise BackendUnavailable("safetensors files are written with safetensors: pip install 'actlas[hf]'") from error
    arrays: dict[str, np.ndarray] = {}
    for (site,), neurons in one.frame.group_by("site", maintain_order=True):
        mask, values = np.zeros(shapes[str(site)], dtype=bool), np.zeros(shapes[str(site)], dtype=np.float32)
        place = neurons["layer"].to_numpy(), neurons["neuron"].to_numpy()
        mask[place], values[place] = True, neurons["value"].fill_null(0).to_numpy()
        arrays |= {f"{site}{MASK}": mask, f"{site}{VALUE}": values}
    named = {"language": one.language, **({} if one.concept is None else {"concept": one.concept})}
    return bytes(save(arrays, {**about, **named}))


def _rows(one: NeuronSet) -> pl.DataFrame:
    named = [pl.lit(one.language).alias("language"), pl.lit(one.concept, pl.String).alias("concept")]
    return one.frame.select(*named, pl.all())
