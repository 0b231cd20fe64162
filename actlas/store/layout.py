"""Format 2: where everything lies in a store and in which shapes. Pure functions, no I/O.

docs/format.md is the specification for readers in other languages; this module is what actlas itself follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from pathlib import Path

import numpy as np

#: The format that new stores have. A store of an older one is read, and goes on in its own.
FORMAT_VERSION = 2

#: The array of a group that has but one: a cube, token vectors, counts.
VALUES = "value"

CUBE_DIMS = ("layer", "neuron", "text")
TOKEN_DIMS = ("layer", "token", "channel")
SCORE_DIMS = ("language", "concept", "layer", "neuron")
COUNT_DIMS = ("language", "layer", "neuron")
#: Arrays of the states of one site: dimensions, dtype. A state of one layer and language has them without the layer.
STATE_ARRAYS = {
    "active": (("set", "layer", "neuron"), "int64"),
    "total": (("total_digit", "set", "layer", "neuron"), "int64"),
    "squares": (("squares_digit", "set", "layer", "neuron"), "int64"),
    "codes": (("set", "layer", "neuron", "code"), "uint32"),
    "range": (("end", "layer", "neuron"), "float64"),
}
_STATE_SIZES = {"total_digit": 3, "squares_digit": 5, "end": 2, "code": 256}

CHUNK_NEURONS = 128
CHUNK_TEXTS = 1024
CHUNK_TOKENS = 256
#: Languages and neurons of a chunk of scores, at most: one neuron over everything and one concept over all neurons are both read
#: from few chunks then (docs/decisions/0027-chunks-of-scores.md).
CHUNK_SCORE_LANGUAGES = 8
CHUNK_SCORE_NEURONS = 1024
#: Neurons of a chunk that holds 256 counts of each.
CHUNK_CODE_NEURONS = 512
#: A shard takes more layers only while its raw bytes stay below this.
SHARD_BYTES = 64 << 20
#: Pooled values of one block of texts, all sites and layers, stay below this in memory.
BLOCK_BYTES = 1 << 30

#: Statistics whose ranking decides experts keep every bit that the kernels computed.
EXACT_STATS = ("ap", "auroc", "ap_anti")

#: Offset and length that the index of a shard names for a chunk that the shard does not hold.
ABSENT = 2**64 - 1
#: What a record names in place of the crc32c of such a chunk.
ABSENT_SUM = 2**32 - 1

#: Folders whose files are not zarr's: Parquet and JSON.
OTHER_FILES = ("corpus", "manifests", "tables", "log")
TEXTS = "corpus/texts.parquet"
LABELS = "corpus/labels.parquet"
TOKEN_IDS = "corpus/tokens.parquet"
SAMPLED_TOKENS = "corpus/sampled_tokens.parquet"
STATE_SETS = "corpus/state_sets.parquet"
#: Tables of a checkpoint, beside its record.
HEALTH_FILE = "neuron_health.parquet"
WEIGHTS_FILE = "weights.parquet"


def cube_path(checkpoint: str, site: str, pooling: str) -> str:
    return f"cubes/{checkpoint}/{site}.{pooling}"


def token_path(checkpoint: str, site: str) -> str:
    return f"tokens/{checkpoint}/{site}"


def count_path(checkpoint: str, site: str) -> str:
    return f"counts/{checkpoint}/{site}"


def state_path(checkpoint: str, site: str, pooling: str, array: str | None = None) -> str:
    folder = f"states/{checkpoint}/{site}.{pooling}"
    return folder if array is None else f"{folder}/{array}"


def score_path(checkpoint: str, site: str, pooling: str) -> str:
    return f"scores/{checkpoint}/{site}.{pooling}"


def table_path(name: str, checkpoint: str, variant: str | None = None) -> str:
    """Where one checkpoint's part of a table lies; a variant is the same table made with other settings.

    Example:
        >>> table_path("experts", "step64"), table_path("experts", "step64", "0a1b2c3d")
        ('tables/experts/checkpoint=step64/part.parquet', 'tables/experts/settings=0a1b2c3d/checkpoint=step64/part.parquet')
    """
    folder = f"tables/{name}" if variant is None else f"tables/{name}/settings={variant}"
    return f"{folder}/checkpoint={checkpoint}/part.parquet"


def partition_of(file: Path) -> str | None:
    """The checkpoint that a file is a part for, by the folder of the store it lies in; None for files that are whole tables.

    Example:
        >>> partition_of(Path("k=9/run.actlas/tables/experts/checkpoint=m-step1/part.parquet"))
        'm-step1'
        >>> partition_of(Path("k=9/run.actlas/corpus/texts.parquet")) is None
        True
    """
    folder = file.parent.name
    return folder.removeprefix("checkpoint=") if folder.startswith("checkpoint=") else None


def values_path(group: str, store_format: int) -> str:
    """The array of a cube, of token vectors or of counts; in format 1 it stands where the group has stood since.

    Example:
        >>> values_path("cubes/model-step1/mlp_pre.max", 2), values_path("cubes/model-step1/mlp_pre.max", 1)
        ('cubes/model-step1/mlp_pre.max/value', 'cubes/model-step1/mlp_pre.max')
    """
    return group if store_format == 1 else f"{group}/{VALUES}"


def manifest_path(checkpoint: str) -> str:
    return f"manifests/{checkpoint}"


@dataclass(frozen=True)
class TextBlock:
    """Consecutive rows of the text axis: one unit of extraction, commit and resume.

    Attributes:
        index: Number of the block, from 0.
        start: Its first row.
        stop: The row after its last one.
    """

    index: int
    start: int
    stop: int

    @property
    def n_texts(self) -> int:
        """Texts in the block."""
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Its rows of the text axis."""
        return slice(self.start, self.stop)


def text_blocks(n_texts: int, texts_per_block: int) -> tuple[TextBlock, ...]:
    """Blocks that cover the text axis; only the last may be shorter.

    Example:
        >>> [(b.start, b.stop) for b in text_blocks(2500, 1024)]
        [(0, 1024), (1024, 2048), (2048, 2500)]
    """
    starts = range(0, n_texts, texts_per_block)
    return tuple(TextBlock(i, start, min(start + texts_per_block, n_texts)) for i, start in enumerate(starts))


def texts_per_block(n_texts: int, text_bytes: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Texts whose pooled values fit `block_bytes`: at most `CHUNK_TEXTS`, halved until they fit, never below 32.

    Example:
        >>> texts_per_block(100_000, text_bytes=442_368)
        1024
        >>> texts_per_block(100_000, text_bytes=2_211_840)
        256
    """
    texts = CHUNK_TEXTS
    while texts > 32 and texts * text_bytes > block_bytes:
        texts //= 2
    return max(1, min(texts, n_texts))


@dataclass(frozen=True)
class ArrayPlan:
    """Shape, dtype and grid of one array of a store.

    Attributes:
        shape: Size of each dimension.
        chunk: Unit of compression and of the smallest read.
        shard: Unit of writing: one file. A multiple of `chunk` in every dimension.
        dtype: numpy name of what is on disk ("uint16" for bfloat16).
        logical_dtype: What the numbers mean: "float16", "bfloat16", ...
        dims: Names of the dimensions.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    dtype: str
    logical_dtype: str
    dims: tuple[str, ...]

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def fill_value(self) -> float | int:
        """NaN, so that what was never written can not pass for a value; 0 for integers."""
        if self.logical_dtype == "bfloat16":
            return 0x7FC0
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0

    @cached_property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """How many chunks a shard holds along each dimension."""
        return tuple(shard // chunk for shard, chunk in zip(self.shard, self.chunk, strict=True))


def storage_dtype(dtype: str) -> str:
    """Dtype on disk: zarr has no bfloat16, whose bits are kept as uint16.

    Example:
        >>> storage_dtype("bfloat16"), storage_dtype("float16")
        ('uint16', 'float16')
    """
    return "uint16" if dtype == "bfloat16" else dtype


def _layers_per_shard(n_layers: int, bytes_per_layer: int) -> int:
    return max(1, min(n_layers, SHARD_BYTES // max(1, bytes_per_layer)))


def _round_up(size: int, step: int) -> int:
    return ceil(size / step) * step


def cube_plan(n_layers: int, n_neurons: int, n_texts: int, block_texts: int, dtype: str) -> ArrayPlan:
    """Grid of a cube: a neuron's texts are contiguous, a shard holds one block of texts.

    Example:
        >>> cube_plan(24, 4096, 4000, 1024, "float16").shard
        (8, 4096, 1024)
    """
    on_disk = storage_dtype(dtype)
    neurons = min(CHUNK_NEURONS, n_neurons)
    width = _round_up(n_neurons, neurons)
    layers = _layers_per_shard(n_layers, width * block_texts * np.dtype(on_disk).itemsize)
    return ArrayPlan(
        shape=(n_layers, n_neurons, n_texts),
        chunk=(1, neurons, block_texts),
        shard=(layers, width, block_texts),
        dtype=on_disk,
        logical_dtype=dtype,
        dims=CUBE_DIMS,
    )


def token_plan(n_layers: int, n_channels: int, n_blocks: int, block_tokens: int, dtype: str) -> ArrayPlan:
    """Grid of sampled token vectors: read by row. Each block of texts owns `block_tokens` rows, the unused ones at its end."""
    on_disk = storage_dtype(dtype)
    rows = min(CHUNK_TOKENS, max(1, block_tokens))
    block_rows = _round_up(max(1, block_tokens), rows)
    layers = _layers_per_shard(n_layers, block_rows * n_channels * np.dtype(on_disk).itemsize)
    return ArrayPlan(
        shape=(n_layers, n_blocks * block_rows, n_channels),
        chunk=(1, rows, n_channels),
        shard=(layers, block_rows, n_channels),
        dtype=on_disk,
        logical_dtype=dtype,
        dims=TOKEN_DIMS,
    )


def score_dtype(stat: str) -> str:
    """Dtype in which a statistic is kept: every bit where its ranking decides experts.

    Example:
        >>> score_dtype("ap"), score_dtype("median")
        ('float64', 'float32')
    """
    return "float64" if stat in EXACT_STATS else "float32"


def score_plan(n_languages: int, n_concepts: int, n_layers: int, n_neurons: int, stat: str) -> ArrayPlan:
    """Grid of one statistic: some languages and neurons of one concept are a chunk, a layer is one shard.

    Example:
        >>> plan = score_plan(5, 30, 24, 3072, "ap")
        >>> plan.chunk, plan.shard
        ((5, 1, 1, 1024), (5, 30, 1, 3072))
        >>> score_plan(10, 30, 24, 1100, "ap").chunk
        (5, 1, 1, 550)
    """
    dtype = score_dtype(stat)
    languages, neurons = _even_part(n_languages, CHUNK_SCORE_LANGUAGES), _even_part(n_neurons, CHUNK_SCORE_NEURONS)
    return ArrayPlan(
        shape=(n_languages, n_concepts, n_layers, n_neurons),
        chunk=(languages, 1, 1, neurons),
        shard=(_round_up(n_languages, languages), n_concepts, 1, _round_up(n_neurons, neurons)),
        dtype=dtype,
        logical_dtype=dtype,
        dims=SCORE_DIMS,
    )


def _even_part(size: int, most: int) -> int:
    """What to cut `size` into parts by, each of `most` or fewer, so that the last is hardly smaller."""
    return ceil(size / ceil(size / most))


def count_plan(n_languages: int, n_layers: int, n_neurons: int, n_thresholds: int = 1) -> ArrayPlan:
    """Grid of token counts: a (language, layer) row is one chunk, everything is one shard.

    Several thresholds stand in a dimension of their own, which one alone does not have.

    Example:
        >>> count_plan(5, 24, 4096).shape, count_plan(5, 24, 4096, n_thresholds=3).shape
        ((5, 24, 4096), (3, 5, 24, 4096))
    """
    several = (n_thresholds,) if n_thresholds > 1 else ()
    shape = (*several, n_languages, n_layers, n_neurons)
    chunk = (*(1 for _ in shape[:-1]), n_neurons)
    dims = ("threshold", *COUNT_DIMS) if several else COUNT_DIMS
    return ArrayPlan(shape, chunk, shard=shape, dtype="int64", logical_dtype="int64", dims=dims)


def state_array_plan(array: str, n_sets: int, n_layers: int, n_neurons: int, store_format: int = FORMAT_VERSION) -> ArrayPlan:
    """Grid of one array of `STATE_ARRAYS`: a set of texts at one layer is a chunk; a shard takes as many sets of a layer as fit.

    Example:
        >>> state_array_plan("codes", 210, 24, 4096).shard
        (16, 1, 4096, 256)
        >>> state_array_plan("squares", 210, 24, 4096).chunk
        (5, 1, 1, 4096)
    """
    dims, dtype = STATE_ARRAYS[array]
    sizes = {"set": n_sets, "layer": n_layers, "neuron": n_neurons, **_STATE_SIZES}
    neurons = min(CHUNK_CODE_NEURONS, n_neurons) if "code" in dims else n_neurons
    chunk = {**sizes, "set": 1, "layer": 1, "neuron": neurons}
    shard = {**chunk, "neuron": _round_up(n_neurons, neurons)}
    per_set = prod(shard[dim] for dim in dims) * np.dtype(dtype).itemsize
    shard["set"] = max(1, min(n_sets, SHARD_BYTES // per_set))
    shape, chunks, shards = (tuple(part[dim] for dim in dims) for part in (sizes, chunk, shard))
    if store_format == 1:
        # digits of either array bore the same name there, whose size xarray could not make out
        dims = tuple("digit" if dim.endswith("_digit") else dim for dim in dims)
    return ArrayPlan(shape, chunks, shards, dtype, dtype, dims)


def estimate_bytes(
    cubes: Mapping[str, tuple[int, int]],
    token_cubes: Mapping[str, tuple[int, int]],
    *,
    n_texts: int,
    n_sampled_tokens: int,
    dtypes: Mapping[str, str],
) -> int:
    """Bytes that one checkpoint takes on disk if nothing compresses: an upper bound up to padding and indexes.

    Args:
        cubes: site -> (layers, neurons).
        token_cubes: site -> (layers, channels).
        n_texts: Rows of the text axis.
        n_sampled_tokens: Token vectors kept per site and layer.
        dtypes: Stored dtype of each site.

    Example:
        >>> estimate_bytes({"mlp_pre": (24, 4096)}, {}, n_texts=1000, n_sampled_tokens=0, dtypes={"mlp_pre": "float16"})
        196608000
    """
    return row_bytes(cubes, dtypes) * n_texts + row_bytes(token_cubes, dtypes) * n_sampled_tokens


def row_bytes(shapes: Mapping[str, tuple[int, int]], dtypes: Mapping[str, str]) -> int:
    """Bytes of one value of every neuron of some sites.

    Args:
        shapes: site -> (layers, neurons).
        dtypes: Stored dtype of each site.

    Example:
        >>> row_bytes({"mlp_pre": (2, 8), "resid": (2, 4)}, {"mlp_pre": "bfloat16", "resid": "float32"})
        64
    """
    return sum(prod(shape) * np.dtype(storage_dtype(dtypes[site])).itemsize for site, shape in shapes.items())
