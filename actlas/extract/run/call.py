"""What all checkpoints of one call share, and what becomes of one that is not wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from actlas.errors import ExtractionError
from actlas.extract.backends.base import Backend, Capture
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.options import ExtractOptions
from actlas.extract.results import CheckpointProgress, ProgressCallback
from actlas.names import Recipe
from actlas.store.write.writer import StoreWriter
from actlas.timing import StageTimes


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
