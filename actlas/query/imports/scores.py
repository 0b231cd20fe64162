"""`import_scores`: numbers that were computed elsewhere become a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.errors import ScoreImportError
from actlas.names import SITES, Checkpoint
from actlas.query.imports.checks import check_site
from actlas.query.imports.frames import Grid, Scores, check_columns, scores_of_frame
from actlas.store.corpus.declared import Declared
from actlas.store.records import read_about
from actlas.store.write.score_import import ImportedCheckpoint, write_imported
from actlas.words import listed


def import_scores(
    path: Path | str,
    scores: pl.DataFrame | Scores,
    *,
    provenance: str,
    languages: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    neurons: Grid | None = None,
    checkpoints: Sequence[Checkpoint] | None = None,
    label_counts: pl.DataFrame | None = None,
    pooling: str = "max",
    settings: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Keep scores that were computed elsewhere as a store, which answers everything that needs no values of texts.

    Nothing can be seen before everything is complete; a call that was stopped goes on when it is made again. A store that was
    made like this takes further checkpoints, with the same languages, concepts and label counts.

    Args:
        path: Folder of the store.
        scores: A frame with one row per cell, columns checkpoint, language, concept, site, layer, neuron and statistics by
            their names here (ap, auroc, median, ...); or checkpoint -> site -> statistic -> an array
            ``"languages concepts layers neurons"``. NaN, or null, where a concept has no answer in a language: then of all its
            neurons.
        provenance: Where the numbers come from, in words.
        languages: In the order that answers have them; of arrays, along the first axis. None: as they come in the frame, or as
            the store has them.
        concepts: Of arrays, along the second axis. None: those of the frame, or of the store.
        neurons: Site -> layers and neurons. None: as arrays have it; of a frame, up to the largest that it names.
        checkpoints: Model, step and revision of every checkpoint. None: each is its own model, without a step.
        label_counts: Columns language, concept, n_positive, n_texts (those that took part, positive or negative). A neuron that
            gives all texts one value has the score n_positive / n_texts and is no expert; where that is not known, no neuron is
            left out.
        pooling: How values of tokens became one per text, where the scores were computed.
        settings: What else decided the numbers; kept in the record of every checkpoint.

    Returns:
        One row per site: checkpoint, site, n_layers, n_neurons, n_languages, n_concepts, n_null (pairs of a language and a
        concept whose scores are null).

    Raises:
        ScoreImportError: If a cell is missing, there twice, or cannot be, or a name is not known; the message has the first.
        RecipeMismatch: If the store holds something else than imported scores of these languages and concepts, or the same
            checkpoint with other numbers.

    Example:
        >>> places = {"language": "en", "concept": "water", "site": "mlp_pre", "layer": 0, "neuron": [0, 1, 2]}
        >>> scores = pl.DataFrame({"checkpoint": "other-step8", **places, "ap": [0.25, 0.9, 0.4]})
        >>> imported = import_scores(folder / "other.actlas", scores, provenance="table 3 of a paper")
        >>> imported.select("site", "n_layers", "n_neurons").rows()
        [('mlp_pre', 1, 3)]
        >>> actlas.top_experts(folder / "other.actlas", k=1).select("neuron", "ap").rows()
        [(1, 0.9)]
    """
    path = Path(path)
    if not provenance.strip():
        raise ScoreImportError("say where the numbers come from: provenance is empty")
    there = _declared_in(path)
    if there is not None:
        languages, concepts = languages or there.languages, concepts or there.concepts
    if isinstance(scores, pl.DataFrame):
        stats = check_columns(scores)
        languages = languages or scores["language"].cast(pl.String).unique(maintain_order=True).to_list()
        concepts = concepts or scores["concept"].cast(pl.String).unique().sort().to_list()
        scores, neurons = scores_of_frame(scores, stats, languages, concepts, neurons)
    if not languages or not concepts:
        raise ScoreImportError("name the languages and concepts along the first two axes of the arrays")
    declared = Declared.of(languages, concepts, label_counts)
    if there is not None and label_counts is None and there.names == declared.names:
        declared = there
    about = {"provenance": provenance, "settings": dict(settings or {}), "label_counts": _known_counts(declared)}
    named = _named_checkpoints(scores, checkpoints)
    imported = []
    for checkpoint in named:
        sites = _checked_sites(checkpoint.id, scores[checkpoint.id], languages, concepts, neurons)
        order = np.argsort(np.array(concepts, dtype=object))
        if (np.diff(order) != 1).any():
            sites = {site: {stat: values[:, order] for stat, values in arrays.items()} for site, arrays in sites.items()}
        imported.append(ImportedCheckpoint(checkpoint, sites, about))
    write_imported(path, declared, pooling, imported)
    return _summary(imported, declared)


def _declared_in(path: Path) -> Declared | None:
    """Languages and concepts of the store of imported scores at a path; None where there is none."""
    about = read_about(path)
    return None if about is None or "declared" not in about else Declared.from_json(about["declared"])


def _known_counts(declared: Declared) -> str:
    known = sum(count >= 0 for count in declared.n_positive)
    if known == len(declared.n_positive):
        return "known: neurons that do no better than a guess are left out of rankings"
    return f"known for {known} of {len(declared.n_positive)} pairs of language and concept; in the others no neuron is left out"


def _named_checkpoints(scores: Scores, checkpoints: Sequence[Checkpoint] | None) -> list[Checkpoint]:
    if not scores:
        raise ScoreImportError("there is no checkpoint with scores")
    if checkpoints is None:
        return [Checkpoint(name, name) for name in scores]
    ids = [checkpoint.id for checkpoint in checkpoints]
    if len(set(ids)) < len(ids):
        raise ScoreImportError(f"a checkpoint is named twice: {', '.join(ids)}")
    for name, which, others in (
        *((name, "has scores and was not named; named are", ids) for name in scores if name not in ids),
        *((name, "was named and has no scores; there are scores of", list(scores)) for name in ids if name not in scores),
    ):
        raise ScoreImportError(f"checkpoint {name} {which} {listed(others)}")
    return list(checkpoints)


def _checked_sites(
    checkpoint: str, sites: Mapping[str, Mapping[str, Any]], languages: Sequence[str], concepts: Sequence[str], grid: Grid | None
) -> dict[str, dict[str, Any]]:
    """The sites of a checkpoint whose scores are what they should be.

    Raises:
        ScoreImportError: If one is not.
    """
    if grid is not None and set(grid) != set(sites):
        raise ScoreImportError(f"{checkpoint} has scores of {listed(sorted(sites))}, and the grid has {listed(sorted(grid))}")
    checked: dict[str, dict[str, Any]] = {}
    for site, arrays in sorted(sites.items()):
        if site not in SITES:
            raise ScoreImportError(f"site {site!r} of {checkpoint} is not known; there are {', '.join(SITES)}")
        if not arrays:
            raise ScoreImportError(f"{checkpoint} {site} has no statistic")
        given = {stat: np.asarray(values) for stat, values in arrays.items()}
        shape = next(iter(given.values())).shape
        layers_neurons = grid[site] if grid is not None else (shape[-2:] if len(shape) == 4 else (1, 1))
        check_site(f"{checkpoint} {site}", given, languages, concepts, (layers_neurons[0], layers_neurons[1]))
        checked[site] = given
    return checked


def _summary(imported: Sequence[ImportedCheckpoint], declared: Declared) -> pl.DataFrame:
    n_labels = (len(declared.languages), len(declared.concepts))
    rows = []
    for one in imported:
        for site, shape in one.shapes.items():
            first = next(iter(one.sites[site].values()))
            rows.append((one.checkpoint.id, site, *shape, *n_labels, int(np.isnan(first[:, :, 0, 0]).sum())))
    columns = ["checkpoint", "site", "n_layers", "n_neurons", "n_languages", "n_concepts", "n_null"]
    return pl.DataFrame(rows, schema=columns, orient="row")
