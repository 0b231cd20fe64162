"""Checkpoint after checkpoint into one store: what is there is left alone, what is broken is said, the rest is extracted."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import DiskTooSmall, ExtractionError, FidelityError, NotFiniteValues, RecipeMismatch
from actlas.extract.backends.agreement import TOLERANCE, largest_relative_difference
from actlas.extract.backends.base import Backend, Capture, LocatedCheckpoint, ModelSession
from actlas.extract.checkpoints.prefetch import Prefetch
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.options import ExtractOptions
from actlas.extract.results import CheckpointProgress, CheckpointResult, ProgressCallback
from actlas.extract.run.pipeline import run_blocks
from actlas.extract.run.profile import Profile
from actlas.extract.run.state_plan import disk_bytes, memory_warning, state_plan
from actlas.names import Checkpoint, Recipe
from actlas.store import layout
from actlas.store.states import StatePlan
from actlas.store.store import Store
from actlas.store.values import Shapes
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.state_writer import remove_parts
from actlas.store.write.writer import StoreWriter, same_weights
from actlas.timing import StageTimes

#: Nats above a uniform guess from which a checkpoint is reported.
_WORSE_THAN_GUESSING = 0.1
#: Texts that a checkpoint is tried on before it is extracted, where the fidelity check does not say how many.
_TRIED_TEXTS = 4
#: Blocks on their way at most, however small they are: each holds an open file, its claim.
_MOST_BLOCKS = 32


def check_length(source: LocatedCheckpoint, recipe: Recipe) -> None:
    """Refuse texts that may be longer than a model can read."""
    if source.max_positions is not None and recipe.max_tokens > source.max_positions:
        raise ExtractionError(
            f"{source.checkpoint.id} reads at most {source.max_positions} tokens and this run allows {recipe.max_tokens}; "
            f"--max-tokens {source.max_positions}"
        )


class _LeftOut(Exception):
    """A duplicate or broken checkpoint that was to be left out."""


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
        first: LocatedCheckpoint,
    ) -> None:
        self.path, self.recipe, self.texts, self.engine = path, recipe, texts, engine
        self.options, self.report, self.n_checkpoints = options, report, n_checkpoints
        self.first = first
        self.warnings: list[str] = []
        self._hashes: dict[str, str] = {}
        self.capture = Capture(
            sites=recipe.sites if recipe.states is None else recipe.states.sites,
            token_sites=recipe.tokens.sites if texts.sample is not None else (),
            count_sites=recipe.count_sites,
            pooling=recipe.pooling,
            dtype=recipe.dtype,
            count_thresholds=recipe.count_thresholds,
            n_languages=len(texts.corpus.languages),
            site_modules=dict(recipe.site_modules),
            pad_to=recipe.max_tokens if recipe.pooling == "max_with_pad" else None,
            max_tokens=recipe.max_tokens,
        )
        if (path / "zarr.json").exists():
            # a store of another recipe is refused before a model is loaded
            self._open(layout.CHUNK_TEXTS).close()

    def _open(self, texts_per_block: int, times: StageTimes | None = None) -> StoreWriter:
        return StoreWriter(
            self.path,
            self.recipe,
            self.texts.corpus,
            self.texts.tokens,
            self.texts.sample,
            texts_per_block=texts_per_block,
            sync=self.options.syncs,
            n_threads=self.options.n_threads,
            times=times,
        )

    def run(self, checkpoints: Sequence[Checkpoint]) -> list[CheckpointResult]:
        """Extract checkpoint after checkpoint, while the files of the next one arrive."""
        arrivals = Prefetch(checkpoints, self.arrive)
        results, removed = [], []
        try:
            for number, checkpoint in enumerate(checkpoints, 1):
                arrive = partial(arrivals.take, number - 1)
                results.append(self.checkpoint(number, checkpoint, arrive))
                if self.options.removes_downloads and results[-1].status != "shared" and (source := arrive()) is not None:
                    removed.append(arrivals.between(partial(self.engine.discard, source)))
            for done in removed:
                done.result()
        finally:
            arrivals.close()
        return results

    def arrive(self, checkpoint: Checkpoint) -> LocatedCheckpoint | None:
        """Bring a checkpoint's files here; None if the store has it whole and the hub says that it is still the same."""
        if checkpoint == self.first.checkpoint:
            return self.first
        commit = self._record(checkpoint).get("commit")
        if commit is not None and commit == self.engine.commit(checkpoint):
            return None
        source = self.engine.locate(checkpoint)
        _ = source.weight_hash  # read here, beside the checkpoint before it
        return source

    def _record(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the store knows of a checkpoint that it holds whole; empty if it does not."""
        if not (self.path / "zarr.json").exists():
            return {}
        store = Store(self.path)
        return store.checkpoint(checkpoint.id) if checkpoint.id in store.checkpoints else {}

    def checkpoint(self, number: int, checkpoint: Checkpoint, arrive: Callable[[], LocatedCheckpoint | None]) -> CheckpointResult:
        """Extract one checkpoint, or what is missing of it.

        Args:
            number: Its place among all, from 1.
            checkpoint: Which one.
            arrive: Gives what `Sweep.arrive` gives, or raises what it raised.
        """
        began = time.perf_counter()
        stage = CheckpointProgress(self.report, checkpoint, number, self.n_checkpoints, self.texts.corpus.n_texts)
        stage.report("locate")
        profile = Profile()
        with profile.waits.during("load"):
            source, there = arrive(), self._record(checkpoint)
        if source is not None:
            self._check_source(source)
            self._check_weights(source, there)
        if source is None or there:
            # a run that was killed at its very end may have left what only a run needs
            remove_parts(self.path, checkpoint.id)
            stage.report("done", self.texts.corpus.n_texts)
            return CheckpointResult(checkpoint.id, "there", sanity_loss=there.get("sanity_loss"))
        twins, ledger = self._same_weights(source), self._ledger(checkpoint)
        try:
            if twins:
                line = f"{checkpoint.id} has the same weights as {', '.join(twins)}"
                self._object(line, self.options.duplicates, "--duplicates", stage, "locate")
            # what was begun with other weights is refused by the store's writer, which knows more to say
            if ledger is None or ledger.weight_hash not in (None, source.weight_hash) or ledger.reserve(self.options.part):
                result = self._load(source, stage, profile, twins, ledger)
            else:
                # every block of ours is committed or in the hands of others, who may have been faster
                loss = self._record(checkpoint).get("sanity_loss")
                result = CheckpointResult(checkpoint.id, "there" if ledger.is_complete else "shared", sanity_loss=loss)
        except _LeftOut:
            result = CheckpointResult(checkpoint.id, "skipped")
        finally:
            if ledger is not None:
                ledger.release_all()
        stage.report("done", self.texts.corpus.n_texts)
        return replace(result, seconds=time.perf_counter() - began)

    def _check_source(self, source: LocatedCheckpoint) -> None:
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

    def _check_weights(self, source: LocatedCheckpoint, there: Mapping[str, Any]) -> None:
        if there and there["weight_hash"] != source.weight_hash:
            raise RecipeMismatch(
                f"{self.path} holds {source.checkpoint.id} with weights {there['weight_hash'][:12]}, the ones here are "
                f"{source.weight_hash[:12]}; extract them under another id or into a new store"
            )

    def _same_weights(self, source: LocatedCheckpoint) -> list[str]:
        """Checkpoints of the store, and of this call so far, that have the weights of this one under another id."""
        name, weights = source.checkpoint.id, source.weight_hash
        here = [other for other, its_weights in self._hashes.items() if its_weights == weights and other != name]
        self._hashes[name] = weights
        return sorted({*here, *same_weights(self.path, name, weights)})

    def _ledger(self, checkpoint: Checkpoint) -> BlockClaims | None:
        """Whose its blocks are; None while the store is not there, whose blocks nobody knows before a model is loaded."""
        if not (self.path / "zarr.json").exists():
            return None
        blocks = layout.text_blocks(self.texts.corpus.n_texts, Store(self.path).about["texts_per_block"])
        return BlockClaims(self.path, checkpoint.id, blocks)

    def _load(
        self, source: LocatedCheckpoint, stage: CheckpointProgress, profile: Profile, twins: list[str], ledger: BlockClaims | None
    ) -> CheckpointResult:
        stage.report("load")
        with profile.busy.during("load"):
            session = self.engine.open(source, self.capture)
        try:
            return self._extract(source, session, stage, profile, twins, ledger)
        finally:
            session.close()

    def _extract(
        self,
        source: LocatedCheckpoint,
        session: ModelSession,
        stage: CheckpointProgress,
        profile: Profile,
        twins: list[str],
        ledger: BlockClaims | None,
    ) -> CheckpointResult:
        shapes, options = session.shapes, self.options
        values = {site: shapes[site] for site in self.capture.sites}
        cubes = {site: shapes[site] for site in self.recipe.sites}
        token_cubes = {site: shapes[site] for site in self.capture.token_sites}
        counts = {site: shapes[site] for site in self.capture.count_sites}
        stage.report("check")
        with profile.busy.during("check"):
            fidelity = self._check(session, stage)
            calibration = self._calibration(session)
        stage.disk_bytes = self._check_disk(cubes, token_cubes, values, stage)
        item = np.dtype(layout.storage_dtype(self.recipe.dtype)).itemsize
        n_texts = self.texts.corpus.n_texts
        n_vectors = 0 if self.texts.sample is None else math.ceil(self.texts.sample.height / n_texts)
        per_text = sum(math.prod(shape) for shape in values.values())
        per_text += n_vectors * sum(math.prod(shape) for shape in token_cubes.values())
        # one block at least is written while the next one is computed
        value_bytes = options.value_bytes or 2 * layout.BLOCK_BYTES
        texts_per_block = options.texts_per_block or layout.texts_per_block(n_texts, per_text, item, value_bytes // 2)
        writer = self._open(texts_per_block, profile.busy)
        with writer:
            about = self._provenance(source, session, fidelity, twins)
            if calibration is not None:
                about["calibration"] = calibration
            states = self._states(values, session, stage)
            work = writer.checkpoint(source.checkpoint, about, cubes, token_cubes, counts, states, ledger)
            stage.begin(n_texts - sum(block.n_texts for block in work.pending), per_text * item)
            block_bytes = writer.blocks[0].n_texts * per_text * item + self._count_bytes(counts)
            most_blocks = min(_MOST_BLOCKS, value_bytes // max(1, block_bytes))
            run_blocks(work, session, self.texts, stage, profile, part=options.part, most_blocks=most_blocks)
            is_complete = work.finish({"profile": {"n_texts": stage.texts_read, **profile.to_json()}})
        loss = Store(self.path).checkpoint(source.checkpoint.id).get("sanity_loss") if is_complete else None
        if loss is not None and not any(line.startswith(f"{source.checkpoint.id} does worse") for line in self.warnings):
            # the few texts of the check did not show it
            broken = self._is_broken(loss, session, stage)
            if broken is not None:
                self._warn(broken, stage, "extract")
        return CheckpointResult(
            source.checkpoint.id,
            "extracted" if is_complete else "shared",
            n_texts=stage.texts_read,
            sanity_loss=loss,
            fidelity=fidelity,
            seconds_by_stage=profile.busy.rounded(),
            waits_by_stage=profile.waits.rounded(),
        )

    def _count_bytes(self, counts: Shapes) -> int:
        """Bytes of the counts of one block, which are of all languages and do not depend on its texts."""
        return 8 * self.capture.n_count_rows * sum(math.prod(shape) for shape in counts.values())

    def _states(self, shapes: Shapes, session: ModelSession, stage: CheckpointProgress) -> StatePlan | None:
        """What is kept of the pooled values where cubes are not."""
        if self.recipe.states is None:
            return None
        plan = state_plan(self.recipe.states, self.texts, session, shapes, self.options.state_bytes)
        if (line := memory_warning(plan, self.texts.corpus)) is not None:
            self._warn(line, stage, "check")
        return plan

    def _warn(self, line: str, stage: CheckpointProgress, during: str) -> None:
        """Say it now, and once more in the summary."""
        if line not in self.warnings:
            self.warnings.append(line)
            stage.report(during, stage.texts_before + stage.texts_read, warning=line)

    def _object(self, line: str, policy: str, option: str, stage: CheckpointProgress, during: str) -> None:
        """Flag a checkpoint, leave it out or stop, as the caller chose."""
        if policy == "refuse":
            raise ExtractionError(f"{line}; {option} skip leaves it out, {option} flag extracts it all the same")
        self._warn(f"{line}; it is left out" if policy == "skip" else line, stage, during)
        if policy == "skip":
            raise _LeftOut

    def _is_broken(self, loss: float, session: ModelSession, stage: CheckpointProgress) -> str | None:
        """What to say of a checkpoint that does worse than a uniform guess."""
        guessing = math.log(session.about["vocabulary"])
        if loss <= guessing + _WORSE_THAN_GUESSING:
            return None
        return (
            f"{stage.checkpoint.id} does worse than guessing: {loss:.2f} nats per token, a guess has {guessing:.2f}; "
            "the checkpoint may be broken"
        )

    def _provenance(
        self,
        source: LocatedCheckpoint,
        session: ModelSession,
        fidelity: float | None,
        twins: list[str],
    ) -> dict[str, Any]:
        return {
            "weight_hash": source.weight_hash,
            "commit": source.commit,
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
                "tolerance": TOLERANCE[self.recipe.compute_dtype],
            },
            **session.about,
        }

    def _check(self, session: ModelSession, stage: CheckpointProgress) -> float | None:
        """Try the checkpoint on a few texts of many lengths: their loss tells a broken one before time is spent on it.

        Returns:
            What `_fidelity` gives; None if there is nothing to compare, or no wish to.
        """
        n_compared = self.options.fidelity_texts if self.capture.sites else 0
        n_tried = n_compared or (_TRIED_TEXTS if self.texts.has_loss.any() else 0)
        if n_tried == 0:
            return None
        lengths = self.texts.tokens.lengths
        order = np.argsort(lengths, kind="stable")
        n_tried = min(n_tried, len(order))
        rows = np.sort(order[np.linspace(0, len(order) - 1, n_tried).astype(int)])
        block = replace(self.texts.block(rows, is_check=True), has_loss=np.ones(n_tried, dtype=bool))
        try:
            together = session.run_block(block, dtype="float32").collect()
        except NotFiniteValues as error:
            if self.options.broken != "skip":
                raise
            self._warn(f"{stage.checkpoint.id} is broken: {error}; it is left out", stage, "check")
            raise _LeftOut from error
        if together.loss_tokens:
            broken = self._is_broken(together.loss_sum / together.loss_tokens, session, stage)
            if broken is not None:
                self._object(broken, self.options.broken, "--broken", stage, "check")
        return self._fidelity(session, block, together.cubes) if n_compared else None

    def _calibration(self, session: ModelSession) -> Mapping[str, Any] | None:
        """How far the first texts are from what transformers gives, where a backend is not transformers."""
        rows = np.arange(min(self.options.calibration_texts, self.texts.corpus.n_texts))
        return session.calibrate(self.texts.block(rows, is_check=True)) if len(rows) else None

    def _fidelity(self, session: ModelSession, block: BlockTexts, together: Mapping[str, NDArray[Any]]) -> float:
        """Compare texts that were run together with the same texts run one by one.

        Raises:
            FidelityError: Naming the site and layer that differ most.
        """
        alone = session.run_block(block, is_alone=True, dtype="float32").collect().cubes
        worst, where = largest_relative_difference(together, alone)
        tolerance = TOLERANCE[self.recipe.compute_dtype]
        if not worst <= tolerance:
            raise FidelityError(
                f"values of {block.n_texts} texts run together differ from the same texts run alone by {worst:.1e} of the "
                f"largest value at {where}; {self.recipe.compute_dtype} allows {tolerance:.0e}. This model can not be batched"
            )
        return worst

    def _check_disk(self, cubes: Shapes, token_cubes: Shapes, values: Shapes, stage: CheckpointProgress) -> int:
        sampled = 0 if self.texts.sample is None else self.texts.sample.height
        n_texts = self.texts.corpus.n_texts
        each = layout.estimate_bytes(cubes, token_cubes, n_texts=n_texts, n_sampled_tokens=sampled, dtype=self.recipe.dtype)
        if self.recipe.states is not None:
            each += disk_bytes(self.recipe.states, values, self.texts.corpus)
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
