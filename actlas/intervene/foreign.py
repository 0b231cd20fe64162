"""Neurons and values out of files that others wrote, as the frame that `steer` and `ablate` take."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from actlas.errors import BackendUnavailable, NeuronSetError, WeightsDiffer
from actlas.store.neuron_sets import read_neuron_sets
from actlas.words import listed

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel, ModuleColumns

_LOG = logging.getLogger(__name__)
_PLACE = {"site": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32(), "value": pl.Float32()}
#: Further columns that are kept where a file has them.
_FURTHER = {
    "language": pl.String(),
    "concept": pl.String(),
    "rank": pl.Int32(),
    "ap": pl.Float64(),
    "auroc": pl.Float64(),
}
#: What a neuron is set to, where the caller does not say: the first of these columns that there is. The second is that of
#: `expertise.csv`, the third that of table `experts`.
_VALUES = ("value", "on_p50", "median")
#: Endings of the files that do not name the languages of their sets.
_NAMELESS = (".pth", ".pt")
#: Endings of the files that are read.
READ = (*_NAMELESS, ".csv", ".tsv", ".parquet", ".safetensors")
#: What ends the names of tensors in a file of masks and values.
MASK, VALUE = ".mask", ".value"


def read_neurons(
    path: Path | str,
    live: LiveModel,
    *,
    any_weights: bool = False,
    languages: Sequence[str] | None = None,
    site: str | None = None,
    value: str | None = None,
    k: int | None = None,
) -> pl.DataFrame:
    """Neurons of a file, with what they are set to, as `steer` and `ablate` take them.

    A file is one of: sets of neurons as published with LAPE (``.neuron.pth``), which are set to 0; the ``expertise.csv`` of
    ml-selfcond, whose modules and units become sites and neurons of this model; Parquet or CSV with columns site, layer, neuron
    and a value; safetensors as `export_neurons` writes them. Nothing is read that could run code.

    Args:
        path: The file; its ending says which kind it is.
        live: The model that it is for. The hash of the weights that a file names (in its metadata, or a column weight_hash) has
            to be that of the model.
        any_weights: Take a file that names no weights, or others. The answer then has no column weight_hash.
        languages: Of a ``.neuron.pth``, which does not name its languages: their names, in the order of the file.
        site: Of a ``.neuron.pth``: where its neurons are; None for `mlp_hidden`, 0 where the activation function gives 0.
        value: The column that holds the values; None for value, on_p50 (``expertise.csv``) or median (table `experts`).
        k: Of a file with a column ap: take the k best of each language and concept; None for all that it names.

    Returns:
        Columns site, layer, neuron, value; of language, concept, rank, ap and auroc those that the file has; digest, the SHA-256
        of the file; and weight_hash, where the file names the weights of this model.

    Raises:
        NeuronSetError: If the file cannot be used, or names no weights.
        WeightsDiffer: If it names others than those of the model.
        BackendUnavailable: If a library that reads it is not installed.

    Source: Suau et al. 2022 and Tang et al. 2024, and the files published with them.

    Example:
        >>> frame = pl.DataFrame({"site": ["mlp_pre"], "layer": [1], "neuron": [3], "value": [2.5]})
        >>> frame.write_csv(folder / "mine.csv")
        >>> read_neurons(folder / "mine.csv", live, any_weights=True).drop("digest").rows()
        [('mlp_pre', 1, 3, 2.5)]
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NeuronSetError(f"{path} cannot be read: {error.strerror or error}") from error
    hashes: set[str] = set()
    if path.suffix in _NAMELESS:
        where = site or "mlp_hidden"
        if languages is None:
            raise NeuronSetError(f"{path} does not name its languages; name them, in the order of the file")
        sets = read_neuron_sets(path, languages, shape=(len(live.points(where)), live.widths(where)[0]))
        frame = sets.drop("digest").with_columns(pl.lit(where).alias("site"), pl.lit(0.0).alias("value"))
    else:
        frame, hashes = _tensors(path, data) if path.suffix == ".safetensors" else _rows(path, data)
        if "unit" in frame.columns:
            frame = _in_sites(path, frame, live)
    _check_weights(path, hashes, live, any_weights)
    frame = _conformed(path, frame, value)
    if k is not None and "ap" not in frame.columns:
        raise NeuronSetError(f"{path} has no column ap to choose the {k} best by; leave k out")
    if k is not None:
        frame = best_by_ap(frame, k)
    constant = {"digest": hashlib.sha256(data).hexdigest()}
    if hashes == {live.weight_hash}:
        constant["weight_hash"] = live.weight_hash
    return frame.with_columns(pl.lit(text).alias(name) for name, text in constant.items())


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file of neurons that tells by itself whose they are.

    Args:
        path: The file.

    Raises:
        NeuronSetError: If it cannot be read, or is one of those that do not name their languages.
    """
    path = Path(path)
    if path.suffix in _NAMELESS:
        raise NeuronSetError(
            f"{path} does not name its languages; import it under a name with actlas neuron-sets import, and go on with that "
            "name, or with the file that actlas export --from NAME writes"
        )
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NeuronSetError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_weights(path: Path, hashes: set[str], live: LiveModel, any_weights: bool) -> None:
    if hashes == {live.weight_hash}:
        return
    why = (
        f"{path} is of other weights ({listed(sorted(one[:12] for one in hashes))}) than those of {live.checkpoint} "
        f"({live.weight_hash[:12]})"
        if hashes
        else f"{path} does not say which weights its neurons are of"
    )
    if not any_weights:
        kind = WeightsDiffer if hashes else NeuronSetError
        raise kind(f"{why}; where they are known to fit, say so: any_weights=True, or --any-weights")
    _LOG.warning("%s; they are used all the same, as was asked", why)


def _rows(path: Path, data: bytes) -> tuple[pl.DataFrame, set[str]]:
    """A table, and the hashes of weights that it names."""
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(io.BytesIO(data))
            named = {pl.read_parquet_metadata(io.BytesIO(data)).get("weight_hash")}
        elif path.suffix in (".csv", ".tsv"):
            frame, named = pl.read_csv(io.BytesIO(data), separator="\t" if path.suffix == ".tsv" else ","), set()
        else:
            raise NeuronSetError(f"{path} is of no kind that is read: .neuron.pth, .csv, .tsv, .parquet or .safetensors")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise NeuronSetError(f"{path} is no table: {str(error).splitlines()[0]}") from error
    hashes = {one for one in named if one is not None}
    if "weight_hash" in frame.columns:
        # an empty cell names no weights, and is not those of the model
        hashes |= set(frame["weight_hash"].cast(pl.String).fill_null("").to_list())
    return frame, hashes


def _tensors(path: Path, data: bytes) -> tuple[pl.DataFrame, set[str]]:
    """Masks and values of sites as rows, and the hash of the weights that the file names."""
    try:
        from safetensors import SafetensorError, safe_open
        from safetensors.numpy import load
    except ImportError as error:
        raise BackendUnavailable(f"{path} is read with safetensors: pip install 'actlas[hf]'") from error
    try:
        arrays = load(data)
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise NeuronSetError(f"{path} is no safetensors file: {error}") from error
    frames = [
        pl.DataFrame({"site": site, "layer": layer, "neuron": neuron, "value": values[layer, neuron]})
        for site, layer, neuron, values in _marked(path, arrays)
    ]
    if not frames:
        raise NeuronSetError(
            f"{path} holds no mask of a site (a tensor called mlp_pre{MASK}, say); it has {listed(list(arrays))}"
        )
    named = {name: about[name] for name in ("language", "concept") if name in about}
    frame = pl.concat(frames).with_columns(pl.lit(text).alias(name) for name, text in named.items())
    return frame, {about["weight_hash"]} if "weight_hash" in about else set()


def _marked(path: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Site, layers and neurons that its mask marks, and the values of the whole site; those of a mask alone are 0."""
    for name, mask in sorted(arrays.items()):
        if not name.endswith(MASK):
            continue
        site = name.removesuffix(MASK)
        values = arrays.get(site + VALUE, np.zeros(mask.shape, dtype=np.float32))
        if mask.dtype != bool or mask.ndim != 2 or values.shape != mask.shape:
            raise NeuronSetError(
                f"{path} should hold a bool mask of layers by neurons and values of the same shape for site {site}, and holds "
                f"{mask.dtype} {mask.shape} and {values.dtype} {values.shape}"
            )
        layers, neurons = np.nonzero(mask)
        yield site, layers, neurons, values


def _conformed(path: Path, frame: pl.DataFrame, value: str | None) -> pl.DataFrame:
    """The columns of the answer, each neuron once for a language and concept."""
    chosen = value or next((name for name in _VALUES if name in frame.columns), "value")
    missing = [name for name in ("site", "layer", "neuron", chosen) if name not in frame.columns]
    if missing:
        raise NeuronSetError(f"{path} has no column {', '.join(missing)}; it has {listed(frame.columns)}")
    columns = {**_PLACE, **{name: dtype for name, dtype in _FURTHER.items() if name in frame.columns}}
    sources = {**{name: name for name in columns}, "value": chosen}
    try:
        frame = frame.select(pl.col(sources[name]).cast(dtype).alias(name) for name, dtype in columns.items())
    except pl.exceptions.PolarsError as error:
        raise NeuronSetError(f"{path} has cells of the wrong kind: {str(error).splitlines()[0]}") from error
    if not frame.select((pl.col("value").is_not_null() & pl.col("value").is_finite()).all()).item():
        raise NeuronSetError(f"{path} has a cell in column {chosen} that is no finite number")
    twice = frame.select([*_group(frame), "site", "layer", "neuron"]).is_duplicated()
    if twice.any():
        raise NeuronSetError(f"{path} names neuron {'/'.join(map(str, frame.filter(twice).row(0)[:3]))} twice")
    return frame


def _group(frame: pl.DataFrame) -> list[str]:
    return [name for name in ("language", "concept") if name in frame.columns]


def best_by_ap(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    """The k best of each language and concept, ties by place."""
    groups = _group(frame)
    ordered = frame.sort(*groups, "ap", "site", "layer", "neuron", descending=[*[False] * len(groups), True, *[False] * 3])
    return ordered.group_by(groups, maintain_order=True).head(k) if groups else ordered.head(k)


def _in_sites(path: Path, frame: pl.DataFrame, live: LiveModel) -> pl.DataFrame:
    """`expertise.csv` with sites, layers and neurons for its modules and units."""
    if "layer" not in frame.columns:
        raise NeuronSetError(f"{path} has units and no column layer that names their modules")
    by_module = _by_module(live)
    parts = []
    for (name,), units in frame.rename({"layer": "module"}).group_by("module", maintain_order=True):
        module, _, output = str(name).partition(":")
        if module not in by_module or output not in ("", "0"):
            raise NeuronSetError(f"{path} names {name}, which gives the neurons of no site of {live.checkpoint}")
        places = by_module[module]
        outside = units.filter(~pl.col("unit").is_between(0, places[0][2].width, closed="left"))
        if outside.height:
            width = places[0][2].width
            raise NeuronSetError(f"{path} names unit {outside['unit'][0]} of {name}, which has {width:,} in {live.checkpoint}")
        parts += [
            units.filter(pl.col("unit").is_between(own.start, own.start + own.n_neurons, closed="left")).with_columns(
                pl.lit(site).alias("site"),
                pl.lit(layer).alias("layer"),
                (pl.col("unit").cast(pl.Int64) - own.start + own.first).alias("neuron"),
            )
            for site, layer, own in places
        ]
    return pl.concat(parts) if parts else frame.with_columns(site=pl.lit(""), neuron=pl.lit(0)).clear()


def _by_module(live: LiveModel) -> dict[str, list[tuple[str, int, ModuleColumns]]]:
    """Path of a module -> site and layer that its outputs are neurons of, and which of its outputs; several of a fused one."""
    found: dict[str, list[tuple[str, int, ModuleColumns]]] = {}
    for site in live.sites:
        for layer, modules in enumerate(live.columns(site)):
            for one in modules:
                if one.side == "output":
                    found.setdefault(one.path, []).append((site, layer, one))
    return found
