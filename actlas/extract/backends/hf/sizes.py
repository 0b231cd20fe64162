"""What a model is by its configuration alone: parameters, widths of sites, bytes of weights. Neither weights nor a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import hf_hub_download, model_info, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from actlas.errors import ModelNotLoaded, ModelNotSupported
from actlas.extract.backends.base import BackendSettings, LocatedCheckpoint
from actlas.extract.backends.hf.hooks import present
from actlas.extract.backends.hf.identify import load_config, located_in
from actlas.extract.backends.hf.loading import arithmetic, auto_class, class_settings
from actlas.extract.sites.resolve import site_map, site_shape
from actlas.names import Checkpoint

_NOT_HAD = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)


@contextmanager
def configured(checkpoint: Checkpoint, settings: BackendSettings) -> Iterator[LocatedCheckpoint]:
    """A checkpoint of which the configuration is here, and nothing else has to be; of one on the hub only that is fetched.

    Raises:
        ModelNotLoaded: If the configuration can not be had.
    """
    model, revision = checkpoint.model, checkpoint.revision
    with TemporaryDirectory(prefix="actlas-config-") as own:
        if Path(model).is_dir():
            folder = Path(model)
        else:
            try:
                known = try_to_load_from_cache(model, "config.json", revision=revision)
                # beside the cache, where a snapshot without weights would pass for one that was there before
                path = (
                    known if isinstance(known, str) else hf_hub_download(model, "config.json", revision=revision, local_dir=own)
                )
            except _NOT_HAD as error:
                which = f" at revision {revision!r}" if revision else ""
                raise ModelNotLoaded(
                    f"config.json of {model}{which} is neither in the cache nor could it be had from the hub: {error}"
                ) from error
            folder = Path(path).parent
        yield located_in(checkpoint, folder, settings, settings.compute_dtype)


def sizes_of(
    located: LocatedCheckpoint, sites: Sequence[str], by_hand: dict[str, str], settings: BackendSettings
) -> tuple[int, dict[str, tuple[int, int]]]:
    """Number of parameters, and site -> (layers, neurons).

    Raises:
        CapturePointNotFound: If a site is not known.
        ModelNotSupported: If its width is not in the configuration.
    """
    config = load_config(located.folder, trust_remote_code=settings.trust_remote_code)
    text = config.get_text_config()
    known = class_settings(located.architecture)
    with torch.device("meta"):
        model = auto_class(located.architecture).from_config(config, trust_remote_code=settings.trust_remote_code, **known)
    has_head = model.get_output_embeddings() is not None
    places = present(site_map(located.architecture, text.num_hidden_layers, sites, by_hand, has_head=has_head), model)
    shapes = {}
    for site, points in places.points.items():
        widths = []
        for point in points:
            if site == "resid":
                widths.append(int(text.hidden_size))
                continue
            parts = [_width(model.get_submodule(path), path, point.side) for path in point.modules]
            widths.append(sum(parts) // point.part[1])
        shapes[site] = site_shape(site, widths)
    return sum(parameter.numel() for parameter in model.parameters()), shapes


def _width(module: torch.nn.Module, path: str, side: str) -> int:
    """Numbers of a token that go into a linear map, or come out of it or of an embedding."""
    # GPT-2 has its own kind of linear map
    names = {"input": ("in_features", "nx"), "output": ("out_features", "nf", "embedding_dim")}[side]
    for name in names:
        if isinstance(width := getattr(module, name, None), int):
            return width
    raise ModelNotSupported(f"how wide {path}:{side} is cannot be told without a run; estimate without that site")


def bytes_of_weights(located: LocatedCheckpoint, n_parameters: int) -> tuple[int, str]:
    """Bytes to download, and who says so: "hub"; "here" of a folder with weights; else "parameters", of the compute dtype."""
    checkpoint = located.checkpoint
    is_local = Path(checkpoint.model).is_dir()
    if is_local and any(located.folder.glob("*.safetensors")):
        return 0, "here"
    try:
        info = None if is_local else model_info(checkpoint.model, revision=checkpoint.revision, files_metadata=True)
        files = [] if info is None else info.siblings or []
        n_bytes = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
        if n_bytes:
            return n_bytes, "hub"
    except _NOT_HAD:
        pass
    return n_parameters * arithmetic(located.compute_dtype)[0].itemsize, "parameters"
