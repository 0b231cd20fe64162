"""What is tried of a checkpoint before time is spent on it: its loss, its batches, its sites and its dtypes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import FidelityError, NotFiniteValues
from actlas.extract.backends.agreement import SAME_ENGINE, Agreement, compare
from actlas.extract.backends.base import LocatedCheckpoint, ModelSession
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.results import CheckpointProgress
from actlas.extract.run.call import LeftOut, Run
from actlas.extract.run.dtypes import ValueSample
from actlas.extract.run.health import range_warnings
from actlas.extract.sites.proofs import refuse_unproved
from actlas.store.dtypes import SiteDtype
from actlas.store.values import BlockValues

#: Nats above a uniform guess from which a checkpoint is reported.
_WORSE_THAN_GUESSING = 0.1
#: Texts that a checkpoint is tried on before it is extracted, where the fidelity check does not say how many.
_TRIED_TEXTS = 4


@dataclass(frozen=True)
class CheckpointChecks:
    """Checks of one checkpoint whose model is loaded, before anything of it is written.

    Attributes:
        run: What it shares with the others.
        source: Its files.
        session: Its model.
        progress: Where what they find is reported.
        sample: Values of a few texts; None where there are none, or some are no numbers.
    """

    run: Run
    source: LocatedCheckpoint
    session: ModelSession
    progress: CheckpointProgress
    sample: ValueSample | None

    def tell_what_was_loaded(self) -> None:
        """Say what the checkpoint has too much or too little, which a run goes on with."""
        name, about = self.source.checkpoint.id, self.session.about
        if unused := about.get("unused_tensors"):
            more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            line = f"{name} holds tensors that {about['architecture']} does not use: {', '.join(unused[:3])}{more}"
            self.run.warn(line, self.progress, "check")
        if (reason := about.get("no_loss")) is not None and "without its head" in reason:
            self.run.warn(f"{name} has no sanity loss: {reason}", self.progress, "check")

    def fidelity(self) -> Agreement | None:
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
        return self._compare(block, together.cubes) if n_compared else None

    def _compare(self, block: BlockTexts, together: Mapping[str, NDArray[Any]]) -> Agreement:
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

    def dtypes(self) -> Mapping[str, SiteDtype]:
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

    def calibration(self) -> Mapping[str, Any] | None:
        """How far a few texts are from what transformers gives, where a backend is not transformers."""
        n_texts = self.run.options.calibration_texts
        return self.session.calibrate(self.run.texts.few(n_texts)) if n_texts else None

    def proofs(self) -> dict[str, Any]:
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
        broken = self.is_broken(values.loss_sum / values.loss_tokens) if values.loss_tokens else None
        if broken is None and not values.is_finite:
            broken = f"{self.source.checkpoint.id} gives NaN or infinity behind its last layer; the checkpoint may be broken"
        if broken is not None:
            self.run.apply_policy(broken, "broken", self.progress, "check")

    def check_loss(self, values: BlockValues) -> None:
        """The same for a block whose loss is no number, which says more than a bad one: before the block is written."""
        if not math.isfinite(values.loss_sum):
            broken = self.is_broken(values.loss_sum)
            assert broken is not None, "a loss that is no number is broken"
            self.run.apply_policy(broken, "broken", self.progress, "extract")

    def is_broken(self, loss: float) -> str | None:
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
