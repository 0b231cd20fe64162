"""Language-specific neurons as others publish them: files of torch that hold, per language and layer, indices of neurons."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import BackendUnavailable, NeuronSetError

_COLUMNS = {"language": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32(), "digest": pl.String()}


def read_neuron_sets(path: Path | str, languages: Sequence[str], *, shape: tuple[int, int] | None = None) -> pl.DataFrame:
    """The neuron sets of a published file, such as ``BLOOM-7B.neuron.pth``; no store is needed.

    The file is a list over languages of lists over layers of rows of int64, saved with `torch.save`. It does not name its
    languages: the caller does, in the order of the list. Nothing but tensors and lists is loaded (``weights_only``), so a file
    that would run code is refused.

    Args:
        path: The file.
        languages: Their names, in the order of the file.
        shape: Layers and neurons of the model, where they are known; a file that does not fit is refused.

    Returns:
        Columns language, layer, neuron, and digest, the SHA-256 of the file; in the order of the file.

    Raises:
        NeuronSetError: If the file is not of that form, or does not fit the languages or the shape.
        BackendUnavailable: If torch is not installed.

    Source: Tang et al. 2024, and the files published with it.

    Example:
        >>> import torch
        >>> english, french = [torch.tensor([3, 7]), torch.tensor([0])], [torch.tensor([7]), torch.tensor([]).long()]
        >>> torch.save([english, french], folder / "tiny.neuron.pth")
        >>> read_neuron_sets(folder / "tiny.neuron.pth", ["en", "fr"], shape=(2, 8)).drop("digest").rows()
        [('en', 0, 3), ('en', 0, 7), ('en', 1, 0), ('fr', 0, 7)]
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NeuronSetError(f"{path} cannot be read: {error.strerror or error}") from error
    names = list(languages)
    if len(set(names)) < len(names):
        raise NeuronSetError(f"a language is named twice: {', '.join(names)}")
    sets = _loaded(path, data)
    if len(sets) != len(names):
        raise NeuronSetError(
            f"{path} holds sets of {len(sets)} languages, and {len(names)} are named ({', '.join(names)}); name all of them, in "
            "the order of the file"
        )
    digest = hashlib.sha256(data).hexdigest()
    rows = []
    for language, layers in zip(names, sets, strict=True):
        n_layers = len(sets[0]) if shape is None else shape[0]
        if len(layers) != n_layers:
            other = f"those of {names[0]}" if shape is None else "the model has"
            raise NeuronSetError(f"{path} holds {len(layers)} layers of {language}, and {other} {n_layers}")
        rows += [(language, layer, neuron, digest) for layer, neuron in _neurons(path, language, layers, shape)]
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row")


def _loaded(path: Path, data: bytes) -> list[list[Any]]:
    """A list of lists, of whatever the file holds.

    Raises:
        NeuronSetError: If it holds anything else.
    """
    try:
        # here, and not above: reading stores needs no torch
        import torch
    except ImportError as error:
        raise BackendUnavailable(f"{path} is read with torch: pip install 'actlas[hf]'") from error
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # what a file of any other kind breaks in there is of many kinds
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise NeuronSetError(
            f"{path} is no file of tensors that can be read without running code ({type(error).__name__}: {first})"
        ) from error
    if not isinstance(held, list) or not held or not all(isinstance(layers, list) for layers in held):
        what = f"a list of {type(held[0]).__name__}" if isinstance(held, list) and held else f"a {type(held).__name__}"
        raise NeuronSetError(f"{path} should hold a list over languages of lists over layers, and holds {what}")
    return held


def _neurons(path: Path, language: str, layers: list[Any], shape: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    """(layer, neuron) of one language, checked."""
    import torch

    # table neuron_sets has 32 bits for an index
    n_neurons = 2**31 if shape is None else shape[1]
    for layer, row in enumerate(layers):
        where = f"{path}, {language}, layer {layer}"
        is_row = isinstance(row, torch.Tensor) and row.layout == torch.strided and row.device.type == "cpu" and row.ndim == 1
        if not is_row or row.dtype != torch.int64:
            what = f"{row.dtype} of shape {tuple(row.shape)}" if isinstance(row, torch.Tensor) else type(row).__name__
            raise NeuronSetError(f"{where} should hold a row of int64 indices, and holds {what}")
        neurons = row.tolist()
        outside = [neuron for neuron in neurons if not 0 <= neuron < n_neurons]
        if outside:
            raise NeuronSetError(f"{where} names neuron {outside[0]}, and a layer of the model has {n_neurons:,}, from 0")
        if len(set(neurons)) < len(neurons):
            raise NeuronSetError(f"{where} names a neuron twice")
        yield from ((layer, neuron) for neuron in neurons)
