"""`write_report`: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from actlas.errors import QueryError
from actlas.explore.module import module
from actlas.query.atlas import Atlas, as_atlas
from actlas.report.html import document, paragraph
from actlas.report.measures import Labelled
from actlas.report.questions import QUESTIONS, Question
from actlas.report.sections import (
    missing_section,
    overlap_section,
    places_section,
    probe_section,
    provenance_section,
    question_section,
    steering_section,
)

#: What a report takes: one store, or several under the names that the report gives them.
Stores = Atlas | str | Path | Mapping[str, Atlas | str | Path]


def write_report(
    stores: Stores,
    path: str | Path,
    *,
    title: str = "Activation atlas",
    about: Sequence[str] = (),
    questions: Sequence[Question] = QUESTIONS,
) -> Path:
    """Writes figures, answers and provenance of one or more stores as one self-contained HTML file.

    Nothing is computed that was not asked for before: where a table is missing, the report names the command that makes
    it. The same stores give the same bytes.

    Args:
        stores: A store, or label -> store. The first is the one under study, the others (a control, another run) are
            drawn beside it.
        path: The file. Its folder is made where missing.
        title: Heading of the page.
        about: Paragraphs under the heading: what was done and why.
        questions: Asked of the first store in SQL.

    Returns:
        `path`.

    Raises:
        StoreNotFound: If there is no store at a path.
        ValueError: If there is nothing to report on.

    Example:
        >>> path = write_report({"planted": store}, folder / "report.html", title="What was planted")
        >>> "Do languages share their experts?" in path.read_text()
        True
    """
    by_label = stores if isinstance(stores, Mapping) else {_label(stores): stores}
    sources = [Labelled(label, as_atlas(store)) for label, store in by_label.items()]
    empty = [source.label for source in sources if not source.checkpoints]
    if not sources or empty:
        raise QueryError(f"no checkpoint to report on in {', '.join(empty) or 'no store at all'}")
    sections = [
        overlap_section(sources),
        probe_section(sources),
        places_section(sources),
        steering_section(sources),
        question_section(sources[0], questions),
        missing_section(sources),
        provenance_section(sources),
    ]
    body = "".join([*(paragraph(text) for text in about), *sections])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(document(title, body, f"{module()}\nenhance(document);\n"), encoding="utf-8")
    os.replace(partial, path)
    return path


def _label(store: Atlas | str | Path) -> str:
    return (store.path if isinstance(store, Atlas) else Path(store)).name.removesuffix(".actlas")
