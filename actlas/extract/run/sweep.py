"""Checkpoint after checkpoint into one store: what is there is left alone, what is there twice is said, the rest is extracted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actlas.errors import ExtractionError, ModelNotLoaded, RecipeMismatch
from actlas.extract.backends.base import LocatedCheckpoint
from actlas.extract.checkpoints.prefetch import Prefetch
from actlas.extract.results import CheckpointProgress, CheckpointResult
from actlas.extract.run.checkpoint_run import CheckpointRun, LeftOut, Run
from actlas.extract.run.profile import Profile
from actlas.names import Checkpoint, Recipe
from actlas.store import layout
from actlas.store.store import Store
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.joining import check_tokens, start_over
from actlas.store.write.state_writer import remove_parts
from actlas.store.write.writer import existing_store, same_weights


def check_length(source: LocatedCheckpoint, recipe: Recipe) -> None:
    """Refuse texts that may be longer than a model can read.

    Raises:
        ExtractionError: If they may be.
    """
    if source.max_positions is not None and recipe.max_tokens > source.max_positions:
        raise ExtractionError(
            f"{source.checkpoint.id} reads at most {source.max_positions} tokens and this run allows {recipe.max_tokens}; "
            f"lower max_tokens to {source.max_positions}"
        )


def check_vocabulary(source: LocatedCheckpoint, largest: int) -> None:
    """Refuse tokens that a model has no embedding for.

    Raises:
        ModelNotLoaded: If `largest`, the largest token id that occurs, is one.
    """
    if source.vocabulary is not None and largest >= source.vocabulary:
        raise ModelNotLoaded(
            f"the tokenizer gives token id {largest} and {source.checkpoint.id} has {source.vocabulary} embedding rows, for "
            f"ids 0 to {source.vocabulary - 1}; name the tokenizer that the model was trained with"
        )


class Sweep:
    """The checkpoints of one call, in their order.

    Args:
        run: What they share.
        first: The first one, whose files are here already.

    Raises:
        RecipeMismatch: If the store there was made by another recipe, or not by actlas; no model is loaded for that.
    """

    def __init__(self, run: Run, first: LocatedCheckpoint) -> None:
        self.run, self.first = run, first
        self._hashes: dict[str, str] = {}
        if (differs := start_over(run.path, run.recipe)) is not None:
            line = f"{run.path} held no committed block of a run with another recipe ({differs}); it is started over"
            progress = CheckpointProgress(run.report, first.checkpoint, 1, run.n_checkpoints, run.n_texts)
            run.warn(line, progress, "locate")
        existing_store(run.path, run.recipe)
        check_tokens(run.path, run.texts.tokens)

    def extract(self, checkpoints: Sequence[Checkpoint]) -> list[CheckpointResult]:
        """Extract checkpoint after checkpoint, while the files of the next one arrive."""
        arrivals = Prefetch(checkpoints, self._arrive)
        results, removed = [], []
        try:
            for number, checkpoint in enumerate(checkpoints, 1):
                arrive = partial(arrivals.take, number - 1)
                results.append(self._checkpoint(number, checkpoint, arrive))
                if self.run.options.removes_downloads and results[-1].status != "shared" and (source := arrive()) is not None:
                    removed.append(arrivals.between(partial(self.run.backend.discard, source)))
            for done in removed:
                done.result()
        finally:
            arrivals.close()
        return results

    def _arrive(self, checkpoint: Checkpoint) -> LocatedCheckpoint | None:
        """Bring a checkpoint's files here; None if the store has it whole and the hub says that it is still the same."""
        if checkpoint == self.first.checkpoint:
            return self.first
        commit = self._record(checkpoint).get("commit")
        if commit is not None and commit == self.run.backend.commit(checkpoint):
            return None
        source = self.run.backend.locate(checkpoint)
        _ = source.weight_hash  # read here, beside the checkpoint before it
        return source

    def _record(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the store knows of a checkpoint that it holds whole; empty if it does not."""
        store = Store.at(self.run.path)
        return store.checkpoint(checkpoint.id) if store is not None and checkpoint.id in store.checkpoints else {}

    def _checkpoint(
        self, number: int, checkpoint: Checkpoint, arrive: Callable[[], LocatedCheckpoint | None]
    ) -> CheckpointResult:
        """Extract one checkpoint, or what is missing of it.

        Args:
            number: Its place among all, from 1.
            checkpoint: Which one.
            arrive: Gives what `_arrive` gives, or raises what it raised.
        """
        began = time.perf_counter()
        run, profile = self.run, Profile()
        progress = CheckpointProgress(run.report, checkpoint, number, run.n_checkpoints, run.n_texts)
        progress.report("locate")
        with profile.waits.during("load"):
            source, record = arrive(), self._record(checkpoint)
        if source is not None:
            self._check_source(source)
            self._check_weights(source, record)
        if source is None or record:
            # a run that was killed at its very end may have left what only a run needs
            remove_parts(run.path, checkpoint.id)
            result = CheckpointResult(checkpoint.id, "there", sanity_loss=record.get("sanity_loss"))
        else:
            result = replace(self._missing(source, progress, profile), seconds=time.perf_counter() - began)
        progress.report("done", run.n_texts)
        return result

    def _missing(self, source: LocatedCheckpoint, progress: CheckpointProgress, profile: Profile) -> CheckpointResult:
        """Extract a checkpoint that the store does not hold whole."""
        run, checkpoint = self.run, source.checkpoint
        twins, claims = self._same_weights(source), self._claims(checkpoint)
        try:
            if twins:
                line = f"{checkpoint.id} has the same weights as {', '.join(twins)}"
                run.apply_policy(line, "duplicates", progress, "locate")
            # what was begun with other weights is refused by the store's writer, which knows more to say
            if claims is None or claims.weight_hash not in (None, source.weight_hash) or claims.reserve(run.options.part):
                return self._load(source, progress, profile, twins, claims)
            # every block of ours is committed or in the hands of others, who may have been faster
            loss = self._record(checkpoint).get("sanity_loss")
            return CheckpointResult(checkpoint.id, "there" if claims.is_complete else "shared", sanity_loss=loss)
        except LeftOut:
            return CheckpointResult(checkpoint.id, "skipped")
        finally:
            if claims is not None:
                claims.release_all()

    def _load(
        self,
        source: LocatedCheckpoint,
        progress: CheckpointProgress,
        profile: Profile,
        twins: list[str],
        claims: BlockClaims | None,
    ) -> CheckpointResult:
        progress.report("load")
        with profile.busy.during("load"):
            session = self.run.backend.open(source, self.run.capture)
        try:
            source.check_unchanged()
            return CheckpointRun(self.run, source, session, progress, profile).extract(twins, claims)
        finally:
            session.close()

    def _check_source(self, source: LocatedCheckpoint) -> None:
        """Refuse a checkpoint that the recipe of the first one does not fit."""
        recipe = self.run.recipe
        check_length(source, recipe)
        check_vocabulary(source, int(self.run.texts.tokens.ids.max(initial=0)))
        if source.compute_dtype != recipe.compute_dtype:
            raise RecipeMismatch(
                f"{source.checkpoint.id} would compute in {source.compute_dtype}, the others in {recipe.compute_dtype}; name one "
                "for all with compute_dtype"
            )
        own = source.tokenizer_hashes
        if own and recipe.tokenizer not in own and self.run.options.tokenizer is None:
            raise RecipeMismatch(
                f"{source.checkpoint.id} has another tokenizer ({own[0]}) than the first checkpoint ({recipe.tokenizer}); "
                "extract it into a store of its own, or name one tokenizer for all"
            )

    def _check_weights(self, source: LocatedCheckpoint, record: Mapping[str, Any]) -> None:
        """Refuse other weights than those that the store holds under this name."""
        if record and record["weight_hash"] != source.weight_hash:
            raise RecipeMismatch(
                f"{self.run.path} holds {source.checkpoint.id} with weights {record['weight_hash'][:12]}, the ones here are "
                f"{source.weight_hash[:12]}; extract them under another id or into a new store"
            )

    def _same_weights(self, source: LocatedCheckpoint) -> list[str]:
        """Checkpoints of the store, and of this call so far, that have the weights of this one under another id."""
        name, weights = source.checkpoint.id, source.weight_hash
        earlier = [other for other, its_weights in self._hashes.items() if its_weights == weights and other != name]
        self._hashes[name] = weights
        return sorted({*earlier, *same_weights(self.run.path, name, weights)})

    def _claims(self, checkpoint: Checkpoint) -> BlockClaims | None:
        """Who writes its blocks; None while the store is not there, for its blocks are not known before a model is loaded."""
        store = Store.at(self.run.path)
        if store is None:
            return None
        blocks = layout.text_blocks(self.run.n_texts, store.about["texts_per_block"])
        return BlockClaims(self.run.path, checkpoint.id, blocks)
