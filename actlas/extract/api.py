"""`extract_activations`: checkpoints, blocks of texts, a backend, the store's writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actlas.errors import ExtractionError
from actlas.extract.options import ExtractOptions
from actlas.extract.results import ExtractSummary, ProgressCallback
from actlas.extract.run.prepare import Models, Request, run_here
from actlas.extract.sites.resolve import AUTO_LINEAR, parse_sites
from actlas.names import Checkpoint
from actlas.store.corpus.corpus import Corpus


def extract_activations(
    models: Models,
    corpus: Corpus | Path | str,
    store: Path | str,
    *,
    sites: Sequence[str] = ("mlp_pre",),
    pooling: str = "max",
    dtype: str = "float16",
    backend: str = "hf",
    progress: ProgressCallback | None = None,
    **options: Any,
) -> ExtractSummary:
    """Run checkpoints over a corpus once and keep what every neuron did.

    The same call again goes on where the last one stopped: blocks of texts that are committed are not computed again, and a
    checkpoint that is complete is not loaded (its weight files are hashed, to be sure that they are the same).

    Args:
        models: Local folders, folders of step folders, hub ids with an optional ``@revision``; see `resolve_models`.
        corpus: A corpus, or the folder of one.
        store: Folder of the store; created if it is not there.
        sites: Sites; sites named by hand as ``"mlp_hidden=h.{layer}.mlp.c_proj:input"``; or ``"auto-linear"`` for every linear
            map of the repeated block of a decoder that the table does not know, each under the name of its module.
        pooling: Tokens to one value per text: "max", "mean", "last" or "max_with_pad".
        dtype: Stored dtype: "float16", "bfloat16" or "float32". A value beyond its range is refused, never clipped.
        backend: "hf" (transformers) or "vllm". A store holds the values of one of them.
        progress: Called with a `Progress` now and then.
        **options: Fields of `ExtractOptions`.

    Returns:
        What was done, checkpoint by checkpoint.

    Raises:
        CapturePointNotFound: If a site is not known for an architecture.
        RecipeMismatch: If the store was made by another recipe.
        DiskTooSmall: If what is to be written could outgrow the disk.
        FidelityError: If batched values differ from the same texts run alone, or another backend's from those of transformers.
        NotFiniteValues: If a model gives NaN or infinity, or a value outgrows `dtype`.
        ModelNotLoaded: If a checkpoint is not there or not in safetensors.
    """
    chosen = ExtractOptions(**options)
    if chosen.part is not None and not 1 <= chosen.part[0] <= chosen.part[1]:
        raise ExtractionError(f"there is no part {chosen.part[0]} of {chosen.part[1]}; parts are numbered from 1")
    # a misspelt site is refused before any file is hashed
    parse_sites([site for site in sites if site != AUTO_LINEAR])
    request = Request(Path(store), tuple(sites), pooling, dtype, backend, chosen)
    report = progress or (lambda _: None)
    run = _elsewhere if chosen.devices or chosen.dask else run_here
    return run(models, corpus, request, report)


def _elsewhere(models: Models, corpus: Corpus | Path | str, request: Request, progress: ProgressCallback) -> ExtractSummary:
    """The same in other processes."""
    from actlas.extract.parallel.worker import Call

    chosen = request.options
    if isinstance(corpus, Corpus):
        raise ExtractionError("other processes read the corpus from its folder; write it with Corpus.write and name that")
    if chosen.devices and chosen.dask:
        raise ExtractionError("devices are of this machine, Dask's workers have their own; give --devices or --dask, not both")
    if chosen.removes_downloads:
        raise ExtractionError("--remove-downloads would take files from processes that still read them; remove them afterwards")
    given = [models] if isinstance(models, str | Path | Checkpoint) else models
    named = tuple(model if isinstance(model, Checkpoint) else str(model) for model in given)
    call = Call(named, str(corpus), request)
    if chosen.dask:
        from actlas.extract.parallel.dask_cluster import run_on_dask

        return run_on_dask(call, chosen.dask, progress)
    from actlas.extract.parallel.devices import run_on_devices

    return run_on_devices(call, chosen.devices, progress)
