"""One call per paper: ask the stores what is missing, gather its figures, and write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actlas.allowed import Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query import Atlas, open_store
from actlas.reproduce import compression, spaces
from actlas.reproduce.figures import Figure
from actlas.reproduce.gather import Answer, ask_missing, gather
from actlas.reproduce.pages import write_pages

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction left.

    Attributes:
        page: The page in HTML; the one in Markdown stands beside it.
        answers: The figures, with what became of the paper's findings.
    """

    page: Path
    answers: tuple[Answer, ...]


@checks_arguments(QueryError)
def reproduce_compression(
    stores: Sequence[Path | str],
    out: Path | str,
    *,
    controls: Sequence[Path | str] | None = None,
    k: Positive = 500,
    ask: bool = True,
    progress: Progress = lambda line: None,
) -> Reproduction:
    """Draw and judge the figures of "Cross-Lingual Generalization and Compression" (arXiv 2506.01629).

    Everything is read from tables of the stores, in SQL that the pages show. Tables that are answers to questions are made where
    they are missing; what only a model can make is named with its command.

    Args:
        stores: Checkpoints of one run each; several are runs that differ by their seed.
        out: Folder for the pages.
        controls: A store per run, in the same order: what the findings should not appear in. None to judge without.
        k: Experts per concept and language, of tables that are made now.
        ask: Whether missing tables are made.
        progress: Called with lines.

    Returns:
        The page and the figures.

    Raises:
        QueryError: If no store is named, or not one control per store.
        StoreNotFound: If there is no store at a path.

    Source: arXiv 2506.01629.

    Example:
        >>> done = reproduce_compression([store.path], folder / "compression", ask=False)
        >>> [answer.figure.name for answer in done.answers][:3]
        ['probing', 'overlap', 'overlap-layers']
    """
    return _reproduce(
        "compression", compression.TITLE, compression.FIGURES, stores, Path(out), controls or (), k if ask else None, progress
    )


@checks_arguments(QueryError)
def reproduce_concept_spaces(
    stores: Sequence[Path | str],
    out: Path | str,
    *,
    controls: Sequence[Path | str] | None = None,
    progress: Progress = lambda line: None,
) -> Reproduction:
    """Draw and judge the figures of "When Meanings Meet" (arXiv 2601.22851): six settings of patching, by layer and step.

    Everything is read from table `patches`, in SQL that the pages show.

    Args:
        stores: Translation prompts of one run each that were patched; several are runs that differ by their seed.
        out: Folder for the pages.
        controls: A store per run, in the same order: what the findings should not appear in. None to judge without.
        progress: Called with lines.

    Returns:
        The page and the figures.

    Raises:
        QueryError: If no store is named, or not one control per store.
        StoreNotFound: If there is no store at a path.

    Source: arXiv 2601.22851.

    Example:
        >>> done = reproduce_concept_spaces([store.path], folder / "spaces")
        >>> done.answers[0].missing.startswith("model: table patches was not computed")
        True
    """
    return _reproduce("concept-spaces", spaces.TITLE, spaces.FIGURES, stores, Path(out), controls or (), None, progress)


def _reproduce(
    name: str,
    title: str,
    figures: Sequence[Figure],
    stores: Sequence[Path | str],
    out: Path,
    controls: Sequence[Path | str],
    k: int | None,
    progress: Progress,
) -> Reproduction:
    if controls and len(controls) != len(stores):
        raise QueryError(
            f"{len(stores)} stores and {len(controls)} controls; name one control per store, in the same order, or none"
        )
    models, others = ([open_store(path, "r" if k is None else "a") for path in paths] for paths in (stores, controls))
    if k is not None:
        for store in (*models, *others):
            progress(f"asking {store.path} what is missing")
            ask_missing(store, figures, k)
    answers = gather_all(figures, models, others, progress)
    return Reproduction(write_pages(out, name, title, about(models, others), [(title, answers)]), tuple(answers))


def gather_all(figures: Sequence[Figure], models: Sequence[Atlas], controls: Sequence[Atlas], progress: Progress) -> list[Answer]:
    """Every figure, with a line of progress each."""
    answers = []
    for figure in figures:
        progress(f"figure {figure.name}")
        answers.append(gather(figure, models, controls))
    return answers


def about(models: Sequence[Atlas], controls: Sequence[Atlas]) -> list[str]:
    """Paragraphs on what the figures were made from."""
    first = models[0]
    languages, concepts = ", ".join(first.corpus.languages), len(first.corpus.concepts)
    what = (
        f"Stores: {_names(models)}; controls: {_names(controls) or 'none'}. {first.corpus.n_texts:,} texts in "
        f"{len(first.corpus.languages)} languages ({languages}), {concepts} concepts, {len(first.checkpoints)} checkpoints."
    )
    return [what, "Every figure and every number below is the answer of the stores to the SQL that stands beside it."]


def _names(stores: Sequence[Atlas]) -> str:
    return ", ".join(store.path.name for store in stores)
