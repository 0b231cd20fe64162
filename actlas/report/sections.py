"""The sections of the report: text, sentences, figures and tables of each question."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from actlas.errors import QueryError, TableNotFound
from actlas.explore.view import Part, as_answer, filled
from actlas.names import VERSION, installed_version
from actlas.query.schema import TABLES
from actlas.report import findings, measures, parts
from actlas.report.figures import draw
from actlas.report.html import bullets, code, disclosure, figure, heading, name_of, paragraph, section, table
from actlas.report.measures import Labelled, gathered
from actlas.report.questions import Question
from actlas.report.steering import steering_findings, steering_rates

_LISTED_PACKAGES = ("numpy", "polars", "zarr", "scikit-learn", "duckdb", "torch", "transformers")
_LISTED_TABLES = ("experts", "overlap", "probe", "lape")
#: Rows that a page writes out, and that it carries for its script; the query gives all.
_MOST_WRITTEN, _MOST_CARRIED = 400, 20_000
#: Columns that only put rows in order.
_ORDER = ("position", "place_order")

Sources = Sequence[Labelled]


def shown(part: Part, sources: Sources, *, description: str = "", is_several: bool = True, **params: Any) -> str:
    """A part as a figure: drawn or as a table, with its numbers, its query and what a script draws it from.

    Args:
        part: What is asked.
        sources: The stores that it is asked of, each by itself.
        description: Alternative text of the drawing; "" for its title.
        is_several: Whether the store stands in front of its rows.
        **params: Values of the ``$name`` in its query.

    Returns:
        The figure; a line that says which command makes it possible where it was not computed.
    """
    try:
        frame = gathered(part, sources, **params) if is_several else sources[0].ask(part, **params)
    except (TableNotFound, QueryError) as missing:
        return heading(part.title) + not_shown(missing, sources)
    if frame.is_empty():
        return heading(part.title) + paragraph("No row: nothing in this store answers to that.")
    sql = filled(part.sql, params)
    drawing = draw(part, frame, description or part.title)
    rows = table(frame.head(_MOST_WRITTEN).drop(_ORDER, strict=False), caption=part.title, is_headed=not drawing)
    if frame.height > _MOST_WRITTEN:
        carried = f", {_MOST_CARRIED:,} are drawn" if frame.height > _MOST_CARRIED else ""
        rows += paragraph(f"{_MOST_WRITTEN:,} of {frame.height:,} rows are written out{carried}; the query gives all.")
    asked = f"Asked of {' and of '.join(source.label for source in sources)}:"
    data: dict[str, Any] = {"name": part.name, "title": part.title, "about": part.about, "sql": sql}
    data |= {"picture": part.picture and part.picture.to_json(), "answer": as_answer(frame, _MOST_CARRIED)}
    return heading(part.title) + figure(
        drawing,
        part.about,
        disclosure("Numbers of this figure", rows) if drawing else rows,
        disclosure("SQL", paragraph(asked), code(sql)),
        name=part.name,
        data=data,
    )


def not_shown(missing: Exception, sources: Sources) -> str:
    """The line that says what is not there and which command makes it; of what is there, there is a list elsewhere.

    Where the stores lie is no business of those who read the page.
    """
    text = str(missing).partition("; ")[0] if isinstance(missing, TableNotFound) else str(missing)
    for source in sources:
        text = text.replace(str(source.store.path), source.store.path.name)
    return paragraph(f"Not shown: {text}.")


def _measured(sources: Sources, measure: Callable[[Labelled], pl.DataFrame]) -> list[tuple[str, pl.DataFrame]]:
    return [(source.label, measure(source)) for source in sources]


def overlap_section(sources: Sources) -> str:
    """Overlap over training beside its nulls, as a share of its ceiling, by pair of languages and by concept."""
    title = "Do languages share their experts?"
    try:
        overlap = _measured(sources, measures.overlap_over_training)
        twins = _measured(sources, measures.overlap_of_twins)
        ap = _measured(sources, measures.expert_ap)
    except TableNotFound as missing:
        return section(title, not_shown(missing, sources))
    sentences = [*findings.overlap_findings(overlap, twins), *_concept_sentences(sources)]
    text = (
        "Experts of a concept are the neurons whose values tell its texts from others best. Overlap is the share of experts "
        "that two languages have in common, over all language pairs and concepts; pairs that share none count too. Parallel "
        "texts say the same, which helps overlap by itself: experts for labels that were moved among the texts at random, in all "
        "languages alike so that translations stay together, are shared as well. That is the null which overlap is held against; "
        "where labels move in each language by itself, less is shared, for less is left in common. Disjoint halves of the texts "
        "tell what two languages share as a share of what one language shares with itself, both less their nulls."
    )
    return section(
        title,
        paragraph(text),
        bullets(sentences + findings.ap_findings(ap)),
        shown(parts.OVERLAP, sources, description=" ".join(sentences)),
        shown(parts.RATIO, sources),
        shown(parts.TWINS, sources) if any(not rows.is_empty() for _, rows in twins) else "",
        shown(parts.PAIRS, sources),
        shown(parts.CONCEPTS, sources),
        shown(parts.EXPERT_AP, sources),
    )


def _concept_sentences(sources: Sources) -> list[str]:
    """What the tests of the stores say that were tested concept by concept."""
    tested = [source for source in sources if source.store.table_files("overlap_tests_by_concept")]
    return findings.concept_findings(_measured(tested, measures.concept_tests))


def probe_section(sources: Sources) -> str:
    """Accuracy of probes by layer and step, for every label that was probed."""
    title = "What can be read from each layer?"
    try:
        probes = _measured(sources, measures.probe_accuracy)
    except TableNotFound as missing:
        return section(title, not_shown(missing, sources))
    made = []
    for label in probes[0][1]["label"].unique(maintain_order=True):
        chosen = [(name, frame.filter(pl.col("label") == label)) for name, frame in probes]
        chosen = [(name, frame) for name, frame in chosen if not frame.is_empty()]
        sentences = findings.probe_findings(chosen)
        chance = chosen[0][1]["chance"][0]
        part = replace(parts.PROBE, name=f"probe-{name_of(label)}", title=f"Accuracy of the {label} probe by layer and step")
        made += [
            paragraph(
                f"A linear classifier reads the {label} of single tokens from their vectors, trained and tested on different "
                f"texts, {measures.probe_penalties(sources[0], label)}; chance is {100 * chance:.0f}%."
            ),
            bullets(sentences),
            shown(part, sources, description=" ".join(sentences), label=label),
        ]
    return section(title, *made)


def places_section(sources: Sources) -> str:
    """Where the experts sit, by site, layer and step, a figure per store."""
    title = "Where do the experts sit?"
    try:
        places = _measured(sources, measures.expert_places)
    except TableNotFound as missing:
        return section(title, not_shown(missing, sources))
    sentences, made = [], []
    for number, (source, (label, frame)) in enumerate(zip(sources, places, strict=True), start=1):
        last = frame.filter(pl.col("position") == pl.col("position").max())
        most = last.sort("share", descending=True, maintain_order=True).row(0, named=True)
        sentences.append(
            f"{label}: at the last checkpoint most experts sit in {most['site']} of layer {most['layer']}: "
            f"{100 * most['share']:.0f}% of them, where {100 * most['even']:.0f}% of the ranked neurons are."
        )
        part = replace(parts.PLACES, name=f"places-{number}", title=f"{parts.PLACES.title}: {label}")
        made.append(shown(part, [source], description=sentences[-1], is_several=False))
    return section(title, bullets(sentences), *made)


def steering_section(sources: Sources) -> str:
    """What a model writes with experts forced and under each control: rates, intervals, and some of the texts."""
    title = "Do experts steer what a model writes?"
    try:
        rates = _measured(sources, steering_rates)
    except TableNotFound as missing:
        return section(title, not_shown(missing, sources))
    text = (
        "The experts of a concept in one language are set to what they do on texts of that concept and language, at every token, "
        "while the model writes. A seed draws the same numbers with the experts forced and under every control, so differences "
        "are taken within seeds."
    )
    sentences = steering_findings(rates)
    drawn = []
    for number, source in enumerate(sources, start=1):
        part = replace(parts.GENERATIONS, name=f"generations-{number}", title=f"{parts.GENERATIONS.title}: {source.label}")
        drawn.append(shown(part, [source], is_several=False))
    return section(
        title, paragraph(text), bullets(sentences), shown(parts.STEERING, sources, description=" ".join(sentences)), *drawn
    )


def question_section(source: Labelled, questions: Sequence[Question]) -> str:
    """Questions in SQL, each with its query and its answer; "" without questions."""
    asked = [
        shown(Part(f"question-{number}", question.text, question.sql), [source], is_several=False)
        for number, question in enumerate(questions, start=1)
    ]
    return section(f"Asked in SQL of {source.label}", *asked) if asked else ""


def missing_section(sources: Sources) -> str:
    """Which answers were never computed, or not for every checkpoint, and the commands that do it."""
    rows = []
    for source in sources:
        parts_of = source.store.table_parts()
        n_all = len(source.store.checkpoints)
        for name, kept in sorted(TABLES.items()):
            n_there = len(parts_of.get(name, {}).get(None, ()))
            if kept.command and kept.stored and n_there < n_all:
                command = kept.command.replace("STORE", source.store.path.name)
                told = {"store": source.label, "table": name, "checkpoints": f"{n_there} of {n_all}"}
                rows.append({**told, "holds": kept.about, "command": command})
    text = (
        "Nothing was computed for this page. Tables that were never asked for, or for some checkpoints alone, are here with the "
        "commands that make them whole."
    )
    if not rows:
        return section("What is not shown", paragraph("Every table that there is a command for was computed."))
    listed = table(pl.DataFrame(rows), caption="Tables that were not computed", is_headed=True)
    return section("What is not shown", paragraph(text), listed)


def provenance_section(sources: Sources) -> str:
    """Checkpoints with the hash of their weights, recipes, settings, seeds and versions."""
    made = []
    for number, source in enumerate(sources, start=1):
        store = source.store
        part = replace(parts.PROVENANCE, name=f"provenance-{number}", title=f"{source.label}: {store.path.name}")
        made.append(shown(part, [source], is_several=False))
        if not source.ask(parts.FLAGS).is_empty():
            made.append(shown(replace(parts.FLAGS, name=f"flags-{number}"), [source], is_several=False))
        settings: dict[str, Any] = {"recipe": store.recipe.to_json()}
        settings |= {name: found for name in _LISTED_TABLES if (found := _settings(source, name))}
        slices = {language: store.corpus.language_slice(language) for language in store.corpus.languages}
        settings["corpus"] = {
            "fingerprint": store.corpus.fingerprint,
            "texts": {language: rows.stop - rows.start for language, rows in slices.items()},
            "concepts": list(store.corpus.concepts),
        }
        made.append(disclosure("Recipe, settings and seeds", code(json.dumps(settings, indent=1, sort_keys=True))))
        made_with = store.checkpoint(source.checkpoints[-1]).get("versions")
        if made_with:
            made.append(disclosure("Versions at extraction", code(json.dumps(made_with, indent=1, sort_keys=True))))
    installed = [f"{name} {version}" for name in _LISTED_PACKAGES if (version := installed_version(name))]
    written_with = ", ".join([f"actlas {VERSION}", *installed])
    return section("Where the numbers come from", *made, paragraph(f"Report written with {written_with}."))


def _settings(source: Labelled, name: str) -> dict[str, Any]:
    """The settings of a table, of the last checkpoint that it was computed for; {} for none."""
    for checkpoint in reversed(source.checkpoints):
        if source.store.table_file(name, checkpoint):
            return dict(source.store.table_settings(name, checkpoint))
    return {}
