from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.errors import CorpusError, DamagedStore, FormatTooNew
from actlas.store import Corpus, corpus_from_frames
from actlas.store.corpus.corpus import Imported


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    texts = pl.DataFrame(
        {"text_id": ["a", "b", "c", "d"], "text": ["uno", "one", "dos", "two"], "language": ["es", "en", "es", "en"]}
    )
    rows = [
        ("a", "one", True),
        ("b", "one", True),
        ("c", "one", False),
        ("d", "one", False),
        ("d", "two", True),
        ("c", "two", None),
    ]
    labels = pl.DataFrame(rows, schema=["text_id", "concept", "is_concept"], orient="row")
    return texts, labels


def test_texts_are_ordered_by_language_and_labels_follow() -> None:
    corpus = corpus_from_frames(*frames())
    assert corpus.languages == ("es", "en")
    assert corpus.texts["text"].to_list() == ["uno", "dos", "one", "two"]
    assert corpus.texts["source_id"].to_list() == ["a", "c", "b", "d"]
    assert corpus.language_slice("en") == slice(2, 4)
    is_concept, is_member = corpus.concept_matrix("en", ["two", "one"])
    assert is_concept.tolist() == [[False, True], [True, False]]
    assert is_member.tolist() == [[False, True], [True, True]]
    assert corpus.concept_matrix()[0].shape == (4, 2)
    assert "es: no positive text for two" in corpus.warnings[0]


def test_written_corpus_reads_back(tmp_path: Path) -> None:
    corpus = corpus_from_frames(*frames())
    corpus.write(tmp_path / "c")
    again = Corpus.read(tmp_path / "c")
    assert again.fingerprint == corpus.fingerprint
    assert again.texts.equals(corpus.texts)
    assert again.labels.equals(corpus.labels)
    with pytest.raises(CorpusError, match="no corpus at"):
        Corpus.read(tmp_path)


def test_a_corpus_is_written_over_another_as_a_whole(tmp_path: Path) -> None:
    first = corpus_from_frames(*frames())
    second = corpus_from_frames(frames()[0].with_columns(text=pl.col("text") + "!"), frames()[1])
    for corpus in (first, second):
        corpus.write(tmp_path)
    assert Corpus.read(tmp_path).texts.equals(second.texts)
    first.write(tmp_path / "other")
    for name in ("texts.parquet", "labels.parquet"):
        whole = (tmp_path / name).read_bytes()
        mixture = pl.read_parquet(tmp_path / "other" / name)[::-1]
        mixture.write_parquet(tmp_path / name)
        with pytest.raises(DamagedStore, match=name):
            Corpus.read(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(DamagedStore, match=f"{name} is missing"):
            Corpus.read(tmp_path)
        (tmp_path / name).write_bytes(whole)
    assert Corpus.read(tmp_path).fingerprint == second.fingerprint


def old_corpus(folder: Path) -> Path:
    """As earlier versions wrote it: without digests."""
    corpus_from_frames(*frames()).write(folder)
    about = json.loads((folder / "corpus.json").read_text())
    for name in ("files", "xxh3_128", "imported"):
        del about[name]
    (folder / "corpus.json").write_text(json.dumps(about))
    return folder


def test_a_corpus_without_digests_is_read_by_its_fingerprint(tmp_path: Path) -> None:
    folder = old_corpus(tmp_path)
    corpus = Corpus.read(folder)
    assert corpus.imported is None
    assert "read" not in corpus.counts
    changed = corpus.labels.with_columns(~pl.col("is_concept"))
    for name, content in (
        ("labels.parquet", changed),
        ("labels.parquet", corpus.labels.drop("concept")),
        ("texts.parquet", corpus.texts[::-1]),
        ("texts.parquet", corpus.texts[:-1]),
    ):
        whole = (folder / name).read_bytes()
        content.write_parquet(folder / name)
        with pytest.raises(DamagedStore, match="make the corpus again"):
            Corpus.read(folder)
        (folder / name).write_bytes(whole)
    assert Corpus.read(folder).texts.equals(corpus.texts)


def test_a_corpus_of_some_texts_is_written_and_read(tmp_path: Path) -> None:
    corpus = corpus_from_frames(*frames()).keep(np.array([True, False, True, True]))
    corpus.write(tmp_path)
    assert Corpus.read(tmp_path).texts.equals(corpus.texts)
    assert Corpus.read(tmp_path).counts["dropped"] == 1


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    folder = old_corpus(tmp_path)
    about = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**about, "actlas_corpus": 2}))
    with pytest.raises(FormatTooNew, match="corpus format 2"):
        Corpus.read(folder)


def test_what_the_import_said_is_kept(tmp_path: Path) -> None:
    corpus = replace(corpus_from_frames(*frames()), imported=Imported(9, 2, 1, ("look here",)))
    corpus.write(tmp_path)
    assert Corpus.read(tmp_path).imported == corpus.imported
    assert Corpus.read(tmp_path).warnings[0] == "look here"


def test_keeping_some_texts_keeps_their_ids() -> None:
    corpus = corpus_from_frames(*frames()).keep(np.array([True, False, True, True]))
    assert corpus.texts["text_id"].to_list() == [0, 2, 3]
    assert corpus.language_slice("en") == slice(1, 3)
    assert corpus.concept_matrix("en", ["one"])[0].ravel().tolist() == [True, False]
    # what was extracted from it does not belong with what was extracted from all texts, or from others
    masks = ([True, False, True, True], [True, True, True, False], [True] * 4)
    fingerprints = {corpus_from_frames(*frames()).keep(np.array(mask)).fingerprint for mask in masks}
    assert len(fingerprints) == 3
    assert corpus_from_frames(*frames()).fingerprint in fingerprints


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ({"text": ["a", " "], "language": ["en", "en"]}, [], "1 of 2 texts have an empty text: rows 2"),
        ({"text": ["a", "b"], "language": ["en", None]}, [], "empty language: rows 2"),
        ({"text": ["a", "b"], "language": ["en", "en"], "text_id": [1, 1]}, [], "text ids must be unique"),
        ({"text": ["a"], "language": ["en"]}, [(5, "c", True)], "labels name 1 texts that are not in the corpus: 5"),
        ({"text": ["a"], "language": ["en"]}, [(0, "c", True), (0, "c", False)], "both true and false for concept 'c'"),
        ({"text": ["a"], "language": ["en"]}, [(0, " ", True)], "a concept has an empty name"),
        ({"text": []}, [], "no column language"),
        ({"text": [], "language": []}, [], "no texts"),
    ],
)
def test_what_can_not_be_used_is_refused(texts: dict[str, list[object]], labels: list[tuple[object, ...]], message: str) -> None:
    schema = {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}
    with pytest.raises(CorpusError, match=message):
        corpus_from_frames(pl.DataFrame(texts), pl.DataFrame(labels, schema=schema, orient="row"))
