"""Writing scores beside the cubes they come from: one layer at a time, committed, resumable."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import RecipeMismatch
from actlas.store import layout
from actlas.store.committed import generation_folders
from actlas.store.files.atomic import clear_temporaries, read_json, to_json, write_atomically
from actlas.store.files.codecs import Codec
from actlas.store.files.digests import record_files
from actlas.store.files.group_writer import create_groups, group_files
from actlas.store.files.locks import Claim
from actlas.store.files.shard_reader import open_array, plan_of
from actlas.store.files.shard_writer import write_shards
from actlas.store.groups import score_group
from actlas.store.layout import ArrayPlan
from actlas.store.log import Change, Log, check_unlogged
from actlas.store.write.joining import join


@dataclass(frozen=True)
class ScoreTarget:
    """Where scores are written.

    Attributes:
        root: Folder of the store.
        name: What they are called where they are committed: ``scores/<checkpoint>/<site>.<pooling>``.
        shape: Layers and neurons.
        codec: How chunks are encoded.
        store_format: Format of the store.
        log: Its log; None in a store of an earlier version.
    """

    root: Path
    name: str
    shape: tuple[int, int]
    codec: Codec
    store_format: int
    log: Log | None


class ScoreWriter:
    """Writes the scores of one cube. Made by `Store.score_writer`.

    The unit of work is a layer. `pending_layers` are those without a commit record; nothing is visible before `finish`.
    Two writers of one cube exclude each other: the second waits for nothing and is refused.
    """

    def __init__(self, target: ScoreTarget, about: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self._target = target
        self.stats: tuple[str, ...] = tuple(about["stats"])
        self.n_layers, n_neurons = target.shape
        n_languages, n_concepts = len(about["languages"]), len(about["concepts"])
        self._plans = {stat: layout.score_plan(n_languages, n_concepts, self.n_layers, n_neurons, stat) for stat in self.stats}
        _, manifest = generation_folders(target.name, 1)
        claim = Claim.take((target.root / manifest).with_suffix(".claim"))
        if claim is None:
            raise RecipeMismatch(f"another run is writing scores to {target.name} right now; wait for it, or stop it")
        self._claim, self._joined = claim, join(target.root)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-scores")
        try:
            if target.log is None:
                check_unlogged(target.root)
            self._begin(dict(about), overwrite)
        except BaseException:
            self.close()
            raise

    def _begin(self, about: dict[str, Any], overwrite: bool) -> None:
        # compared as written, so that a tuple and the list that it was saved as do not differ
        content = to_json(about)
        self._generation = self._current_generation()
        if self._target.log is not None:
            self._target.log.complete()
            self._remove_retired()
            if overwrite:
                # beside those that are there, which stay until these are complete
                self._generation = self._next_generation()
        settings = self._manifest / "settings.json"
        if settings.is_file() and settings.read_bytes() != content:
            existing = read_json(settings)
            if not overwrite:
                differs = ", ".join(name for name in about if existing.get(name) != about[name]) or "settings"
                raise RecipeMismatch(
                    f"{self._path} holds scores made with other {differs}; "
                    "score again with overwrite=True (--overwrite) to replace them"
                )
            # the manifest goes first: without it no reader sees the arrays any more
            shutil.rmtree(self._manifest)
            shutil.rmtree(self._target.root / self._path, ignore_errors=True)
        if not settings.is_file():
            write_atomically(settings, [content])
        if not self.is_complete:
            self._plans = {stat: self._begun_plan(stat) or plan for stat, plan in self._plans.items()}
            self._group = score_group(self._path, self._plans, about["languages"], about["concepts"])
            create_groups(self._target.root, [self._group], self._target.codec, store_format=self._target.store_format)

    def _begun_plan(self, stat: str) -> ArrayPlan | None:
        """How an array is cut of which layers are there already, maybe by another version; None where none are."""
        folder = self._target.root / self._path / stat
        is_begun = any(self._record(layer).exists() for layer in range(self.n_layers))
        return plan_of(open_array(folder)) if is_begun and (folder / "zarr.json").exists() else None

    def _next_generation(self) -> int:
        """How often the scores will have been written with the next time. Every time has folders of its own."""
        return 1 if self._target.log is None else self._target.log.read().n_added.get(self._target.name, 0) + 1

    def _current_generation(self) -> int:
        """That of the scores that are there, or of those that come next where there are none."""
        if self._target.log is None:
            return 1
        is_there = self._target.name in self._target.log.read().holds
        return self._next_generation() - is_there

    def _remove_retired(self) -> None:
        """Remove scores that others have taken the place of, also what a killed writer left of them."""
        for generation in range(1, self._current_generation()):
            # the records first: what has none is an attempt that did not come to its end
            for folder in reversed(generation_folders(self._target.name, generation)):
                shutil.rmtree(self._target.root / folder, ignore_errors=True)

    @property
    def _path(self) -> str:
        return generation_folders(self._target.name, self._generation)[0]

    @property
    def _manifest(self) -> Path:
        return self._target.root / generation_folders(self._target.name, self._generation)[1]

    @property
    def is_complete(self) -> bool:
        """Whether the scores are visible."""
        if self._target.log is None:
            return (self._manifest / "done.json").exists()
        return self._generation < self._next_generation()

    def _record(self, layer: int) -> Path:
        return self._manifest / f"layer-{layer:04d}.json"

    def pending_layers(self) -> list[int]:
        """Layers whose scores are not committed yet.

        Returns:
            Numbers of layers, ascending.

        Example:
            >>> score_writer.pending_layers()
            [0, 1]
        """
        return [] if self.is_complete else [n for n in range(self.n_layers) if not self._record(n).exists()]

    def write_layer(self, layer: int, values: Mapping[str, NDArray[Any]]) -> None:
        """Write and commit all statistics of one layer.

        Args:
            layer: Which one.
            values: stat -> ``"languages concepts neurons"``; NaN for null.

        Raises:
            ValueError: If a statistic is missing or has another shape.

        Example:
            >>> score_writer.write_layer(0, {"mean": np.zeros((1, 1, 40), np.float32)})
            >>> score_writer.pending_layers()
            [1]
        """
        if set(values) != set(self.stats):
            raise ValueError(f"expected statistics {', '.join(self.stats)}, got {', '.join(values)}")
        shards, root, codec = [], self._target.root, self._target.codec
        for stat, plan in self._plans.items():
            languages, concepts, _, neurons = plan.shape
            if values[stat].shape != (languages, concepts, neurons):
                raise ValueError(f"{stat} has shape {values[stat].shape}, expected {(languages, concepts, neurons)}")
            block = values[stat].astype(plan.dtype, copy=False)[:, :, np.newaxis, :]
            start = (0, 0, layer, 0)
            shards += write_shards(root, f"{self._path}/{stat}", plan, codec, block, start=start, pool=self._pool)
        write_atomically(self._record(layer), [to_json({"layer": layer, "shards": shards})])

    def finish(self) -> None:
        """Make the scores visible.

        Raises:
            ValueError: If layers are missing.

        Example:
            >>> for layer in score_writer.pending_layers():
            ...     score_writer.write_layer(layer, {"mean": np.zeros((1, 1, 40), np.float32)})
            >>> score_writer.finish()
            >>> score_writer.is_complete
            True
        """
        missing = self.pending_layers()
        if missing:
            raise ValueError(f"layers {missing} of {self._path} are not written yet")
        if not self.is_complete:
            # a fingerprint of all shards: what was computed from these scores is told from what was computed from others
            records = hashlib.sha256(b"".join(self._record(layer).read_bytes() for layer in range(self.n_layers)))
            done: dict[str, Any] = {"layers": self.n_layers, "records": records.hexdigest()}
            if self._target.log is not None:
                done["files"] = record_files(self._target.root, self._small_files())
            write_atomically(self._manifest / "done.json", [to_json(done)])
            for folder in (self._manifest, self._target.root / self._path):
                clear_temporaries(folder)
            if self._target.log is not None:
                _, manifest = generation_folders(self._target.name, self._generation)
                names = ("settings.json", *(self._record(layer).name for layer in range(self.n_layers)), "done.json")
                files = record_files(self._target.root, (f"{manifest}/{name}" for name in names))
                self._target.log.append(lambda _: Change({self._target.name: files}))
                self._remove_retired()
        self.close()

    def _small_files(self) -> list[str]:
        return group_files(self._target.root, self._group, self._target.store_format)

    def close(self) -> None:
        """Give the claim back; what is committed stays.

        Example:
            >>> score_writer.close()
        """
        self._pool.shutdown()
        self._claim.release()
        self._joined.release()

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
