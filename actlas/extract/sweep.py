"""Checkpoint after checkpoint into one store: what is there is left alone, what is broken is said, the rest is extracted."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actlas.errors import DiskTooSmall, ExtractionError, FidelityError, RecipeMismatch
from actlas.extract.backend import Backend, Capture, Session, Source
from actlas.extract.options import CheckpointResult, ExtractOptions, ProgressCallback
from actlas.extract.pipeline import CheckpointProgress, run_blocks, timed
from actlas.extract.tokens import TokenisedCorpus
from actlas.names import Checkpoint, Recipe
from actlas.store import layout
from actlas.store.catalog import Store
from actlas.store.writer import StoreWriter

#: Largest difference between a text in a batch and the same text alone, relative to the largest value of its layer.
FIDELITY_TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
#: Nats above a uniform guess from which a checkpoint is reported.
_WORSE_THAN_GUESSING = 0.1


def check_length(source: Source, recipe: Recipe) -> None:
    """Refuse texts that may be longer than a model can read."""
    if source.max_positions is not None and recipe.max_tokens > source.max_positions:
        raise ExtractionError(
            f"{source.checkpoint.id} reads at most {source.max_positions} tokens and this run allows {recipe.max_tokens}; "
            f"--max-tokens {source.max_positions}"
        )


class Sweep:
    """One call of `extract_activations`: everything that its checkpoints share."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        texts: TokenisedCorpus,
        engine: Backend,
        options: ExtractOptions,
        report: ProgressCallback,
        n_checkpoints: int,
        first: Source,
    ) -> None:
        self.path, self.recipe, self.texts, self.engine = path, recipe, texts, engine
        self.options, self.report, self.n_checkpoints = options, report, n_checkpoints
        self.first = first
        self.warnings: list[str] = []
        self.capture = Capture(
            sites=recipe.sites,
            token_sites=recipe.tokens.sites if texts.sample is not None else (),
            count_sites=recipe.count_sites,
            pooling=recipe.pooling,
            dtype=recipe.dtype,
            count_threshold=recipe.count_threshold,
            n_languages=len(texts.corpus.languages),
            site_modules=dict(recipe.site_modules),
            pad_to=recipe.max_tokens if recipe.pooling == "max_with_pad" else None,
        )
        if (path / "zarr.json").exists():
            # a store of another recipe is refused before a model is loaded
            self._open(layout.CHUNK_TEXTS).close()

    def _open(self, texts_per_block: int) -> StoreWriter:
        return StoreWriter(
            self.path,
            self.recipe,
            self.texts.corpus,
            self.texts.tokens,
            self.texts.sample,
            texts_per_block=texts_per_block,
            sync=self.options.syncs,
            n_threads=self.options.n_threads,
        )

    def checkpoint(self, number: int, checkpoint: Checkpoint) -> CheckpointResult:
        """Extract one checkpoint, or what is missing of it."""
        began = time.perf_counter()
        stage = CheckpointProgress(self.report, checkpoint, number, self.n_checkpoints, self.texts.corpus.n_texts)
        stage.report("locate")
        source = self.first if checkpoint == self.first.checkpoint else self.engine.locate(checkpoint)
        self._check_source(source)
        there = self._complete(source)
        if there is not None:
            stage.report("done", self.texts.corpus.n_texts)
            return CheckpointResult(checkpoint.id, "there", sanity_loss=there.get("sanity_loss"))
        stage.report("load")
        seconds: dict[str, float] = {"load": 0.0, "check": 0.0}
        with timed(seconds, "load"):
            session = self.engine.open(source, self.capture)
        try:
            result = self._extract(source, session, stage, seconds)
        finally:
            session.close()
        stage.report("done", self.texts.corpus.n_texts)
        return replace(result, seconds=time.perf_counter() - began)

    def _check_source(self, source: Source) -> None:
        check_length(source, self.recipe)
        if source.compute_dtype != self.recipe.compute_dtype:
            raise RecipeMismatch(
                f"{source.checkpoint.id} would compute in {source.compute_dtype}, the others in "
                f"{self.recipe.compute_dtype}; name one with --compute-dtype"
            )
        own = source.tokenizer_hash
        if own not in (None, self.recipe.tokenizer) and self.options.tokenizer is None:
            raise RecipeMismatch(
                f"{source.checkpoint.id} has another tokenizer ({own}) than the first checkpoint ({self.recipe.tokenizer}); "
                "extract it into a store of its own, or name one tokenizer for all with --tokenizer"
            )

    def _complete(self, source: Source) -> dict[str, Any] | None:
        """The record of a checkpoint that the store already holds whole."""
        if not (self.path / "zarr.json").exists():
            return None
        store = Store(self.path)
        if source.checkpoint.id not in store.checkpoints:
            return None
        record = store.checkpoint(source.checkpoint.id)
        if record["weight_hash"] != source.weight_hash:
            raise RecipeMismatch(
                f"{self.path} holds {source.checkpoint.id} with weights {record['weight_hash'][:12]}, the ones here are "
                f"{source.weight_hash[:12]}; extract them under another id or into a new store"
            )
        return record

    def _extract(
        self, source: Source, session: Session, stage: CheckpointProgress, seconds: dict[str, float]
    ) -> CheckpointResult:
        shapes, options = session.shapes, self.options
        cubes = {site: shapes[site] for site in self.capture.sites}
        token_cubes = {site: shapes[site] for site in self.capture.token_sites}
        counts = {site: shapes[site] for site in self.capture.count_sites}
        fidelity = None
        if options.fidelity_texts and cubes:
            stage.report("check")
            with timed(seconds, "check"):
                fidelity = self._fidelity(session, stage)
        stage.disk_bytes = self._check_disk(cubes, token_cubes, stage)
        item = np.dtype(layout.storage_dtype(self.recipe.dtype)).itemsize
        n_texts = self.texts.corpus.n_texts
        n_vectors = 0 if self.texts.sample is None else math.ceil(self.texts.sample.height / n_texts)
        per_text = sum(math.prod(shape) for shape in cubes.values())
        per_text += n_vectors * sum(math.prod(shape) for shape in token_cubes.values())
        writer = self._open(options.texts_per_block or layout.texts_per_block(n_texts, per_text, item))
        with writer:
            work = writer.checkpoint(
                source.checkpoint, self._provenance(source, session, writer, fidelity, stage), cubes, token_cubes, counts
            )
            stage.begin(n_texts - sum(block.n_texts for block in work.pending), per_text * item)
            seconds |= run_blocks(work, session, self.texts, stage)
            rounded = {name: round(spent, 3) for name, spent in seconds.items()}
            is_complete = work.finish({"profile": {"n_texts": stage.texts_read, "seconds": rounded}})
        loss = Store(self.path).checkpoint(source.checkpoint.id).get("sanity_loss") if is_complete else None
        if loss is not None:
            self._warn_of_loss(loss, session, stage, "extract")
        return CheckpointResult(
            source.checkpoint.id,
            "extracted" if is_complete else "shared",
            n_texts=stage.texts_read,
            sanity_loss=loss,
            fidelity=fidelity,
            seconds_by_stage=rounded,
        )

    def _warn(self, line: str, stage: CheckpointProgress, during: str) -> None:
        """Say it now, and once more in the summary."""
        if line not in self.warnings:
            self.warnings.append(line)
            stage.report(during, stage.texts_before + stage.texts_read, warning=line)

    def _warn_of_loss(self, loss: float, session: Session, stage: CheckpointProgress, during: str) -> None:
        guessing = math.log(session.about["vocabulary"])
        is_known = any(line.startswith(f"{stage.checkpoint.id} does worse") for line in self.warnings)
        if not is_known and not loss <= guessing + _WORSE_THAN_GUESSING:
            self._warn(
                f"{stage.checkpoint.id} does worse than guessing: {loss:.2f} nats per token, a guess has {guessing:.2f}; "
                "the checkpoint may be broken",
                stage,
                during,
            )

    def _provenance(
        self,
        source: Source,
        session: Session,
        writer: StoreWriter,
        fidelity: float | None,
        stage: CheckpointProgress,
    ) -> dict[str, Any]:
        twins = writer.same_weights(source.checkpoint.id, source.weight_hash)
        if twins:
            self._warn(f"{source.checkpoint.id} has the same weights as {', '.join(twins)}", stage, "check")
        return {
            "weight_hash": source.weight_hash,
            "same_weights_as": twins,
            "backend": self.recipe.backend,
            "dtype": self.recipe.dtype,
            "compute_dtype": self.recipe.compute_dtype,
            "tokenizer_hash": self.recipe.tokenizer,
            "token_ids_hash": hashlib.sha256(self.texts.tokens.ids.tobytes()).hexdigest()[:16],
            "over_long": {"policy": self.recipe.over_long, "n_texts": len(self.texts.over_long)},
            "n_loss_texts": int(self.texts.has_loss.sum()),
            "fidelity": None
            if fidelity is None
            else {
                "n_texts": min(self.options.fidelity_texts, self.texts.corpus.n_texts),
                "largest_relative_difference": fidelity,
                "tolerance": FIDELITY_TOLERANCE[self.recipe.compute_dtype],
            },
            **session.about,
        }

    def _fidelity(self, session: Session, stage: CheckpointProgress) -> float:
        """Run some texts of many lengths together and one by one. Their loss already tells a broken checkpoint.

        Raises:
            FidelityError: Naming the site and layer that differ most.
        """
        lengths = self.texts.tokens.lengths
        order = np.argsort(lengths, kind="stable")
        n_checked = min(self.options.fidelity_texts, len(order))
        rows = np.sort(order[np.linspace(0, len(order) - 1, n_checked).astype(int)])
        block = replace(self.texts.block(rows, is_check=True), has_loss=np.ones(n_checked, dtype=bool))
        first = session.run_block(block, dtype="float32").collect()
        together = first.cubes
        if first.loss_tokens:
            self._warn_of_loss(first.loss_sum / first.loss_tokens, session, stage, "check")
        alone = session.run_block(block, is_alone=True, dtype="float32").collect().cubes
        worst, where = 0.0, ""
        for site, values in together.items():
            scale = np.maximum(np.abs(alone[site]).max(axis=(1, 2)), np.finfo(np.float32).tiny)
            differences = np.abs(values - alone[site]).max(axis=(1, 2)) / scale
            if differences.max() > worst:
                worst, where = float(differences.max()), f"site {site}, layer {int(differences.argmax())}"
        tolerance = FIDELITY_TOLERANCE[self.recipe.compute_dtype]
        if not worst <= tolerance:
            raise FidelityError(
                f"values of {n_checked} texts run together differ from the same texts run alone by {worst:.1e} of the "
                f"largest value at {where}; {self.recipe.compute_dtype} allows {tolerance:.0e}. This model can not be batched"
            )
        return worst

    def _check_disk(
        self, cubes: dict[str, tuple[int, int]], token_cubes: dict[str, tuple[int, int]], stage: CheckpointProgress
    ) -> int:
        sampled = 0 if self.texts.sample is None else self.texts.sample.height
        n_texts = self.texts.corpus.n_texts
        each = layout.estimate_bytes(cubes, token_cubes, n_texts=n_texts, n_sampled_tokens=sampled, dtype=self.recipe.dtype)
        here = Store(self.path).unfinished if (self.path / "zarr.json").exists() else {}
        rest = 1 - here.get(stage.checkpoint.id, 0) / n_texts
        needed = int(each * (rest + self.n_checkpoints - stage.number))
        there = next(folder for folder in (self.path.absolute(), *self.path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if needed > free and self.options.checks_disk:
            raise DiskTooSmall(
                f"{self.n_checkpoints - stage.number + 1} checkpoints could take {needed / 1e9:.1f} GB before compression and "
                f"{there} has {free / 1e9:.1f} GB free; take fewer sites or checkpoints, or skip this check"
            )
        return needed
