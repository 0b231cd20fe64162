"""`extract_activations`: checkpoints, blocks of texts, a backend, the store's writer."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from actlas.errors import ExtractionError
from actlas.extract.options import ExtractFields, ExtractOptions, takes_options
from actlas.extract.results import ExtractSummary, ProgressCallback
from actlas.extract.run.prepare import Models, Request, run_here
from actlas.extract.sites.resolve import AUTO_LINEAR, parse_sites
from actlas.names import Checkpoint
from actlas.store.corpus.corpus import Corpus


@takes_options
def extract_activations(
    models: Models,
    corpus: Corpus | Path | str,
    store: Path | str,
    *,
    progress: ProgressCallback | None = None,
    **options: Unpack[ExtractFields],
) -> ExtractSummary:
    """Run checkpoints over a corpus once and keep what every neuron did.

    The same call again goes on where the last one stopped: blocks of texts that are committed are not computed again, and a
    checkpoint that is complete is not loaded (its weight files are hashed, to be sure that they are the same).

    Args:
        models: Local folders, folders of step folders, hub ids with an optional ``@revision``; see `resolve_models`.
        corpus: A corpus, or the folder of one.
        store: Folder of the store; created if it is not there.
        progress: Called with a `Progress` now and then.
        **options: Fields of `ExtractOptions`.

    Returns:
        What was done: `checkpoints`, a `CheckpointResult` each, by step, with its status, number of texts, sanity loss and
        fidelity; `n_texts` of the text axis; `n_over_long`; and `warnings`, one line each. The store holds, per checkpoint and
        site, a cube ``"layers neurons texts"``; see `open_store`.

    Raises:
        OptionError: If an option has no such value, or contradicts another one.
        CapturePointNotFound: If a site is not known for an architecture.
        ModelNotSupported: If a model has no one value per token and neuron, such as a mixture of experts.
        RecipeMismatch: If the store was made by another recipe.
        DiskTooSmall: If what is to be written could outgrow the disk.
        FidelityError: If batched values differ from the same texts run alone, or another backend's from those of transformers.
        NotFiniteValues: If a model gives NaN or infinity, or a value outgrows `dtype`.
        ModelNotLoaded: If a checkpoint is not there or not in safetensors.
        ExtractionError: If other processes are to read a corpus that is in memory alone.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat sleeps", "two dogs", "ein Hund"], "language": ["en", "en", "de"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> model = random_checkpoint(folder / "tiny")
        >>> summary = actlas.extract_activations(model, corpus, folder / "run.actlas", sites=["mlp_pre"], device="cpu")
        >>> [(result.checkpoint, result.status, result.n_texts) for result in summary.checkpoints]
        [('tiny', 'extracted', 3)]
        >>> actlas.open_store(folder / "run.actlas").cube("tiny", "mlp_pre").read().shape
        (2, 40, 3)
    """
    chosen = ExtractOptions(**options)
    # a misspelt site is refused before any file is hashed
    parse_sites([site for site in chosen.sites_or_default if site != AUTO_LINEAR])
    request = Request(Path(store), chosen)
    run = _elsewhere if chosen.devices or chosen.dask else run_here
    return run(models, corpus, request, progress or (lambda _: None))


def _elsewhere(models: Models, corpus: Corpus | Path | str, request: Request, progress: ProgressCallback) -> ExtractSummary:
    """The same in other processes."""
    from actlas.extract.parallel.worker import RemoteRequest

    chosen = request.options
    if isinstance(corpus, Corpus):
        raise ExtractionError("other processes read the corpus from its folder; write it with Corpus.write and name that")
    given = [models] if isinstance(models, str | Path | Checkpoint) else models
    names = tuple(model if isinstance(model, Checkpoint) else str(model) for model in given)
    call = RemoteRequest(names, str(corpus), request)
    if chosen.dask:
        from actlas.extract.parallel.dask_cluster import run_on_dask

        return run_on_dask(call, chosen.dask, progress)
    from actlas.extract.parallel.devices import run_on_devices

    return run_on_devices(call, chosen.devices, progress)
