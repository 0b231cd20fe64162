"""Checkpoint after checkpoint into one store: what is there is left alone, what is there twice is said, the rest is extracted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from actlas.errors import ActlasError, ExtractionError, ModelNotLoaded, NotFiniteValues, RecipeMismatch
from actlas.extract.backends.base import LocatedCheckpoint, ModelSession
from actlas.extract.checkpoints.prefetch import Prefetch
from actlas.extract.results import CheckpointProgress, CheckpointResult
from actlas.extract.run.call import LeftOut, Run
from actlas.extract.run.checkpoint_run import CheckpointRun
from actlas.extract.run.dtypes import Rounding, ValueSample, choose, chosen_line
from actlas.extract.run.profile import Profile
from actlas.names import Checkpoint, Recipe
from actlas.store import layout
from actlas.store.files.locks import Claim
from actlas.store.records import read_about
from actlas.store.store import Store
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.joining import check_tokens, keeps_more, known_dtypes, start_checkpoint_over, start_over
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
        self.run = run
        self._hashes: dict[str, str] = {}
        #: Checkpoints whose files are here.
        self._located = {first.checkpoint: first}
        #: Keeps others from choosing dtypes while it is done here, until there is a store to join.
        self._choosing: Claim | None = None
        self._join(CheckpointProgress(run.report, first.checkpoint, 1, run.n_checkpoints, run.n_texts))

    def _join(self, progress: CheckpointProgress) -> None:
        """Go on with the store that is there, in its dtypes; one of another recipe that holds nothing is removed.

        Raises:
            RecipeMismatch: If the store there was made by another recipe, or not by actlas.
        """
        run, known = self.run, known_dtypes(self.run.path)
        asked = run.recipe.with_dtypes({site: dtype for site, dtype in known.items() if site in run.undecided})
        if (differs := start_over(run.path, asked)) is not None:
            line = f"{run.path} held no committed block of a run with another recipe ({differs}); it is started over"
            run.warn(line, progress, "locate")
        if (about := read_about(run.path)) is not None:
            own = Recipe.from_json(about["recipe"]).dtypes
            # a site that was named, now or by an earlier run, may keep more than the recipe does
            may_differ = own.keys() & {*run.options.named_dtypes, *run.undecided} & set(asked.value_sites)
            wider = {site: asked.dtype_of(site) for site in may_differ if keeps_more(asked.dtype_of(site), own[site])}
            recipe = asked.with_dtypes({site: own[site] for site in wider})
            reasons = dict.fromkeys(run.undecided, "that of the store")
            self.run = replace(run, recipe=recipe, wider=wider, undecided=(), reasons=reasons)
        existing_store(run.path, self.run.recipe)
        check_tokens(run.path, run.texts.tokens)

    def extract(self, checkpoints: Sequence[Checkpoint]) -> list[CheckpointResult]:
        """Extract checkpoint after checkpoint, while the files of the next one arrive."""
        arrivals = Prefetch(checkpoints, self._arrive)
        self._trained = sorted((one for one in checkpoints if one.twin is None), key=lambda checkpoint: checkpoint.order)
        self._arrivals = arrivals
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
            self._let_others_choose()
            arrivals.close()
        return results

    def _arrive(self, checkpoint: Checkpoint) -> LocatedCheckpoint | None:
        """Bring a checkpoint's files here; None if the store has it whole and the hub says that it is still the same."""
        if checkpoint not in self._located:
            commit = self._record(checkpoint).get("commit")
            if commit is not None and commit == self.run.backend.commit(checkpoint):
                return None
            self._located[checkpoint] = source = self.run.backend.locate(checkpoint)
            _ = source.weight_hash  # read here, beside the checkpoint before it
        return self._located[checkpoint]

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
        if self.run.undecided:
            self._wait_or_choose(progress)
        run, checkpoint = self.run, source.checkpoint
        if start_checkpoint_over(run.path, checkpoint.id, run.dtypes):
            run.warn(f"what was begun of {checkpoint.id} has other dtypes; it is started over", progress, "locate")
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
        others = self._elsewhere(source, profile) if self.run.undecided else []
        with profile.busy.during("load"):
            session = self.run.backend.open(source, self.run.capture)
        try:
            source.check_unchanged()
            with profile.busy.during("check"):
                sample = self._sample(session)
                if self.run.undecided:
                    self._choose(sample, others, progress)
                    session.store_as(self.run.capture)
            run = CheckpointRun(self.run, source, session, progress, profile, sample, self._let_others_choose)
            return run.extract(twins, claims)
        finally:
            session.close()

    def _wait_or_choose(self, progress: CheckpointProgress) -> None:
        """Wait for those who are choosing dtypes for the same store, and join what they made."""
        if self._choosing is None:
            self._choosing = Claim.hold(self.run.path / "manifests" / "dtypes.claim")
            self._join(progress)
            if not self.run.undecided:
                self._let_others_choose()

    def _let_others_choose(self) -> None:
        if self._choosing is not None:
            self._choosing.release()
            self._choosing = None
            # a run that was refused leaves nothing behind
            with suppress(OSError):
                (self.run.path / "manifests").rmdir()
                self.run.path.rmdir()

    def _elsewhere(self, source: LocatedCheckpoint, profile: Profile) -> list[dict[str, dict[str, Rounding]]]:
        """What dtypes do to the values of the last checkpoint that can be read: they grow in training.

        What is wrong with one that cannot is said when its turn comes.
        """
        later = self._trained[self._trained.index(source.checkpoint) + 1 :] if source.checkpoint in self._trained else []
        for checkpoint in reversed(later):
            with profile.busy.during("check"), suppress(ActlasError):
                if (last := self._arrivals.between(partial(self._arrive, checkpoint)).result()) is None:
                    continue
                session = self.run.backend.open(last, self.run.capture)
                try:
                    sample = self._sample(session)
                finally:
                    session.close()
                if sample is not None:
                    return [sample.roundings(self.run.undecided)]
        return []

    def _sample(self, session: ModelSession) -> ValueSample | None:
        """Values of a few texts; None where no value is stored, or one is no number, which the checks of a checkpoint tell."""
        if not (self.run.capture.sites or self.run.capture.token_sites):
            return None
        with suppress(NotFiniteValues):
            return ValueSample.of(session, self.run.texts)
        return None

    def _choose(
        self, sample: ValueSample | None, others: list[dict[str, dict[str, Rounding]]], progress: CheckpointProgress
    ) -> None:
        """Choose the dtypes that were not named, by this checkpoint and others."""
        run = self.run
        measured = others if sample is None else [sample.roundings(run.undecided), *others]
        chosen = {site: choose([each[site] for each in measured if site in each]) for site in run.undecided}
        recipe = run.recipe.with_dtypes({site: dtype for site, (dtype, _) in chosen.items()})
        reasons = {site: reason for site, (_, reason) in chosen.items()}
        self.run = replace(run, recipe=recipe, undecided=(), reasons=reasons)
        progress.report("check", note=chosen_line(recipe.dtypes, reasons))

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
