"""`write_report`: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import QueryError, TableNotFound
from actlas.names import VERSION, installed_version
from actlas.query.atlas import Atlas, as_atlas
from actlas.report import findings, measures
from actlas.report.figures import overlap_figure, places_figure, probe_figure
from actlas.report.html import bullets, code, disclosure, document, escape, figure, paragraph, section, table
from actlas.report.measures import Labelled
from actlas.report.questions import QUESTIONS, Question
from actlas.report.steering import steering_findings, steering_rates

#: What a report takes: one store, or several under the names that the report gives them.
Stores = Atlas | str | Path | Mapping[str, Atlas | str | Path]

_LISTED_PACKAGES = ("numpy", "polars", "zarr", "scikit-learn", "duckdb", "torch", "transformers")
_LISTED_TABLES = ("experts", "overlap", "probe", "lape")


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
    parts = [
        "".join(paragraph(text) for text in about),
        _overlap_section(sources),
        _probe_section(sources),
        _places_section(sources),
        _steering_section(sources),
        _question_section(sources[0], questions),
        _provenance_section(sources),
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(document(title, "".join(parts)), encoding="utf-8")
    os.replace(partial, path)
    return path


def _label(store: Atlas | str | Path) -> str:
    return (store.path if isinstance(store, Atlas) else Path(store)).name.removesuffix(".actlas")


def _measure(sources: Sequence[Labelled], measure: Callable[[Labelled], pl.DataFrame]) -> list[tuple[str, pl.DataFrame]]:
    return [(source.label, measure(source)) for source in sources]


def _overlap_section(sources: Sequence[Labelled]) -> str:
    heading = "Do languages share their experts?"
    try:
        overlap = _measure(sources, measures.overlap_over_training)
        twins = _measure(sources, measures.overlap_of_twins)
        ap = _measure(sources, measures.expert_ap)
    except TableNotFound as missing:
        return section(heading, paragraph(f"Not shown: {missing}."))
    sentences = [*findings.overlap_findings(overlap, twins), *concept_sentences(sources)]
    text = (
        "Experts of a concept are the neurons whose values tell its texts from others best. Overlap is the share of experts "
        "that two languages have in common, over all language pairs and concepts; pairs that share none count too. Parallel "
        "texts say the same, which helps overlap by itself: experts for labels that were moved among the texts at random, in all "
        "languages alike so that translations stay together, are shared as well. That is the null which overlap is held against; "
        "where labels move in each language by itself, less is shared, for less is left in common. The right panel compares "
        "disjoint halves of the texts: what two languages share, as a share of what one language shares with itself, both less "
        "their nulls."
    )
    numbers = [table(_with_step(frame), caption=label) for label, frame in overlap]
    numbers += [table(rows, caption=f"{label}: random-weights twins") for label, rows in twins if not rows.is_empty()]
    return section(
        heading,
        paragraph(text),
        bullets(sentences + findings.ap_findings(ap)),
        figure(
            overlap_figure(overlap, twins, " ".join(sentences)),
            "Overlap over training, checkpoints evenly spaced. Bands: 95% interval over concepts. There is no ratio where what a "
            "language shares with itself is not clear of its null; below 0 it is drawn at 0.",
        ),
        disclosure("Numbers of this figure", *numbers),
    )


def concept_sentences(sources: Sequence[Labelled]) -> list[str]:
    """What the tests of the stores say that were tested concept by concept."""
    tested = [source for source in sources if source.store.table_files("overlap_tests_by_concept")]
    return findings.concept_findings(_measure(tested, measures.concept_tests))


def _with_step(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("position").rename({"axis": "step"})


def _probe_section(sources: Sequence[Labelled]) -> str:
    heading = "What can be read from each layer?"
    try:
        probes = _measure(sources, measures.probe_accuracy)
    except TableNotFound as missing:
        return section(heading, paragraph(f"Not shown: {missing}."))
    parts = []
    for label in probes[0][1]["label"].unique(maintain_order=True):
        chosen = [(name, frame.filter(pl.col("label") == label)) for name, frame in probes]
        chosen = [(name, frame) for name, frame in chosen if not frame.is_empty()]
        sentences = findings.probe_findings(chosen)
        chance = chosen[0][1]["chance"][0]
        parts += [
            paragraph(
                f"A linear classifier reads the {label} of single tokens from their vectors, trained and tested on different "
                f"texts, {measures.probe_penalties(sources[0], label)}; chance is {100 * chance:.0f}%."
            ),
            bullets(sentences),
            figure(probe_figure(chosen, " ".join(sentences)), f"Accuracy of the {label} probe, layer by step."),
        ]
        numbers = [table(_with_step(frame.drop("label", "place_order")), caption=name) for name, frame in chosen]
        parts.append(disclosure("Numbers of this figure", *numbers))
    return section(heading, *parts)


def _places_section(sources: Sequence[Labelled]) -> str:
    heading = "Where do the experts sit?"
    try:
        places = _measure(sources, measures.expert_places)
    except TableNotFound as missing:
        return section(heading, paragraph(f"Not shown: {missing}."))
    sentences = []
    for label, frame in places:
        last = frame.filter(pl.col("position") == pl.col("position").max())
        most = last.sort("share", descending=True, maintain_order=True).row(0, named=True)
        sentences.append(
            f"{label}: at the last checkpoint most experts sit in {most['site']} of layer {most['layer']}: "
            f"{100 * most['share']:.0f}% of them, where {100 * most['even']:.0f}% of the ranked neurons are."
        )
    numbers = [
        table(
            frame.with_columns(pl.col("share", "even").round(4)).pivot("axis", index=["site", "layer", "even"], values="share"),
            caption=f"{label}: share of experts by step; even = share of the ranked neurons",
        )
        for label, frame in places
    ]
    return section(
        heading,
        bullets(sentences),
        figure(places_figure(places, " ".join(sentences)), "Share of all experts in each layer of each site, by step."),
        disclosure("Numbers of this figure", *numbers),
    )


def _steering_section(sources: Sequence[Labelled]) -> str:
    heading = "Do experts steer what a model writes?"
    try:
        rates = _measure(sources, steering_rates)
    except TableNotFound as missing:
        return section(heading, paragraph(f"Not shown: {missing}."))
    text = (
        "The experts of a concept in one language are set to what they do on texts of that concept and language, at every token, "
        "while the model writes. A seed draws the same numbers with the experts forced and under every control, so differences "
        "are taken within seeds."
    )
    numbers = [table(frame.rename({"axis": "step"}), caption=label) for label, frame in rates]
    return section(
        heading, paragraph(text), bullets(steering_findings(rates)), disclosure("Numbers of these sentences", *numbers)
    )


def _question_section(source: Labelled, questions: Sequence[Question]) -> str:
    parts = []
    for question in questions:
        try:
            answer = source.store.sql(question.sql)
            shown = table(answer) if answer.height else paragraph("No row: nothing in this store answers to that.")
        except (TableNotFound, QueryError) as missing:
            shown = paragraph(f"Not answered: {missing}.")
        parts.append(f"<h3>{escape(question.text)}</h3>{disclosure('SQL', code(question.sql))}{shown}")
    return section(f"Asked in SQL of {source.label}", *parts) if parts else ""


def _provenance_section(sources: Sequence[Labelled]) -> str:
    parts = []
    for source in sources:
        store = source.store
        parts.append(f"<h3>{escape(source.label)}</h3>")
        parts.append(table(store.scan("checkpoints").collect().drop("position", "revision"), caption=str(store.path)))
        settings: dict[str, Any] = {"recipe": store.recipe.to_json()}
        last = source.checkpoints[-1]
        settings |= {name: store.table_settings(name, last) for name in _LISTED_TABLES if store.table_files(name)}
        languages = {name: rows.stop - rows.start for name, rows in _slices(store)}
        settings["corpus"] = {
            "fingerprint": store.corpus.fingerprint,
            "texts": languages,
            "concepts": list(store.corpus.concepts),
        }
        parts.append(disclosure("Recipe, settings and seeds", code(json.dumps(settings, indent=1, sort_keys=True))))
        made_with = store.checkpoint(last).get("versions")
        if made_with:
            parts.append(disclosure("Versions at extraction", code(json.dumps(made_with, indent=1, sort_keys=True))))
    installed = [f"{name} {version}" for name in _LISTED_PACKAGES if (version := installed_version(name))]
    written_with = ", ".join([f"actlas {VERSION}", *installed])
    return section("Where the numbers come from", *parts, paragraph(f"Report written with {written_with}."))


def _slices(store: Atlas) -> list[tuple[str, slice]]:
    return [(language, store.corpus.language_slice(language)) for language in store.corpus.languages]
