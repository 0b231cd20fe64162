"""The texts with the highest values of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.allowed import Bytes, Count, Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import BLOCK_BYTES, NeuronBlock, StepProgress, Steps, neuron_blocks
from actlas.query.choices import chosen_checkpoints, chosen_n
from actlas.query.keep import Keeper, KeptPart, part_with
from actlas.query.neurons import check_neuron, top_columns
from actlas.query.schema import TABLES
from actlas.store.cube import Cube
from actlas.store.store import Store


@checks_arguments(QueryError)
def top_texts(
    store: Atlas | str | Path,
    *,
    sites: Sequence[str],
    checkpoints: Names | None = None,
    n: Positive | None = None,
    block_bytes: Bytes = BLOCK_BYTES,
    progress: StepProgress | None = None,
    keep: bool | None = None,
) -> pl.DataFrame:
    """The n texts with the highest values of every neuron of some sites; among equal values the lower text_id comes first.

    Args:
        store: With cubes, or the path of such a store.
        sites: Which; there is a row per neuron and text, so name what you will ask for.
        checkpoints: None for all.
        n: Texts per neuron; None for 64, or as many as the corpus has. A kept table holds the largest n that was asked for, and
            answers every smaller one.
        block_bytes: Values in memory at a time.
        progress: Called after every block.
        keep: Whether the answer is kept in table `top_texts`, beside the sites that it holds already. None: if the store was
            opened with mode "a".

    Returns:
        Columns of table `top_texts`: checkpoint, site, layer, neuron, rank, text_id, value.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a checkpoint has no cube at a site.
        QueryError: If n is less than 1, or more than there are texts.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Example:
        >>> best = top_texts(store, sites=["mlp_pre"], checkpoints=["planted-step64"], n=2)
        >>> best.filter(layer=0, neuron=4).select("rank", "text_id").rows()
        [(1, 77), (2, 83)]
    """
    store = as_atlas(store, "a" if keep else "r")
    n = chosen_n(store, n, 64)
    names, sites = chosen_checkpoints(store, checkpoints), sorted(set(sites))
    parts = {(name, site): _kept_site(store, name, site, n) for name in names for site in sites}
    n_neurons = sum(int(np.prod(store.shape(*cube))) for cube, part in parts.items() if part is None)
    steps, answers = Steps(progress, n_neurons), [TABLES["top_texts"].empty()]
    with Keeper(store, keep) as keeper:
        for name in names:
            computed = {}
            for site in sites:
                part = parts[name, site]
                if part is not None:
                    answers.append(part.filter(pl.col("rank") <= n).collect())
                    continue
                cube = store.cube(name, site)
                frames = []
                for block in neuron_blocks(cube, block_bytes=block_bytes):
                    frames.append(_best_of_block(cube, block, n))
                    steps.add(block.values.shape[0], f"{name} {site}")
                computed[site] = pl.concat(frames)
                answers.append(computed[site])
            if computed:
                _keep_sites(keeper, name, computed, n)
    return pl.concat(answers)


def _best_of_block(cube: Cube, block: NeuronBlock, n: int) -> pl.DataFrame:
    """Table `top_texts` of a block of neurons."""
    best, values = top_columns(block.values, n)
    n_rows, n_ranks = best.shape
    columns: dict[str, Any] = {
        "checkpoint": pl.repeat(cube.checkpoint, best.size, dtype=pl.String, eager=True),
        "site": pl.repeat(cube.site, best.size, dtype=pl.String, eager=True),
        "layer": pl.repeat(block.layer, best.size, dtype=pl.Int32, eager=True),
        "neuron": np.repeat(np.arange(block.start, block.start + n_rows), n_ranks),
        "rank": np.tile(np.arange(1, n_ranks + 1), n_rows),
        "text_id": cube.text_ids[best.reshape(-1)],
        "value": values.reshape(-1).astype(np.float32),
    }
    return TABLES["top_texts"].conform(pl.DataFrame(columns))


def _texts_kept(part: KeptPart | None) -> dict[str, int]:
    """site -> texts per neuron that a part of table `top_texts` holds. Older tables hold as many of every site."""
    if part is None:
        return {}
    settings = part.settings
    return dict(settings["n_of_site"]) if "n_of_site" in settings else dict.fromkeys(settings["sites"], settings["n"])


def _kept_site(store: Store, checkpoint: str, site: str, n: int) -> pl.LazyFrame | None:
    """Rows of table `top_texts` of one site; None where it does not hold that many texts per neuron."""
    part = part_with(store, "top_texts", checkpoint, {})
    if part is None or _texts_kept(part).get(site, 0) < n:
        return None
    # rows follow from the values alone, so an older table, which does not say what it stands on, answers too
    if "basis" in part.settings and not part.is_current(store):
        return None
    return part.scan().filter(pl.col("site") == site)


def _keep_sites(keeper: Keeper, checkpoint: str, computed: dict[str, pl.DataFrame], n: int) -> None:
    """Keep the rows of some sites together with those of the other sites that the table holds already."""
    if not keeper.is_on:
        return
    part = part_with(keeper.store, "top_texts", checkpoint, {})
    n_of_site = _texts_kept(part) | dict.fromkeys(computed, n)
    older = [] if part is None else [part.scan().filter(~pl.col("site").is_in(list(computed))).collect()]
    frame = pl.concat([*older, *computed.values()]).sort("site", maintain_order=True)
    keeper.put(
        checkpoint, {"top_texts": frame}, {"n_of_site": n_of_site, "n": min(n_of_site.values()), "sites": sorted(n_of_site)}
    )


@checks_arguments(QueryError)
def neuron_texts(
    store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, neuron: Count, *, n: Positive | None = None
) -> pl.DataFrame:
    """The texts with the highest values of one neuron.

    Taken from table `top_texts` where it reaches that far, otherwise read from the cube (one column of it).

    Args:
        store: With that cube, or the path of such a store.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        n: How many texts; None for 10, or as many as the corpus has.

    Returns:
        Columns rank, value, language, text_id, text.

    Raises:
        CheckpointNotFound: If the checkpoint is not in the store.
        CubeNotFound: If there is no such cube.
        QueryError: If the site has no such neuron, or n is more than there are texts.

    Example:
        >>> neuron_texts(store, "planted-step64", "mlp_pre", 0, 4, n=2).select("rank", "language", "text_id").rows()
        [(1, 'en', 77), (2, 'en', 83)]
    """
    store = as_atlas(store)
    chosen_checkpoints(store, [checkpoint])
    check_neuron(store, checkpoint, site, layer, neuron)
    n = chosen_n(store, n, 10)
    site_rows = _kept_site(store, checkpoint, site, n)
    if site_rows is not None:
        rows = site_rows.filter(pl.col("layer") == layer, pl.col("neuron") == neuron, pl.col("rank") <= n)
        best = rows.sort("rank").select("text_id", "value").collect()
    else:
        cube = store.cube(checkpoint, site)
        columns, values = top_columns(cube.read(layer=layer, neurons=slice(neuron, neuron + 1)), n)
        best = pl.DataFrame({"text_id": cube.text_ids[columns[0]], "value": values[0].astype(np.float32)})
    texts = store.corpus.texts.select("text_id", "language", "text")
    joined = best.join(texts, on="text_id", how="left", maintain_order="left").with_row_index("rank", offset=1)
    return joined.select(pl.col("rank").cast(pl.Int32), "value", "language", "text_id", "text")
