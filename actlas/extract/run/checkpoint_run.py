"""One checkpoint of a run: checked on a few texts, planned, written block by block."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import DiskTooSmall, ExtractionError, FidelityError, NotFiniteValues
from actlas.extract.backends.agreement import SAME_ENGINE, Agreement, compare
from actlas.extract.backends.base import Backend, Capture, LocatedCheckpoint, ModelSession
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.options import ExtractOptions
from actlas.extract.results import CheckpointProgress, CheckpointResult, ProgressCallback
from actlas.extract.run.dtypes import ValueSample
from actlas.extract.run.health import health_warnings, is_same_trouble, range_warnings
from actlas.extract.run.pipeline import run_blocks
from actlas.extract.run.profile import Profile
from actlas.extract.run.states import disk_bytes, memory_warning, state_plan
from actlas.extract.run.weights import describing
from actlas.extract.sites.gate import lape_site
from actlas.extract.sites.proofs import refuse_unproved
from actlas.names import DTYPES, Recipe
from actlas.store import layout
from actlas.store.dtypes import SiteDtype
from actlas.store.states import StatePlan
from actlas.store.store import Store
from actlas.store.values import BlockValues, Shapes
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.checkpoint_writer import CheckpointWriter
from actlas.store.write.writer import StoreWriter
from actlas.timing import StageTimes

#: Nats above a uniform guess from which a checkpoint is reported.
_WORSE_THAN_GUESSING = 0.1
#: Texts that a checkpoint is tried on before it is extracted, where the fidelity check does not say how many.
_TRIED_TEXTS = 4
#: Blocks on their way at most, however small they are: each holds an open file, its claim.
_MOST_BLOCKS = 32


class LeftOut(Exception):
    """A duplicate or broken checkpoint that was to be left out."""


@dataclass(frozen=True)
class Run:
    """What all checkpoints of one call share.

    Attributes:
        path: Folder of the store.
        recipe: What decides the numbers.
        texts: The corpus as tokens.
        backend: Runs the models.
        options: What the caller chose.
        report: Where reports go.
        n_checkpoints: How many checkpoints there are.
        warnings: What was said so far, one line each.
        undecided: Sites whose stored dtype is still to be chosen by their values.
        wider: Sites that are stored in another dtype than the store's recipe has from here on, each with it.
        reasons: Why a site has its dtype, where it was not asked for.
    """

    path: Path
    recipe: Recipe
    texts: TokenisedCorpus
    backend: Backend
    options: ExtractOptions
    report: ProgressCallback
    n_checkpoints: int
    warnings: list[str] = field(default_factory=list)
    undecided: tuple[str, ...] = ()
    wider: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def dtypes(self) -> Mapping[str, str]:
        """Stored dtype of every site that has values."""
        return {**self.recipe.dtypes, **self.wider}

    @property
    def n_texts(self) -> int:
        """Length of the text axis."""
        return self.texts.corpus.n_texts

    @cached_property
    def capture(self) -> Capture:
        """What is read from every model."""
        recipe = self.recipe
        return Capture(
            sites=recipe.sites if recipe.states is None else recipe.states.sites,
            token_sites=recipe.tokens.sites if self.texts.sample is not None else (),
            count_sites=recipe.count_sites,
            pooling=recipe.pooling,
            dtype=recipe.dtype,
            site_dtypes={site: dtype for site, dtype in self.dtypes.items() if dtype != recipe.dtype},
            count_thresholds=recipe.count_thresholds,
            n_languages=len(self.texts.corpus.languages),
            site_modules=dict(recipe.site_modules),
            pad_to=recipe.max_tokens if recipe.pooling == "max_with_pad" else None,
            is_summed=recipe.states is not None and "moments" in recipe.states.kinds,
            max_tokens=recipe.max_tokens,
        )

    def writer(self, texts_per_block: int, times: StageTimes) -> StoreWriter:
        """The store, made if it is not there, for writing."""
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

    def warn(self, line: str, progress: CheckpointProgress, stage: str) -> None:
        """Say it now, and once more in the summary."""
        if line not in self.warnings:
            self.warnings.append(line)
            progress.report(stage, progress.texts_before + progress.texts_read, warning=line)

    def apply_policy(self, line: str, option: str, progress: CheckpointProgress, stage: str) -> None:
        """Flag a checkpoint, leave it out or stop, as the caller chose.

        Args:
            line: What is wrong with it.
            option: Name of the option that says what becomes of it.
            progress: Where it is reported.
            stage: What is being done.

        Raises:
            ExtractionError: If it is refused.
            LeftOut: If it is left out.
        """
        policy = getattr(self.options, option)
        if policy == "refuse":
            raise ExtractionError(f"{line}; {option} = skip leaves it out, {option} = flag extracts it all the same")
        self.warn(f"{line}; it is left out" if policy == "skip" else line, progress, stage)
        if policy == "skip":
            raise LeftOut


@dataclass(frozen=True)
class BlockPlan:
    """What is kept of a checkpoint, and in blocks of which size.

    Attributes:
        cubes: site -> (layers, neurons), of sites whose values are kept.
        values: The same of sites whose values are read, for cubes or for states.
        token_cubes: site -> (layers, channels), of sites whose token vectors are kept.
        counts: site -> (layers, neurons), of sites whose active tokens are counted.
        text_bytes: Bytes of values per text.
        count_bytes: Bytes of the counts of one block, which are of all languages and do not depend on its texts.
        value_bytes: Bytes of values in memory at most.
        texts_per_block: Texts of a block of a new store.
    """

    cubes: Shapes
    values: Shapes
    token_cubes: Shapes
    counts: Shapes
    text_bytes: int
    count_bytes: int
    value_bytes: int
    texts_per_block: int

    @classmethod
    def of(cls, run: Run, shapes: Shapes) -> BlockPlan:
        """The plan for a model whose sites have these shapes."""
        capture, options, sample = run.capture, run.options, run.texts.sample
        values = {site: shapes[site] for site in capture.sites}
        token_cubes = {site: shapes[site] for site in capture.token_sites}
        counts = {site: shapes[site] for site in capture.count_sites}
        n_vectors = 0 if sample is None else math.ceil(sample.height / run.n_texts)
        text_bytes = layout.row_bytes(values, run.dtypes) + n_vectors * layout.row_bytes(token_cubes, run.dtypes)
        # one block at least is written while the next one is computed
        value_bytes = options.value_bytes or 2 * layout.BLOCK_BYTES
        return cls(
            cubes={site: shapes[site] for site in run.recipe.sites},
            values=values,
            token_cubes=token_cubes,
            counts=counts,
            text_bytes=text_bytes,
            count_bytes=8 * capture.n_count_rows * sum(map(math.prod, counts.values())),
            value_bytes=value_bytes,
            texts_per_block=options.texts_per_block or layout.texts_per_block(run.n_texts, text_bytes, value_bytes // 2),
        )

    def most_blocks(self, texts_per_block: int) -> int:
        """Blocks of that many texts that may be in memory at a time."""
        block_bytes = texts_per_block * self.text_bytes + self.count_bytes
        return min(_MOST_BLOCKS, self.value_bytes // max(1, block_bytes))


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
        self._tell_what_was_loaded()
        with self.profile.busy.during("check"):
            fidelity = self.check()
            calibration = self._calibration()
            proofs, dtypes = self._proofs(), self._dtypes()
        plan = BlockPlan.of(run, self.session.shapes)
        progress.disk_bytes = self._check_disk(plan)
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

    def _tell_what_was_loaded(self) -> None:
        """Say what the checkpoint has too much or too little, which a run goes on with."""
        name, about = self.source.checkpoint.id, self.session.about
        if unused := about.get("unused_tensors"):
            more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            line = f"{name} holds tensors that {about['architecture']} does not use: {', '.join(unused[:3])}{more}"
            self.run.warn(line, self.progress, "check")
        if (reason := about.get("no_loss")) is not None and "without its head" in reason:
            self.run.warn(f"{name} has no sanity loss: {reason}", self.progress, "check")

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
                check=self._check_loss,
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
        broken = None if loss is None else self._is_broken(loss)
        # a loss that is bad over all texts may have been good on the few that it was tried on
        if broken is not None and not any(line.startswith(f"{name.id} does worse") for line in run.warnings):
            run.warn(broken, progress, "extract")
        return loss, True

    def _describing(self, work: CheckpointWriter) -> AbstractContextManager[Callable[[], None]]:
        """Describe the weights, if they are to be; see `describing`."""
        if not self.run.options.describes_weights or work.is_complete:
            return nullcontext(lambda: None)
        is_on_cpu = str(self.session.about["device"]).startswith("cpu")
        return describing(work, self.source.folder, self.profile.busy, meanwhile=not is_on_cpu)

    def check(self) -> Agreement | None:
        """Try the checkpoint on a few texts of many lengths: their loss tells a broken one before time is spent on it.

        Returns:
            How far they are from the same texts run one by one; None if that is not compared.
        """
        run, texts = self.run, self.run.texts
        n_compared = run.options.fidelity_texts if run.capture.sites else 0
        block = texts.few(n_compared or _TRIED_TEXTS)
        n_tried = block.n_texts
        block = replace(block, has_loss=np.ones(n_tried, dtype=bool))
        try:
            together = self.session.run_block(block, dtype="float32").collect()
        except NotFiniteValues as error:
            if run.options.broken != "skip":
                raise
            run.warn(f"{self.source.checkpoint.id} is broken: {error}; it is left out", self.progress, "check")
            raise LeftOut from error
        self._judge(together)
        named = (self.source.checkpoint.id, together.health, n_tried)
        for line in range_warnings(*named, run.recipe, run.dtypes, run.options.lost_share):
            run.warn(line, self.progress, "check")
        return self._fidelity(block, together.cubes) if n_compared else None

    def _fidelity(self, block: BlockTexts, together: Mapping[str, NDArray[Any]]) -> Agreement:
        """Compare texts that were run together with the same texts run one by one.

        Raises:
            FidelityError: Naming the site, layer, neuron and text that differ most.
        """
        alone = self.session.run_block(block, is_alone=True, dtype="float32").collect().cubes
        compute_dtype = self.run.recipe.compute_dtype
        found = compare(together, alone, compute_dtype, block.text_ids.tolist(), deviations=SAME_ENGINE)
        if (complaint := found.complaint()) is not None:
            raise FidelityError(
                f"values of {block.n_texts} texts run together differ from the same texts run alone, in {compute_dtype}, "
                f"{complaint}. This model can not be batched in this compute_dtype"
            )
        return found

    def _dtypes(self) -> Mapping[str, SiteDtype]:
        """What is known of the dtype of every site.

        Raises:
            NotFiniteValues: If a value of the sample does not fit its dtype; nothing of the checkpoint is written yet.
        """
        run = self.run
        if self.sample is None:
            return {site: SiteDtype(dtype=dtype) for site, dtype in run.dtypes.items()}
        if (line := self.sample.does_not_fit(run.dtypes, run.texts)) is not None:
            raise NotFiniteValues(line)
        return self.sample.about(run.dtypes, run.reasons, run.texts.corpus)

    def _calibration(self) -> Mapping[str, Any] | None:
        """How far a few texts are from what transformers gives, where a backend is not transformers."""
        n_texts = self.run.options.calibration_texts
        return self.session.calibrate(self.run.texts.few(n_texts)) if n_texts else None

    def _proofs(self) -> dict[str, Any]:
        """What proves the sites of this model, for its record, or why nothing does.

        Raises:
            SiteNotProved: If a site is not the tensor of its name.
        """
        if not self.run.options.proves_sites:
            return {"no_proofs": "switched off"}
        prove = getattr(self.session, "prove", None)
        if prove is None:
            return {"no_proofs": f"backend {self.run.recipe.backend} proves nothing"}
        try:
            proofs = prove()
        except NotFiniteValues as error:
            # a checkpoint that is broken and wanted all the same
            return {"no_proofs": str(error)}
        refuse_unproved(proofs, self.source.architecture, self.source.compute_dtype)
        return {"site_proofs": [asdict(proof) for proof in proofs]}

    def _judge(self, values: BlockValues) -> None:
        """Flag, leave out or refuse a checkpoint whose values on a few texts are those of a broken one."""
        broken = self._is_broken(values.loss_sum / values.loss_tokens) if values.loss_tokens else None
        if broken is None and not values.is_finite:
            broken = f"{self.source.checkpoint.id} gives NaN or infinity behind its last layer; the checkpoint may be broken"
        if broken is not None:
            self.run.apply_policy(broken, "broken", self.progress, "check")

    def _check_loss(self, values: BlockValues) -> None:
        """The same for a block whose loss is no number, which says more than a bad one: before the block is written."""
        if not math.isfinite(values.loss_sum):
            broken = self._is_broken(values.loss_sum)
            assert broken is not None, "a loss that is no number is broken"
            self.run.apply_policy(broken, "broken", self.progress, "extract")

    def _is_broken(self, loss: float) -> str | None:
        """What to say of a checkpoint that does worse than a uniform guess; None of any other.

        A random-weights twin may do worse: it is what an untrained model does.
        """
        if not math.isfinite(loss):
            return f"{self.source.checkpoint.id} has a loss of {loss} nats per token; the checkpoint may be broken"
        guessing = math.log(self.session.about["vocabulary"])
        if loss <= guessing + _WORSE_THAN_GUESSING or self.source.checkpoint.twin is not None:
            return None
        return (
            f"{self.source.checkpoint.id} does worse than guessing: {loss:.2f} nats per token, a guess has {guessing:.2f}; "
            "the checkpoint may be broken"
        )

    def _check_disk(self, plan: BlockPlan) -> int:
        """Bytes at most that are still to be written, for this checkpoint and those after it.

        Raises:
            DiskTooSmall: If the disk has not as many.
        """
        run, sample = self.run, self.run.texts.sample
        sampled = 0 if sample is None else sample.height
        each = layout.estimate_bytes(
            plan.cubes, plan.token_cubes, n_texts=run.n_texts, n_sampled_tokens=sampled, dtypes=run.dtypes
        )
        if run.recipe.states is not None:
            each += disk_bytes(run.recipe.states, plan.values, run.texts.corpus)
        store = Store.at(run.path)
        n_done = 0 if store is None else store.unfinished.get(self.source.checkpoint.id, 0)
        n_left = run.n_checkpoints - self.progress.number
        needed = int(each * (1 - n_done / run.n_texts + n_left))
        folder = next(folder for folder in (run.path.absolute(), *run.path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(folder).free
        if needed > free and run.options.checks_disk:
            raise DiskTooSmall(
                f"{n_left + 1} checkpoints could take {needed / 1e9:.1f} GB before compression and {folder} has "
                f"{free / 1e9:.1f} GB free; take fewer sites or checkpoints, or skip this check"
            )
        return needed

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
