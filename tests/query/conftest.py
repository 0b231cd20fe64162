"""One planted store for all tests that only read it; its plain twin in memory to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import average_precision_score

import actlas.query
from actlas.query import TABLES, Atlas, open_store, score_neurons
from actlas.query.measures.registry import MEASURES
from actlas.store import Corpus
from actlas.testing.planted import Planting, planted_corpus, planted_store, planted_values

Neuron = tuple[str, int, int]


@dataclass
class Plain:
    """The same contents computed the slow and obvious way: dicts, sets and scikit-learn."""

    planting: Planting
    _scored: dict[tuple[Any, ...], dict[Neuron, float]] = field(default_factory=dict)

    @cached_property
    def corpus(self) -> Corpus:
        return planted_corpus(self.planting)

    def values(self, checkpoint: str, site: str) -> np.ndarray:
        step = int(checkpoint.removeprefix("planted-step"))
        sharing = dict(zip(self.planting.steps, self.planting.sharing, strict=True))[step]
        return planted_values(self.corpus, self.planting, site, step, sharing)

    def labels(self, language: str, concept: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the text axis that take part, and which of them are positive."""
        own = self.corpus.texts.filter(language=language)["text_id"].to_list()
        rows = {row["text_id"]: row["is_concept"] for row in self.corpus.labels.filter(concept=concept).to_dicts()}
        members = [text_id for text_id in own if text_id in rows]
        return np.array(members), np.array([rows[text_id] for text_id in members])

    def ap(self, checkpoint: str, language: str, concept: str, rows: np.ndarray | None = None) -> dict[Neuron, float]:
        """AP of every neuron of the linear sites; {} where there are no positives or no negatives among `rows`."""
        key = (checkpoint, language, concept, None if rows is None else rows.tobytes())
        if key not in self._scored:
            self._scored[key] = self._ap(checkpoint, language, concept, rows)
        return self._scored[key]

    def _ap(self, checkpoint: str, language: str, concept: str, rows: np.ndarray | None) -> dict[Neuron, float]:
        members, is_positive = self.labels(language, concept)
        if rows is not None:
            kept = np.isin(members, rows)
            members, is_positive = members[kept], is_positive[kept]
        if is_positive.all() or not is_positive.any():
            return {}
        scores = {}
        for site in ("attn_out", "mlp_pre"):
            values = self.values(checkpoint, site).astype(np.float64)
            for layer, neuron in np.ndindex(values.shape[:2]):
                scores[site, layer, neuron] = average_precision_score(is_positive, values[layer, neuron, members])
        return scores

    def experts(self, checkpoint: str, language: str, concept: str, k: int, rows: np.ndarray | None = None) -> list[Neuron]:
        scores = self.ap(checkpoint, language, concept, rows)
        # rounded: two sums in another order must not decide a tie
        return sorted(scores, key=lambda neuron: (-round(scores[neuron], 12), neuron))[:k]


def planted_patches() -> pl.DataFrame:
    """Rows of table `patches` of a step at which the source concept wins in the first layer alone."""
    rows = [
        {
            "step": 64,
            "language_in": "fr",
            "language_out": "en",
            "setting": setting,
            "layer": layer,
            "pair": pair,
            "source_concept": "fire",
            "target_concept": "salt",
            "language": language,
            "continuation": None,
            "p_source": 0.7 + pair / 10 - (layer or 0) / 2,
            "p_target": 0.4 + pair / 20,
        }
        for setting, layers in (("tgt", (0, 1)), ("unpatched", (None,)))
        for layer in layers
        for pair in range(3)
        for language in ("en", "fr")
    ]
    return TABLES["patches"].conform(pl.DataFrame(rows).with_columns(pl.lit("planted-step64").alias("checkpoint")))


@pytest.fixture(scope="session")
def planting() -> Planting:
    return Planting()


@pytest.fixture(scope="session")
def plain(planting: Planting) -> Plain:
    return Plain(planting)


@pytest.fixture(scope="session")
def bare_path(tmp_path_factory: pytest.TempPathFactory, planting: Planting) -> Path:
    """A store that was only extracted; tests that write copy it."""
    return planted_store(tmp_path_factory.mktemp("query") / "bare.actlas", planting)


@pytest.fixture
def bare(bare_path: Path, tmp_path: Path) -> Path:
    """A store that was only extracted."""
    return Path(shutil.copytree(bare_path, tmp_path / "bare.actlas"))


@pytest.fixture(scope="session")
def scored_path(bare_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(bare_path, tmp_path_factory.mktemp("query") / "scored.actlas"))
    score_neurons(path)
    return path


@pytest.fixture
def scored(scored_path: Path) -> Atlas:
    """A scored store, read-only: tests share it."""
    return open_store(scored_path)


@pytest.fixture(scope="session")
def twinned(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A scored store whose last checkpoint is a random-weights twin."""
    path = planted_store(tmp_path_factory.mktemp("query") / "twinned.actlas", Planting(has_twin=True))
    score_neurons(path, sites=("attn_out", "mlp_pre"), stats=("ap", "median"))
    return open_store(path)


def planted_generations(planting: Planting) -> pl.DataFrame:
    """Table `generations` of made-up texts: experts give their language and their concept more often, and no text is in "es"."""
    rng = np.random.default_rng(0)
    rows = []
    for step, concept, language in product(planting.steps, ("salt", "water"), ("fr", "en")):
        for prompt, seed in product((None, "The"), range(6)):
            unsteered = [None, "fr", "en"][rng.integers(3)]
            for arm in ("experts", "none", "random"):
                steered = arm == "experts"
                told = language if steered and rng.random() < 0.6 else unsteered
                has_word = None if told is None else bool(rng.random() < (0.7 if steered else 0.2))
                rows.append(
                    {
                        "checkpoint": planting.checkpoint(step),
                        "step": step,
                        "concept": concept,
                        "language": language,
                        "arm": arm,
                        "experts_of": concept if steered else None,
                        "k": None if arm == "none" else 6,
                        "on_value": None if arm == "none" else "median",
                        "prompt": prompt,
                        "seed": seed,
                        "text": f"{told} {seed}",
                        "text_language": told,
                        "language_confidence": 0.9,
                        "has_word": has_word,
                        "probe_p": rng.random() if concept == "water" else None,
                    }
                )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return TABLES["generations"].empty().join(frame, on=frame.columns, how="full", coalesce=True)


def publish_generations(store: Atlas, generations: pl.DataFrame) -> None:
    """Put them into a store, checkpoint by checkpoint."""
    for (checkpoint,), own in generations.group_by("checkpoint", maintain_order=True):
        store.publish_table("generations", str(checkpoint), TABLES["generations"].conform(own), {})


def _effects() -> pl.DataFrame:
    """A set and one random set in its place, under one intervention."""
    names = {"source": "lape", "set_language": "fr", "language": "en", "intervention": "zero", "n_neurons": 4, "n_texts": 9}
    rows = [{**names, "draw": draw, "change": 0.5 - draw, "change_se": 0.1, "loss_base": 2.0} for draw in (0, 1)]
    return pl.DataFrame(rows, schema=dict(TABLES["neuron_effects"].columns))


def _token_values() -> dict[str, pl.DataFrame]:
    """Of one neuron, on two texts of two tokens each."""
    places = [(text, token, token + 4, "ab"[token], token, token + 1, False) for text in (77, 83) for token in (0, 1)]
    names = [name for name in TABLES["token_places"].columns if name != "checkpoint"]
    values = {"site": "mlp_pre", "layer": 0, "neuron": 4, "rank": [1, 2], "text_id": [77, 83], "value": [3.0, 2.0]}
    tables = {
        "token_places": pl.DataFrame(places, schema=names, orient="row"),
        "token_values": pl.DataFrame({**values, "by_token": [[3.0, -1.0], [0.5, 2.0]]}),
    }
    checkpoint = pl.lit("planted-step64").alias("checkpoint")
    return {name: TABLES[name].conform(frame.with_columns(checkpoint)) for name, frame in tables.items()}


@pytest.fixture(scope="session")
def asked(scored_path: Path, tmp_path_factory: pytest.TempPathFactory, planting: Planting) -> Atlas:
    """A store with every table."""
    from actlas.query import (
        expert_overlap,
        import_neuron_sets,
        language_neurons,
        overlap_controls,
        overlap_tests,
        probe_controls,
        probe_transfer,
        rank_stability,
        shared_trajectory,
        top_experts,
        top_texts,
        train_probes,
    )

    store = open_store(shutil.copytree(scored_path, tmp_path_factory.mktemp("query") / "asked.actlas"), "a")
    top_experts(store, k=6)
    expert_overlap(store, k=6)
    overlap_controls(store, k=6)
    overlap_tests(store, k=6, n_repeats=19)
    shared_trajectory(store, k=6)
    rank_stability(store, k=6)
    language_neurons(store, share=0.05)
    torch.save([[torch.tensor([16]), torch.tensor([3])]], store.path.parent / "fr.neuron.pth")
    import_neuron_sets(store, store.path.parent / "fr.neuron.pth", name="published", languages=["fr"])
    train_probes(store, seeds=(0, 1))
    probe_controls(store, sites=["embed"], seeds=(0,), c=1.0)
    probe_transfer(store, "concept:salt", sites=["embed"], seeds=(0,), c=1.0)
    for measure in MEASURES:
        getattr(actlas.query, measure.function)(store, **({"n_splits": 1} if measure.function == "effective_rank" else {}))
    top_texts(store, sites=["mlp_pre"], n=5)
    publish_generations(store, planted_generations(planting))
    store.publish_table("neuron_effects", "planted-step64", _effects(), {})
    store.publish_table("patches", "planted-step64", planted_patches(), {})
    for name, frame in _token_values().items():
        store.publish_table(name, "planted-step64", frame, {"of": "experts", "texts": 2})
    return store


@pytest.fixture
def count_chunks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Call it to learn how many chunks were decoded since the last call."""
    from actlas.store.files import shard_reader

    decoded = [0]
    original = shard_reader.decode

    def counting(*args: Any) -> None:
        decoded[0] += 1
        original(*args)

    monkeypatch.setattr(shard_reader, "decode", counting)

    def since_last() -> int:
        seen, decoded[0] = decoded[0], 0
        return seen

    return since_last
