"""Neurons of a store as files that other programs read: safetensors and Parquet, with the weights that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Positive, Quantile, Share, checks_arguments
from actlas.errors import BackendUnavailable, QueryError
from actlas.intervene.foreign import MASK, VALUE
from actlas.intervene.sets import EXPERTS, LAPE, NeuronSet, site_shape, store_sets
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.store.corpus.corpus import parquet_bytes
from actlas.store.files.atomic import naming, write_atomically
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
        source: "experts", "lape", or the name of imported sets.
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
    if path.suffix not in (".safetensors", ".parquet"):
        raise QueryError(f"{path} would be of a kind that is not written; name it .safetensors or .parquet")
    limits = {"k": k} if source == EXPERTS else {"share": share, "bar_quantile": bar_quantile} if source == LAPE else {}
    sets = store_sets(store, checkpoint, source, languages=languages, concepts=concepts, **limits)
    about = {
        "weight_hash": str(store.checkpoint(checkpoint)["weight_hash"]),
        "store": store.recipe.fingerprint,
        "checkpoint": checkpoint,
        "source": source,
        "actlas": VERSION,
        **{name: str(value) for name, value in limits.items()},
    }
    if path.suffix == ".parquet":
        data = parquet_bytes(pl.concat(map(_rows, sets)), about)
    else:
        if len(sets) > 1:
            several = listed([one.name for one in sets])
            raise QueryError(f"{path} would hold one set, and {len(sets)} are meant ({several}); name one, or write .parquet")
        shapes = {site: site_shape(store, checkpoint, site) for site in sets[0].frame["site"].unique()}
        data = tensor_bytes(sets[0], shapes, about)
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
