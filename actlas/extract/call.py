"""`extract_activations`: checkpoints, blocks of texts, a backend, the store's writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from actlas.extract.backend import get_backend
from actlas.extract.models import resolve_models
from actlas.extract.options import ExtractOptions, ExtractSummary, Progress, ProgressCallback
from actlas.extract.run import Request, engine_settings, prepare
from actlas.extract.sites import AUTO_LINEAR, parse_sites
from actlas.names import Checkpoint
from actlas.store.corpus import Corpus

Models = str | Path | Checkpoint | Iterable[str | Path | Checkpoint]


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
    # a misspelt site is refused before any file is hashed
    parse_sites([site for site in sites if site != AUTO_LINEAR])
    engine = get_backend(backend, engine_settings(chosen))
    checkpoints = resolve_models(models, chosen.steps, revisions=chosen.revisions, list_revisions=engine.revisions)
    request = Request(Path(store), tuple(sites), pooling, dtype, backend, chosen, len(checkpoints))
    report = progress or (lambda _: None)
    report(Progress(checkpoints[0].id, 1, len(checkpoints), "locate"))
    run = prepare(request, corpus, engine.locate(checkpoints[0]), report)
    results = run.run(checkpoints)
    return ExtractSummary(
        store=str(store),
        checkpoints=tuple(results),
        n_texts=run.texts.corpus.n_texts,
        n_over_long=len(run.texts.over_long),
        warnings=tuple(run.warnings),
    )
