"""The texts with the highest values of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError, TableNotFound
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import BLOCK_BYTES, neuron_blocks
from actlas.query.questions.scores import Progress, package_version
from actlas.query.schema import TABLES


def top_texts(
    store: Atlas | str | Path,
    *,
    sites: Sequence[str],
    checkpoints: Sequence[str] | None = None,
    n: int = 64,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
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
    named = store.checkpoints if checkpoints is None else list(checkpoints)
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
            store.publish_table(
                "top_texts", checkpoint, frame, {"n": n, "sites": sorted(set(sites)), "actlas": package_version()}
            )
    return pl.concat(answers)


def top_columns(values: NDArray[Any], n: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Columns with the n largest values of every row, largest first, ties by column; and those values.

    Example:
        >>> top_columns(np.array([[1.0, 3.0, 3.0, 2.0]]), 3)[0].tolist()
        [[1, 2, 3]]
    """
    n_columns = values.shape[1]
    n = min(n, n_columns)
    if 4 * n >= n_columns:
        best = np.argsort(-values, axis=1, kind="stable")[:, :n]
        return best, np.take_along_axis(values, best, axis=1)
    # a partition leaves open which of several equal values at the cut it takes, so those are put in order of column
    bar = -np.partition(-values, n - 1, axis=1)[:, n - 1 : n]
    is_above = values > bar
    is_equal = values == bar
    room = n - is_above.sum(axis=1, keepdims=True)
    chosen = is_above | (is_equal & (np.cumsum(is_equal, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(values.shape[0], n)
    kept = np.take_along_axis(values, columns, axis=1)
    order = np.argsort(-kept, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(kept, order, axis=1)


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
    n_layers, n_neurons = store.shape(checkpoint, site)
    if not (0 <= layer < n_layers and 0 <= neuron < n_neurons):
        raise QueryError(
            f"{site} of {checkpoint} has {n_layers} layers of {n_neurons:,} neurons, no neuron {neuron} in layer {layer}"
        )
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
