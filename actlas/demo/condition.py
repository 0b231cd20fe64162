"""One side of the demo, the model or its control: from training to answers, in one process of one thread.

The two sides share nothing but the report, so they run side by side.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import logging

from actlas.demo.corpus import DEMO_LANGUAGES, demo_corpus
from actlas.demo.settings import STORES, K, Kind, model_folder, seconds_file
from actlas.demo.train import DOCUMENT_SHARES, TrainingSettings, is_trained, train
from actlas.extract import extract_activations
from actlas.names import LINEAR_SITES, TokenSample
from actlas.query import (
    expert_overlap,
    language_neurons,
    open_store,
    overlap_controls,
    rank_stability,
    score_neurons,
    shared_trajectory,
    top_experts,
    train_probes,
)

Say = Callable[[str], None]

SITES = (*(site for site in LINEAR_SITES if site != "mlp_up"), "mlp_hidden", "resid")
#: Tokens per text whose vectors are kept for probing.
TOKENS_PER_TEXT = 4
#: Inverse strength of the probes' penalty: at 1, probes take twice as long to converge and are no better.
PROBE_C = 0.1
#: Statistics that the demo's answers need; `actlas score --stats` computes others.
STATS = ("ap", "auroc", "p_active", "p_active_off", "mean", "median", "p90")


def build_side(kind: Kind, out: Path | str, say: Say = lambda line: None, settings: TrainingSettings | None = None) -> Path:
    """Trains a model, extracts every checkpoint into a store, and computes what the report shows.

    What is already there is not made again: a complete model is reused, a complete checkpoint is not extracted twice. A
    store made from other weights is removed first.

    Args:
        kind: "multi" for the model, "mono" for the control.
        out: Folder of the demo.
        say: Called with lines of progress.
        settings: What to train; None for the demo's own.

    Returns:
        The store.
    """
    out = Path(out)
    settings = settings or TrainingSettings(kind=kind)
    models, store = model_folder(out, kind), out / STORES[kind]
    seconds: dict[str, float] = {}
    with _timed(seconds, "train"):
        if not is_trained(models, settings) and (store / "zarr.json").is_file():
            shutil.rmtree(store)
        train(models, settings, say)
    with _timed(seconds, "extract"):
        say(f"{kind}: extracting {len(settings.checkpoints)} checkpoints")
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
    atlas = open_store(store, mode="a")
    with _timed(seconds, "score"):
        say(f"{kind}: scoring neurons")
        score_neurons(atlas, sites=[site for site in SITES if site in LINEAR_SITES], stats=STATS)
    with _timed(seconds, "experts"):
        say(f"{kind}: experts, overlap, controls and trajectories")
        top_experts(atlas, k=K)
        expert_overlap(atlas, k=K)
        overlap_controls(atlas, k=K)
        shared_trajectory(atlas, k=K)
        rank_stability(atlas, k=K)
        language_neurons(atlas)
    with _timed(seconds, "probe"):
        say(f"{kind}: probing for the language")
        train_probes(atlas, c=PROBE_C)
    seconds_file(out, kind).write_text(json.dumps({name: round(spent, 1) for name, spent in seconds.items()}))
    say(f"{kind}: done")
    return store


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m actlas.demo.condition``: one thread, progress on standard output."""
    parser = argparse.ArgumentParser(prog="python -m actlas.demo.condition", description="Build the demo's model or its control.")
    parser.add_argument("--kind", choices=sorted(DOCUMENT_SHARES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--languages", nargs="+", default=list(DEMO_LANGUAGES))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.disable_progress_bar()  # one bar per file would bury the progress lines

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    settings = TrainingSettings(kind=asked.kind, seed=asked.seed, languages=tuple(asked.languages))
    build_side(asked.kind, asked.out, say, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
