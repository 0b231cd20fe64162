"""One model of the miniature, or its control: trained, extracted, asked, forced and patched, in one process of one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from actlas.demo.condition import build_condition
from actlas.demo.corpus import CONCEPTS, DocumentKind, concept_words
from actlas.demo.settings import Condition, K, model_folder
from actlas.demo.train import TrainingSettings
from actlas.extract import extract_activations
from actlas.intervene.concepts.prompts import translation_prompts
from actlas.intervene.concepts.run import patch_concepts
from actlas.intervene.concepts.words import WordTable
from actlas.intervene.generation import Forcing, Sampling, generate_steered
from actlas.names import TokenSample
from actlas.query import open_store
from actlas.reproduce.compression import FIGURES
from actlas.reproduce.gather import ask_missing
from actlas.reproduce.miniature import PROMPT_STORES, Progress

#: Documents of the model. The control's stay in one language.
SHARES: dict[DocumentKind, float] = {"mono": 0.2, "para": 0.4, "mixed": 0.4}
#: Powers of two, and two more where sharing begins.
CHECKPOINTS = (0, 32, 64, 128, 256, 384, 512, 768, 1024, 2048)
#: The sentence whose word is patched: its noun has no article, so nothing before it gives it away.
TEMPLATE = '{language_in} "{word_in}". {language_out} "{word_out}".'
SENTENCE_BEGINS = {
    "en": "The first word is",
    "es": "La primera palabra es",
    "fr": "Le premier mot est",
    "de": "Das erste Wort ist",
    "id": "Kata pertama adalah",
}


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes:
        forced: Checkpoints that write texts.
        concepts: Concepts that are steered towards.
        languages: Whose experts are forced.
        texts: Texts of each arm.
        patched: Checkpoints that are patched.
        pairs: Pairs of concepts.
        translations: Languages that are patched between.
    """

    forced: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    concepts: tuple[str, ...] = CONCEPTS[::2]
    languages: tuple[str, ...] = ("es", "de")
    texts: int = 16
    patched: tuple[int, ...] = (0, 128, 256, 512, 1024, 2048)
    pairs: int = 96
    translations: tuple[str, ...] = ("es-fr", "fr-de", "de-id", "id-es")


def training(condition: Condition, seed: int) -> TrainingSettings:
    """What is trained."""
    shares = SHARES if condition == "multi" else None
    return TrainingSettings(condition=condition, seed=seed, layers=4, checkpoints=CHECKPOINTS, shares=shares)


def build_in_this_process(condition: Condition, out: Path | str, progress: Progress, *, seed: int = 0) -> None:
    """Build a condition with one thread, for a process that does nothing else.

    Args:
        condition: "multi" for the model, "mono" for the control.
        out: Folder of the seed.
        progress: Called with each line of progress.
        seed: Of weights, documents and held-out sentences.
    """
    torch.set_num_threads(1)
    disable_progress_bar()  # a bar per written file would hide the lines of progress
    build(condition, Path(out), progress, training(condition, seed), Amounts())


def build(condition: Condition, out: Path, progress: Progress, settings: TrainingSettings, amounts: Amounts) -> None:
    """Train, extract, ask, force and patch; what is complete is left as it is.

    Args:
        condition: "multi" for the model, "mono" for the control.
        out: Folder of the seed.
        progress: Called with each line of progress.
        settings: What to train.
        amounts: How much to measure.
    """
    store = build_condition(condition, out, progress, settings)
    progress(f"{condition}: overlap of each pair of languages")
    ask_missing(open_store(store, "a"), FIGURES, K)
    _force(condition, store, progress, settings, amounts)
    _patch(condition, out, progress, settings, amounts)
    progress(f"{condition}: complete")


def _force(condition: Condition, store: Path, progress: Progress, settings: TrainingSettings, amounts: Amounts) -> None:
    progress(f"{condition}: texts under forced experts")
    generate_steered(
        open_store(store, "a"),
        concepts=amounts.concepts,
        languages=amounts.languages,
        checkpoints=[f"{condition}-step{step}" for step in amounts.forced],
        forcing=Forcing(k=K),
        seeds=amounts.texts,
        sampling=Sampling(temperature=1.0, max_new_tokens=16),
        words=_words(amounts.concepts, settings),
        device="cpu",
    )


def _words(concepts: Sequence[str], settings: TrainingSettings) -> dict[str, dict[str, tuple[str, ...]]]:
    return {concept: concept_words(concept, settings.languages) for concept in concepts}


def _patch(condition: Condition, out: Path, progress: Progress, settings: TrainingSettings, amounts: Amounts) -> None:
    progress(f"{condition}: latents of one concept in sentences about another")
    models, store = model_folder(out, condition), out / PROMPT_STORES[condition]
    steps = [models / f"step{step}" for step in amounts.patched]
    prompts = translation_prompts(
        WordTable(_words(CONCEPTS, settings)),
        steps[-1],
        amounts.translations,
        languages=settings.languages,
        n_pairs=amounts.pairs,
        n_shots=0,
        seed=settings.seed,
        template=TEMPLATE,
        language_names=SENTENCE_BEGINS,
    )
    extract_activations(
        steps,
        prompts,
        store,
        sites=("resid",),
        pooling="last",
        dtype="float32",
        special_tokens="run",
        token_sample=TokenSample(choice="span", sites=("resid",)),
        n_threads=1,
    )
    patch_concepts(open_store(store, "a"), n_tokens=0, device="cpu")
