"""One condition of the demo, the model or its control: from training to answers, in one process of one thread.

The two conditions share nothing but the report, so they run side by side.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from actlas.demo.corpus import CONCEPTS, concept_words, demo_corpus
from actlas.demo.settings import (
    STEERED_LANGUAGE,
    STEERED_SEEDS,
    STEERED_TOKENS,
    STORES,
    Condition,
    K,
    model_folder,
    seconds_file,
)
from actlas.demo.train import TrainingSettings, is_trained, train
from actlas.extract import extract_activations
from actlas.intervene import Forcing, Sampling, generate_steered, token_values
from actlas.names import LINEAR_SITES, TokenSample
from actlas.query import (
    Atlas,
    expert_overlap,
    language_neurons,
    open_store,
    overlap_controls,
    overlap_tests,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
    train_probes,
)

Progress = Callable[[str], None]

SITES = (*(site for site in LINEAR_SITES if site != "mlp_up"), "mlp_hidden", "resid")
#: Tokens per text whose vectors are kept for probing.
TOKENS_PER_TEXT = 4
#: Statistics that the demo's answers need; `actlas score --stats` computes others.
STATS = ("ap", "auroc", "p_active", "p_active_off", "mean", "median", "p90")


def build_in_this_process(condition: Condition, out: Path | str, progress: Progress, *, seed: int = 0) -> Path:
    """Builds a condition with one thread, for a process that does nothing else.

    Tensors of the demo are so small that a second thread costs time. Two such processes side by side take the time of one.

    Args:
        condition: "multi" for the model, "mono" for the control.
        out: Folder of the demo.
        progress: Called with each line of progress.
        seed: Seed of weights, documents and held-out sentences.

    Returns:
        Path of the store.
    """
    torch.set_num_threads(1)
    disable_progress_bar()  # a bar per written file would hide the lines of progress
    with _kernel_lines(condition, progress):
        store = build_condition(condition, out, progress, TrainingSettings(condition=condition, seed=seed))
        steer_condition(condition, out, progress)
        keep_token_values(condition, out, progress)
        return store


@contextmanager
def _kernel_lines(condition: Condition, progress: Progress) -> Iterator[None]:
    """Shows what the kernels log, above all that they are compiled now, which takes longer than any other silent step."""
    handler = logging.Handler()
    handler.emit = lambda record: progress(f"{condition}: {record.getMessage()}")  # type: ignore[method-assign]
    kernels = logging.getLogger("actlas.kernels")
    kernels.addHandler(handler)
    try:
        yield
    finally:
        kernels.removeHandler(handler)


def build_condition(
    condition: Condition, out: Path | str, progress: Progress = lambda line: None, settings: TrainingSettings | None = None
) -> Path:
    """Trains a model, extracts every checkpoint into a store, and computes what the report shows.

    A complete model is reused, and a complete checkpoint is not extracted again. A store that was made from other weights
    is removed first.

    Args:
        condition: "multi" for the model, "mono" for the control.
        out: Folder of the demo.
        progress: Called with each line of progress.
        settings: What to train; None for the demo's own settings.

    Returns:
        Path of the store.
    """
    out = Path(out)
    settings = settings or TrainingSettings(condition=condition)
    models, store = model_folder(out, condition), out / STORES[condition]
    seconds: dict[str, float] = {}
    with _timed(seconds, "train"):
        if not is_trained(models, settings) and (store / "zarr.json").is_file():
            shutil.rmtree(store)
        train(models, settings, progress)
    with _timed(seconds, "extract"):
        progress(f"{condition}: extracting {len(settings.checkpoints)} checkpoints")
        extract_activations(
            models,
            demo_corpus(settings.languages, settings.seed),
            store,
            sites=SITES,
            pooling="max",
            dtype="float16",
            special_tokens="run",
            token_sample=TokenSample(per_text=TOKENS_PER_TEXT),
            n_threads=1,
        )
    _ask(condition, store, seconds, progress)
    seconds_file(out, condition).write_text(json.dumps({phase: round(spent, 1) for phase, spent in seconds.items()}))
    progress(f"{condition}: done")
    return store


def _ask(condition: Condition, store: Path, seconds: dict[str, float], progress: Progress) -> None:
    """Computes and keeps every table that the report shows."""
    atlas = open_store(store, mode="a")
    with _timed(seconds, "score"):
        progress(f"{condition}: scoring neurons")
        score_neurons(atlas, sites=[site for site in SITES if site in LINEAR_SITES], stats=STATS)
    with _timed(seconds, "experts"):
        progress(f"{condition}: experts, overlap, controls and trajectories")
        top_experts(atlas, k=K)
        expert_overlap(atlas, k=K)
        overlap_controls(atlas, k=K)
        overlap_tests(atlas, k=K, by="concept", checkpoints=atlas.checkpoints[-1:])
        shared_trajectory(atlas, k=K)
        rank_stability(atlas, k=K)
        language_neurons(atlas)
    with _timed(seconds, "probe"):
        progress(f"{condition}: probing for the language")
        train_probes(atlas)


def steer_condition(condition: Condition, out: Path | str, progress: Progress = lambda line: None) -> None:
    """Lets the last checkpoint write texts with experts forced, beside its controls; the time it took is noted with the others.

    Args:
        condition: "multi" for the model, "mono" for the control.
        out: Folder of the demo, in which the condition was built.
        progress: Called with each line of progress.
    """
    with _last_checkpoint(condition, Path(out), "steer") as (atlas, last, model):
        progress(f"{condition}: writing texts with experts forced, and controls")
        generate_steered(
            atlas,
            # every other one: half of each category
            concepts=CONCEPTS[::2],
            languages=[STEERED_LANGUAGE],
            checkpoints=[last],
            forcing=Forcing(k=K),
            seeds=STEERED_SEEDS,
            sampling=Sampling(max_new_tokens=STEERED_TOKENS),
            words={concept: concept_words(concept, atlas.corpus.languages) for concept in CONCEPTS},
            model=model,
            device="cpu",
        )


def keep_token_values(condition: Condition, out: Path | str, progress: Progress = lambda line: None) -> None:
    """Keeps what the experts of the last checkpoint have at every token of their strongest texts; arguments as above."""
    with _last_checkpoint(condition, Path(out), "tokens") as (atlas, last, model):
        progress(f"{condition}: reading the strongest texts of experts token by token")
        token_values(atlas, checkpoints=[last], model=model, device="cpu")


@contextmanager
def _last_checkpoint(condition: Condition, out: Path, phase: str) -> Iterator[tuple[Atlas, str, Path]]:
    """The store, its last checkpoint and where the model of it is; the time that is spent within is noted with the others."""
    file = seconds_file(out, condition)
    seconds: dict[str, float] = json.loads(file.read_text())
    atlas = open_store(out / STORES[condition], mode="a")
    last = atlas.checkpoints[-1]
    with _timed(seconds, phase):
        # the folder may have been moved since it was extracted
        yield atlas, last, model_folder(out, condition) / f"step{atlas.checkpoint(last)['step']}"
    file.write_text(json.dumps({phase: round(spent, 1) for phase, spent in seconds.items()}))


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - began
