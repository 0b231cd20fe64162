"""Writing scores that were computed elsewhere: a store that has them, and neither texts nor values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from actlas.errors import RecipeMismatch
from actlas.names import IMPORTED, VERSION, Checkpoint, Recipe, TokenSample
from actlas.store import layout
from actlas.store.committed import checkpoint_name, score_name
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.declared import Declared
from actlas.store.files.atomic import to_json, write_atomically
from actlas.store.files.digests import FileRecord, record_files
from actlas.store.log import Change, Log
from actlas.store.store import Store
from actlas.store.values import TokenIds
from actlas.store.write.score_writer import ScoreTarget, ScoreWriter
from actlas.store.write.writer import StoreWriter

#: Statistic -> its values, ``"languages concepts layers neurons"``; NaN for null.
SiteScores = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ImportedCheckpoint:
    """Scores of one checkpoint.

    Attributes:
        checkpoint: Which one.
        sites: Site -> its scores.
        provenance: What is known of them: where they come from, what they were computed with.
    """

    checkpoint: Checkpoint
    sites: Mapping[str, SiteScores]
    provenance: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Site -> layers, neurons."""
        first = {site: next(iter(scores.values())).shape for site, scores in sorted(self.sites.items())}
        return {site: (shape[2], shape[3]) for site, shape in first.items()}


def import_recipe(declared: Declared, pooling: str) -> Recipe:
    """The recipe of a store of imported scores: no site has values, no token is counted or kept."""
    return Recipe(
        declared.fingerprint,
        tokenizer="",
        sites=(),
        pooling=pooling,
        tokens=TokenSample(0, sites=()),
        count_sites=(),
        backend=IMPORTED,
    )


def write_imported(path: Path, declared: Declared, pooling: str, imported: list[ImportedCheckpoint]) -> None:
    """Write scores into a store, which is created where there is none; all checkpoints become visible together.

    What a stopped call has written is used by the next one if its numbers are the same.

    Args:
        path: Folder of the store.
        declared: Languages and concepts along the first axes of the scores.
        pooling: Tokens to one value per text, where the scores were computed.
        imported: The checkpoints.

    Raises:
        RecipeMismatch: If the store holds something else, or one of the checkpoints with other numbers.
    """
    corpus, no_tokens = Corpus.without_texts(declared), TokenIds(np.zeros(0, np.int32), np.zeros(1, np.int64))
    with StoreWriter(path, import_recipe(declared, pooling), corpus, no_tokens) as writer:
        store, log = Store(path, "a"), Log(path)
        settings = {(one.checkpoint.id, site): _settings(one, site, corpus) for one in imported for site in one.sites}
        new = [one for one in imported if not _is_there(store, one, settings)]
        for one in new:
            _write_scores(store, one, settings)
        adds = {checkpoint_name(one.checkpoint.id): _write_record(path, one) for one in new}
        if adds:
            log.append(lambda _: Change(adds), sync=writer.context.sync)


def _settings(one: ImportedCheckpoint, site: str, corpus: Corpus) -> dict[str, Any]:
    """What tells these scores from others: the digest of all numbers, too."""
    hashed = xxhash.xxh3_128()
    for stat, values in one.sites[site].items():
        hashed.update(np.ascontiguousarray(values, dtype=layout.score_dtype(stat)).data)
    return {
        "threshold": None,
        "stats": list(one.sites[site]),
        "backend": IMPORTED,
        "corpus": corpus.fingerprint,
        "values": hashed.hexdigest(),
        "provenance": dict(one.provenance),
        "versions": {"actlas": VERSION},
    }


def _is_there(store: Store, one: ImportedCheckpoint, settings: Mapping[tuple[str, str], Mapping[str, Any]]) -> bool:
    """Whether the very same scores are in the store.

    Raises:
        RecipeMismatch: If others are.
    """
    name = one.checkpoint.id
    if name not in store.checkpoints:
        return False
    there = {site: store.score_record(name, site) for site in store.scored_sites(name)}
    values = {site: record.settings["values"] for site, record in there.items() if record is not None}
    if values != {site: settings[name, site]["values"] for site in one.sites}:
        raise RecipeMismatch(f"{store.path} holds other scores of checkpoint {name}; import these under another id, or elsewhere")
    return True


def _write_scores(store: Store, one: ImportedCheckpoint, settings: Mapping[tuple[str, str], dict[str, Any]]) -> None:
    name, corpus = one.checkpoint.id, store.corpus
    # first, so that what follows belongs to something: until the checkpoint is committed, nothing of it can be seen
    write_atomically(store.path / layout.manifest_path(name) / "begun.json", [to_json(_record(one))])
    for site, scores in one.sites.items():
        about = {
            "stats": list(scores),
            "languages": list(corpus.languages),
            "concepts": list(corpus.concepts),
            "settings": settings[name, site],
        }
        record = store.score_record(name, site)
        if record is not None and record.settings == settings[name, site]:
            continue
        target = ScoreTarget(
            store.path,
            score_name(name, site, store.recipe.pooling),
            one.shapes[site],
            store.codec,
            store.about["format"],
            store.log,
        )
        # what a stopped import has left of other numbers gives way
        with ScoreWriter(target, about, overwrite=True) as writer:
            for layer in writer.pending_layers():
                writer.write_layer(layer, {stat: values[:, :, layer] for stat, values in scores.items()})
            writer.finish()


def _record(one: ImportedCheckpoint) -> dict[str, Any]:
    checkpoint = one.checkpoint
    return {
        **one.provenance,
        "checkpoint": checkpoint.id,
        "model": checkpoint.model,
        "step": checkpoint.step,
        "revision": checkpoint.revision,
        **({} if checkpoint.twin is None else {"twin": asdict(checkpoint.twin)}),
        "backend": IMPORTED,
        "weight_hash": None,
        "imported": {site: list(shape) for site, shape in one.shapes.items()},
        "versions": {"actlas": VERSION},
        **{kind: {} for kind in ("shapes", "states", "health")},
        **{kind: [] for kind in ("cubes", "token_cubes", "counts", "shards")},
    }


def _write_record(path: Path, one: ImportedCheckpoint) -> tuple[FileRecord, ...]:
    folder = layout.manifest_path(one.checkpoint.id)
    write_atomically(path / folder / "checkpoint.json", [to_json({**_record(one), "n_texts": 0, "n_tokens": {}})])
    return record_files(path, (f"{folder}/checkpoint.json", f"{folder}/begun.json"))
