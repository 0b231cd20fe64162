"""Both papers in miniature: small models and their controls, trained here over seeds, and every figure of both papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actlas.allowed import Positive, checks_arguments
from actlas.demo.run import run_conditions
from actlas.demo.settings import CONDITIONS, STORES, Condition
from actlas.errors import QueryError
from actlas.query import Atlas, open_store
from actlas.reproduce import compression, spaces
from actlas.reproduce.gather import Answer
from actlas.reproduce.pages import write_pages
from actlas.reproduce.papers import Reproduction, gather_all

Progress = Callable[[str], None]

#: What each condition's store of translation prompts is called, below the folder of its seed.
PROMPT_STORES: dict[Condition, str] = {"multi": "prompts.actlas", "mono": "control-prompts.actlas"}
NAME = "miniature"
TITLE = "Two papers in miniature"
_ABOUT = (
    "Small models of the XGLM architecture (4 layers, 96 channels), trained for 2,048 steps on sentences in five "
    "languages that were "
    "written for this project. Documents of the model: 20% three sentences of one language, 40% one sentence in three languages, "
    "40% sentences about one concept in languages drawn for each. Its control has the same first weights and as many steps, and "
    "documents of one language each. So sharing is built into what the model reads, and the question is whether it is found, and "
    "whether what the papers report of large models comes with it. Everything was measured on sentences that no model "
    "saw in training.",
    "Models of this size cannot translate from examples: patching puts latents into a sentence that says, in one language, what "
    "the first word is, and goes on to say it in another; the answer is the word. Most of these words are several tokens, of "
    "which the last is patched. Forced texts begin with the start token alone.",
)


@dataclass(frozen=True)
class Miniature:
    """Where the parts of a run are.

    Attributes:
        folder: Of the run.
        seeds: How many models, and as many controls.
    """

    folder: Path
    seeds: int

    def seed_folder(self, seed: int) -> Path:
        """Models and stores of one seed."""
        return self.folder / f"seed{seed}"

    def stores(self, names: dict[Condition, str], condition: Condition) -> list[Atlas]:
        """One store of a condition per seed."""
        return [open_store(self.seed_folder(seed) / names[condition]) for seed in range(self.seeds)]


@checks_arguments(QueryError)
def reproduce_miniature(
    folder: Path | str = "miniature-out",
    pages: Path | str | None = None,
    *,
    seeds: Positive = 3,
    progress: Progress = lambda line: None,
) -> Reproduction:
    """Train models and controls, act on them, and draw every figure of both papers from their stores.

    Model and control of a seed run side by side with one thread each. What is complete in the folder is reused, so a run that was
    stopped goes on where it was.

    Args:
        folder: For models and stores.
        pages: Folder for the pages; None for the same.
        seeds: Models, and as many controls; intervals are over them.
        progress: Called with lines.

    Returns:
        The page and the figures.

    Raises:
        ExtractionError: If a process fails; its last line is in the message.

    Source: arXiv 2506.01629 and arXiv 2601.22851.

    Example:
        >>> reproduce_miniature(seeds=0)
        Traceback (most recent call last):
        actlas.errors.QueryError: seeds must be at least 1, not 0
    """
    run = Miniature(Path(folder), seeds)
    for seed in range(seeds):
        (run.seed_folder(seed) / "models").mkdir(parents=True, exist_ok=True)
        run_conditions(run.seed_folder(seed), _prefixed(progress, f"seed {seed} of {seeds}: "), seed, ("reproduce", NAME))
    parts = gather_parts(run, progress)
    page = write_pages(Path(folder if pages is None else pages), NAME, TITLE, (*_ABOUT, _counts(run)), parts)
    return Reproduction(page, tuple(answer for _, answers in parts for answer in answers))


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda line: progress(prefix + line)


def gather_parts(run: Miniature, progress: Progress) -> Sequence[tuple[str, list[Answer]]]:
    """Heading and figures of each paper."""
    parts = []
    for title, figures, names in (
        (compression.TITLE, compression.FIGURES, STORES),
        (spaces.TITLE, spaces.FIGURES, PROMPT_STORES),
    ):
        models, controls = (run.stores(names, condition) for condition in CONDITIONS)
        parts.append((title, gather_all(figures, models, controls, progress)))
    return parts


def _counts(run: Miniature) -> str:
    """What was trained and measured, out of the stores."""
    first, prompts = (run.stores(names, "multi")[0] for names in (STORES, PROMPT_STORES))
    counted = first.sql(
        "SELECT (SELECT count(*) FROM languages) AS languages, (SELECT count(DISTINCT concept) FROM experts) AS concepts, "
        "(SELECT max(rank) FROM experts) AS k, (SELECT string_agg(step, ', ' ORDER BY step) FROM checkpoints) AS steps, "
        "(SELECT count(DISTINCT seed) FROM generations) AS texts, (SELECT count(DISTINCT concept) FROM generations) AS steered"
    ).row(0, named=True)
    patched = prompts.sql(
        "SELECT count(DISTINCT pair) AS pairs, count(DISTINCT (language_in, language_out)) AS translations FROM patches"
    ).row(0, named=True)
    return (
        f"{run.seeds} seeds of each; checkpoints at steps {counted['steps']}; {first.corpus.n_texts:,} sentences in "
        f"{counted['languages']} "
        f"languages, {counted['concepts']} concepts, K = {counted['k']}. Forced: {counted['steered']} concepts, "
        f"{counted['texts']} texts of "
        f"each arm. Patched: {patched['pairs']} pairs of concepts, {patched['translations']} pairs of languages."
    )
