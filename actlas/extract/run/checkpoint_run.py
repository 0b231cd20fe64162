"""One checkpoint of a run: checked on a few texts, planned, written block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from actlas.extract.backends.agreement import Agreement
from actlas.extract.backends.base import LocatedCheckpoint, ModelSession
from actlas.extract.results import CheckpointProgress, CheckpointResult
from actlas.extract.run.block_plan import BlockPlan
from actlas.extract.run.call import Run
from actlas.extract.run.checks import CheckpointChecks
from actlas.extract.run.dtypes import ValueSample
from actlas.extract.run.health import health_warnings, is_same_trouble
from actlas.extract.run.pipeline import run_blocks
from actlas.extract.run.profile import Profile
from actlas.extract.run.states import memory_warning, state_plan
from actlas.extract.run.weights import describing
from actlas.extract.sites.gate import lape_site
from actlas.names import DTYPES
from actlas.store.dtypes import SiteDtype
from actlas.store.states import StatePlan
from actlas.store.store import Store
from actlas.store.values import Shapes
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.checkpoint_writer import CheckpointWriter
from actlas.store.write.writer import StoreWriter


@dataclass(frozen=True)
class CheckpointRun:
    """One checkpoint whose model is loaded.

    Attributes:
        run: What it shares with the others.
        source: Its files.
        session: Its model.
        progress: Where it stands.
        profile: What its time is spent on.
        sample: Values of a few texts; None where there are none, or some are no numbers.
        on_store: Called as soon as the store is there.
    """

    run: Run
    source: LocatedCheckpoint
    session: ModelSession
    progress: CheckpointProgress
    profile: Profile
    sample: ValueSample | None = None
    on_store: Callable[[], None] = lambda: None

    def extract(self, twins: list[str], claims: BlockClaims | None) -> CheckpointResult:
        """Check the checkpoint and write what is missing of it.

        Args:
            twins: Checkpoints with the same weights.
            claims: Where a block of it may be reserved already; None while the store is not there.

        Raises:
            LeftOut: If it is broken and broken ones are left out.
            ActlasError: See `extract_activations`.
        """
        run, progress = self.run, self.progress
        progress.report("check")
        checks = self._checks
        checks.tell_what_was_loaded()
        with self.profile.busy.during("check"):
            fidelity = checks.fidelity()
            calibration = checks.calibration()
            proofs, dtypes = checks.proofs(), checks.dtypes()
        plan = BlockPlan.of(run, self.session.shapes)
        progress.disk_bytes = plan.check_disk(run, progress, self.source.checkpoint.id)
        with run.writer(plan.texts_per_block, self.profile.busy) as writer:
            self.on_store()
            provenance = {**self._provenance(fidelity, calibration, twins), **proofs}
            loss, is_complete = self._write(writer, plan, provenance, claims, dtypes)
        return CheckpointResult(
            self.source.checkpoint.id,
            "extracted" if is_complete else "shared",
            n_texts=progress.texts_read,
            sanity_loss=loss,
            fidelity=None if fidelity is None else fidelity.difference,
            seconds_by_stage=self.profile.busy.rounded(),
            waits_by_stage=self.profile.waits.rounded(),
        )

    @cached_property
    def _checks(self) -> CheckpointChecks:
        return CheckpointChecks(self.run, self.source, self.session, self.progress, self.sample)

    def _write(
        self,
        writer: StoreWriter,
        plan: BlockPlan,
        provenance: Mapping[str, Any],
        claims: BlockClaims | None,
        dtypes: Mapping[str, SiteDtype],
    ) -> tuple[float | None, bool]:
        """Write every block that is free.

        Returns:
            Its sanity loss, and whether the checkpoint is complete; without it there is no loss.
        """
        run, progress, name = self.run, self.progress, self.source.checkpoint
        states = self._states(plan.values)
        work = writer.checkpoint(name, provenance, plan.cubes, plan.token_cubes, plan.counts, states, claims, dtypes)
        progress.begin(run.n_texts - sum(block.n_texts for block in work.pending), plan.text_bytes)
        most_blocks = plan.most_blocks(writer.blocks[0].n_texts)
        with self._describing(work) as wait_for_weights:
            run_blocks(
                work,
                self.session,
                run.texts,
                progress,
                self.profile,
                part=run.options.part,
                most_blocks=most_blocks,
                check=self._checks.check_loss,
            )
            if run.options.describes_weights:
                progress.report("weights", progress.texts_before + progress.texts_read)
            wait_for_weights()
        # memory may be that of the files
        self.source.check_unchanged()
        if not work.finish({"profile": {"n_texts": progress.texts_read, **self.profile.to_json()}}):
            return None, False
        record = Store(run.path).snapshot().checkpoints[name.id]
        for line in health_warnings(record, run.recipe, run.dtypes, run.options.lost_share):
            if not any(is_same_trouble(line, said) for said in run.warnings):
                run.warn(line, progress, "extract")
        loss = record.sanity_loss
        broken = None if loss is None else self._checks.is_broken(loss)
        # a loss that is bad over all texts may have been good on the few that it was tried on
        if broken is not None and not any(line.startswith(f"{name.id} does worse") for line in run.warnings):
            run.warn(broken, progress, "extract")
        return loss, True

    def _describing(self, work: CheckpointWriter) -> AbstractContextManager[Callable[[], None]]:
        """Describe the weights, if they are to be; see `describing`."""
        if not self.run.options.describes_weights or work.is_complete:
            return nullcontext(lambda: None)
        return describing(work, self.source.folder, self.profile.busy, meanwhile=not self.session.is_on_cpu)

    def _states(self, shapes: Shapes) -> StatePlan | None:
        """What is kept of the pooled values where cubes are not."""
        run = self.run
        if run.recipe.states is None:
            return None
        plan = state_plan(run.recipe.states, run.texts, self.session, shapes, run.options.state_bytes)
        if (line := memory_warning(plan, run.texts.corpus)) is not None:
            run.warn(line, self.progress, "check")
        return plan

    def _provenance(self, fidelity: Agreement | None, calibration: Mapping[str, Any] | None, twins: list[str]) -> dict[str, Any]:
        """What should be known of the checkpoint later."""
        recipe, texts = self.run.recipe, self.run.texts
        provenance = {
            "weight_hash": self.source.weight_hash,
            "commit": self.source.commit,
            "same_weights_as": twins,
            "backend": recipe.backend,
            "dtype": ", ".join(sorted(set(self.run.dtypes.values()), key=DTYPES.index)) or recipe.dtype,
            "compute_dtype": recipe.compute_dtype,
            "tokenizer_hash": recipe.tokenizer,
            "token_ids_hash": hashlib.sha256(texts.tokens.ids.tobytes()).hexdigest()[:16],
            "over_long": {"policy": recipe.over_long, "n_texts": len(texts.over_long)},
            "n_loss_texts": int(texts.has_loss.sum()),
            "lape_site": lape_site(self.source.architecture, self.source.activation),
            "fidelity": None if fidelity is None else fidelity.record(),
            **self.session.about,
        }
        return provenance if calibration is None else {**provenance, "calibration": calibration}
