"""The stores that queries are measured on, the same numbers every time, and the same numbers in the files that peers read.

``scores.actlas`` holds average precision alone: imported, no values. ``values.actlas`` holds one checkpoint with a cube and
counts of active tokens. ``peers/`` holds the same as a numpy array, as Parquet, and the experts as one Parquet file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.names import Checkpoint, Recipe, TokenSample
from actlas.query import import_scores
from actlas.store import BlockValues, Store, StoreWriter, TokenIds, corpus_from_frames

K = 500
MODEL = "made"
#: Number of the concept that single questions are about.
ASKED = 7


@dataclass(frozen=True)
class Scale:
    """How large the stores are.

    Attributes:
        sites: Site -> layers, neurons.
        languages: Sorted.
        n_concepts: How many.
        n_checkpoints: How many.
        k: Experts per language and concept.
        n_planted: Neurons that detect a concept, in all languages and once more in each.
    """

    sites: dict[str, tuple[int, int]]
    languages: tuple[str, ...]
    n_concepts: int
    n_checkpoints: int
    k: int
    n_planted: int

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(f"c{number:02d}" for number in range(self.n_concepts))

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        steps = (1000 * (number + 1) for number in range(self.n_checkpoints))
        return tuple(Checkpoint(f"{MODEL}-step{step}", MODEL, step) for step in steps)

    @property
    def n_neurons(self) -> int:
        return sum(layers * neurons for layers, neurons in self.sites.values())

    @property
    def n_scores(self) -> int:
        return self.n_neurons * len(self.languages) * self.n_concepts * self.n_checkpoints

    @property
    def starts(self) -> dict[str, int]:
        """Site -> place of its first neuron among all, by site, layer and neuron: the order in which ties are decided."""
        starts, at = {}, 0
        for site, (layers, neurons) in sorted(self.sites.items()):
            starts[site] = at
            at += layers * neurons
        return starts


SCALES = {
    "full": Scale(
        {"attn_out": (24, 1024), "attn_qkv": (24, 3072), "mlp_out": (24, 1024), "mlp_pre": (24, 4096)},
        ("ar", "de", "en", "es", "fr", "pt", "sw", "zh"),
        n_concepts=30,
        n_checkpoints=10,
        k=K,
        n_planted=2000,
    ),
    "small": Scale(
        {"attn_out": (3, 24), "attn_qkv": (3, 72), "mlp_out": (3, 24), "mlp_pre": (3, 96)},
        ("ar", "de", "en", "es", "fr", "pt", "sw"),
        n_concepts=9,
        n_checkpoints=3,
        k=30,
        n_planted=60,
    ),
}


def average_precision(scale: Scale) -> Iterator[tuple[Checkpoint, NDArray[np.float64]]]:
    """Scores of each checkpoint, ``"languages concepts neurons"``, neurons by site, layer and place.

    Every concept has neurons of one detector for all languages, which grow over training, and of one for each language, which
    fade; strengths are exponential. All others are near the share of positives, as finite data leaves them.
    """
    rng = np.random.default_rng(0)
    n_languages, n_concepts, n_neurons = len(scale.languages), scale.n_concepts, scale.n_neurons
    shared = np.zeros((n_concepts, n_neurons), np.float32)
    own = np.zeros((n_languages, n_concepts, n_neurons), np.float32)
    for concept in range(n_concepts):
        for strengths in (shared, *own):
            planted = rng.choice(n_neurons, scale.n_planted, replace=False)
            strengths[concept, planted] = rng.exponential(0.12, scale.n_planted)
    share = rng.uniform(0.1, 0.3, n_concepts)
    for number, checkpoint in enumerate(scale.checkpoints):
        trained = number / (scale.n_checkpoints - 1)
        ap = rng.standard_normal((n_languages, n_concepts, n_neurons))
        ap *= 0.015
        ap += share[:, np.newaxis]
        for language in range(n_languages):
            ap[language] += trained * shared
            ap[language] += (1 - 0.7 * trained) * own[language]
        yield checkpoint, np.clip(ap, 0.001, 0.9999, out=ap)


def by_site(scale: Scale, ap: NDArray[np.float64]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The same as `import_scores` takes it."""
    arrays = {}
    for site, start in scale.starts.items():
        layers, neurons = scale.sites[site]
        part = ap[:, :, start : start + layers * neurons]
        arrays[site] = {"ap": part.reshape(*part.shape[:2], layers, neurons)}
    return arrays


def make(folder: Path, scale: Scale, tell: Callable[[str], None] = print) -> None:
    """Write the stores and the files of the peers into a folder that does not exist yet."""
    waiting = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(waiting, ignore_errors=True)
    peers = waiting / "peers"
    peers.mkdir(parents=True)
    shape = (scale.n_checkpoints, len(scale.languages), scale.n_concepts, scale.n_neurons)
    everything = np.lib.format.open_memmap(peers / "ap.npy", "w+", np.float64, shape)
    for number, (checkpoint, ap) in enumerate(average_precision(scale)):
        names = {"languages": scale.languages, "concepts": scale.concepts}
        provenance = "benchmarks/query_data.py"
        import_scores(
            waiting / "scores.actlas",
            {checkpoint.id: by_site(scale, ap)},
            checkpoints=[checkpoint],
            provenance=provenance,
            **names,
        )
        everything[number] = ap
        write_long(peers, scale, checkpoint, ap)
        tell(f"{checkpoint.id} written")
    everything.flush()
    write_values(waiting / "values.actlas", peers, scale)
    waiting.rename(folder)


def write_long(peers: Path, scale: Scale, checkpoint: Checkpoint, ap: NDArray[np.float64]) -> None:
    """One row per language and neuron, of the concept that is asked about, in a Parquet file per checkpoint."""
    own = ap[:, ASKED]
    languages = pl.Series("language", np.repeat(np.arange(len(scale.languages), dtype=np.uint8), scale.n_neurons))
    neurons = pl.Series("index", np.tile(np.arange(scale.n_neurons, dtype=np.uint32), len(scale.languages)))
    part = peers / "scores" / f"checkpoint={checkpoint.step}" / f"concept={scale.concepts[ASKED]}"
    part.mkdir(parents=True)
    pl.DataFrame([languages, neurons, pl.Series("ap", own.reshape(-1))]).write_parquet(part / "0.parquet", compression="zstd")


#: Of the store with values.
N_TEXTS_PER_LANGUAGE = 16


def write_values(path: Path, peers: Path, scale: Scale) -> None:
    """A store with a cube of one site, and with counts at as many neurons as are scored."""
    rng = np.random.default_rng(1)
    n_texts = N_TEXTS_PER_LANGUAGE * len(scale.languages)
    texts = pl.DataFrame(
        {
            "text": [f"text {number}" for number in range(n_texts)],
            "language": np.repeat(scale.languages, N_TEXTS_PER_LANGUAGE),
        }
    )
    labels = pl.DataFrame({"text_id": np.arange(n_texts), "concept": "c00", "is_concept": np.arange(n_texts) % 2 == 0})
    corpus = corpus_from_frames(texts, labels)
    layers, neurons = scale.sites["mlp_out"]
    width = scale.n_neurons // layers
    values = rng.standard_normal((layers, neurons, n_texts)).astype(np.float16)
    n_tokens = np.full(len(scale.languages), 10_000, np.int64)
    active = rng.binomial(10_000, rng.beta(0.4, 2.0, (len(scale.languages), layers, width))).astype(np.int64)
    recipe = Recipe(corpus.fingerprint, "made", ("mlp_out",), tokens=TokenSample(0, sites=()), count_sites=("mlp_hidden",))
    tokens = TokenIds(np.zeros(n_texts, np.int32), np.arange(n_texts + 1, dtype=np.int64))
    provenance = {"weight_hash": "made", "backend": "made", "lape_site": "mlp_hidden"}
    with StoreWriter(path, recipe, corpus, tokens) as writer:
        run = writer.checkpoint(
            scale.checkpoints[-1], provenance, {"mlp_out": (layers, neurons)}, counts={"mlp_hidden": (layers, width)}
        )
        while (block := run.claim_next()) is not None:
            part = values[:, :, block.start : block.stop]
            first = block.start == 0
            run.write_block(
                block,
                BlockValues(
                    {"mlp_out": part},
                    counts={"mlp_hidden": active if first else np.zeros_like(active)},
                    n_tokens=n_tokens if first else np.zeros_like(n_tokens),
                ),
            )
        assert run.finish()
    np.save(peers / "values.npy", values)
    np.savez(peers / "active.npz", active=active.reshape(len(scale.languages), -1), n_tokens=n_tokens)


def write_experts(folder: Path, scale: Scale) -> None:
    """What peers know of experts: one Parquet file with codes for names, out of the table of the store."""
    store = Store(folder / "scores.actlas")
    parts = []
    for checkpoint in scale.checkpoints:
        file = store.table_file("experts", checkpoint.id)
        assert file is not None
        parts.append(pl.read_parquet(file).with_columns(pl.lit(checkpoint.id).alias("checkpoint")))
    columns = ["checkpoint", "concept", "language", "rank", "site", "layer", "neuron", "ap"]
    frame = pl.concat(parts).select(columns).sort("checkpoint", "concept", "language", "rank")
    frame.write_parquet(folder / "peers" / "experts.parquet", compression="zstd")
