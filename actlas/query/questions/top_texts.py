"""The texts with the highest values of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.errors import QueryError, TableNotFound
from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import BLOCK_BYTES, StepProgress, neuron_blocks
from actlas.query.choices import chosen_checkpoints
from actlas.query.neurons import check_neuron, top_columns
from actlas.query.schema import TABLES


def top_texts(
    store: Atlas | str | Path,
    *,
    sites: Sequence[str],
    checkpoints: Sequence[str] | None = None,
    n: int = 64,
    block_bytes: int = BLOCK_BYTES,
    progress: StepProgress | None = None,
) -> pl.DataFrame:
    """The n texts with the highest values of every neuron of some sites; among equal values the lower text_id comes first.

    Args:
        store: Open with mode "a", the answer is also kept as table `top_texts`, which then holds these sites.
        sites: Which; there is a row per neuron and text, so name what you will ask for.
        checkpoints: None for all.
        n: Texts per neuron; the corpus may have fewer.
        block_bytes: Values in memory at a time.
        progress: Told after every block.

    Returns:
        Columns of table `top_texts`: checkpoint, site, layer, neuron, rank, text_id, value.

    Raises:
        CubeNotFound: If a checkpoint has no cube at a site.
        QueryError: If n is less than 1.
    """
    store = as_atlas(store)
    if n < 1:
        raise QueryError(f"n = {n}: ask for one text or more")
    named = chosen_checkpoints(store, checkpoints)
    total = sum(int(np.prod(store.shape(checkpoint, site))) for checkpoint in named for site in sites)
    done, answers = 0, [TABLES["top_texts"].empty()]
    for checkpoint in named:
        parts = []
        for site in sorted(set(sites)):
            cube = store.cube(checkpoint, site)
            for block in neuron_blocks(cube, block_bytes=block_bytes):
                best, values = top_columns(block.values, n)
                rows, ranks = best.shape
                columns: dict[str, Any] = {
                    "checkpoint": pl.repeat(checkpoint, best.size, dtype=pl.String, eager=True),
                    "site": pl.repeat(site, best.size, dtype=pl.String, eager=True),
                    "layer": pl.repeat(block.layer, best.size, dtype=pl.Int32, eager=True),
                    "neuron": np.repeat(np.arange(block.start, block.start + rows), ranks),
                    "rank": np.tile(np.arange(1, ranks + 1), rows),
                    "text_id": cube.text_ids[best.reshape(-1)],
                    "value": values.reshape(-1).astype(np.float32),
                }
                parts.append(TABLES["top_texts"].conform(pl.DataFrame(columns)))
                done += rows
                if progress is not None:
                    progress(done, total, f"{checkpoint} {site}")
        frame = pl.concat(parts)
        answers.append(frame)
        if store.mode == "a":
            store.publish_table("top_texts", checkpoint, frame, {"n": n, "sites": sorted(set(sites)), "actlas": VERSION})
    return pl.concat(answers)


def neuron_texts(store: Atlas | str | Path, checkpoint: str, site: str, layer: int, neuron: int, *, n: int = 10) -> pl.DataFrame:
    """The texts with the highest values of one neuron.

    Taken from table `top_texts` where it reaches that far, otherwise read from the cube (one column of it).

    Args:
        store: With that cube.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        n: How many texts.

    Returns:
        Columns rank, value, language, text_id, text.

    Raises:
        CubeNotFound: If there is no such cube.
        QueryError: If the site has no such neuron.
    """
    store = as_atlas(store)
    check_neuron(store, checkpoint, site, layer, neuron)
    best = _from_table(store, checkpoint, site, layer, neuron, n)
    if best is None:
        cube = store.cube(checkpoint, site)
        columns, values = top_columns(cube.read(layer=layer, neurons=slice(neuron, neuron + 1)), n)
        best = pl.DataFrame({"text_id": cube.text_ids[columns[0]], "value": values[0].astype(np.float32)})
    texts = store.corpus.texts.select("text_id", "language", "text")
    joined = best.join(texts, on="text_id", how="left", maintain_order="left").with_row_index("rank", offset=1)
    return joined.select(pl.col("rank").cast(pl.Int32), "value", "language", "text_id", "text")


def _from_table(store: Atlas, checkpoint: str, site: str, layer: int, neuron: int, n: int) -> pl.DataFrame | None:
    try:
        settings = store.table_settings("top_texts", checkpoint)
    except TableNotFound:
        return None
    if site not in settings["sites"] or settings["n"] < n:
        return None
    where = (
        pl.col("checkpoint") == checkpoint,
        pl.col("site") == site,
        pl.col("layer") == layer,
        pl.col("neuron") == neuron,
        pl.col("rank") <= n,
    )
    return store.scan("top_texts").filter(*where).sort("rank").select("text_id", "value").collect()
