from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from actlas.errors import CorpusError
from actlas.store import Corpus, import_concept_files, import_parallel, import_table

ROWS = [
    {"text": "a, b", "language": "no", "text_id": "007", "parallel_id": "1", "split": "train", "water": True, "fire": None},
    {"text": "c\td", "language": "no", "text_id": "8", "parallel_id": "2", "split": "test", "water": False, "fire": True},
    {"text": 'e "f"', "language": "en", "text_id": "9", "parallel_id": "1", "split": "train", "water": None, "fire": False},
]


def write(path: Path) -> Path:
    frame = pl.DataFrame(ROWS)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="," if path.suffix == ".csv" else "\t")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_corpus(tmp_path: Path, suffix: str) -> None:
    corpus = import_table(write(tmp_path / f"texts{suffix}"))
    assert corpus.texts.drop("text_id").to_dicts() == [
        {
            "text": r["text"],
            "language": r["language"],
            "parallel_id": r["parallel_id"],
            "split": r["split"],
            "source_id": r["text_id"],
        }
        for r in ROWS
    ]
    assert corpus.labels.rows() == [(0, "water", True), (1, "fire", True), (1, "water", False), (2, "fire", False)]
    assert corpus.fingerprint == import_table(write(tmp_path / "again.parquet")).fingerprint


def refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        import_table(path)


def test_tables_that_can_not_be_used(tmp_path: Path) -> None:
    refused(tmp_path / "t.csv", b"text,language\na,en\n\xff,en\n", r"t.csv, line 3: not valid UTF-8 \(byte 0xff\)")
    refused(tmp_path / "t.csv", b"text,language,note\na,en,hello\n", "unknown column 'note' .holds 'hello'.")
    refused(tmp_path / "t.csv", b"text\na\n", "no column 'language'")
    refused(tmp_path / "t.csv", b"text,language\na,en\n ,en\n", "t.csv: 1 of 2 texts have an empty text: rows 2")
    refused(tmp_path / "t.csv", b"text,language,text_id\na,en,1\nb,en,1\n", "1 repeat: 1")
    refused(tmp_path / "t.jsonl", b'{"text": "a", "language": "en"}\n{"text": \n', "t.jsonl, line 2: not valid JSON")
    refused(tmp_path / "t.jsonl", b"[1]\n", "line 1: expected an object")
    refused(tmp_path / "t.txt", b"a", "cannot tell what this file is")
    with pytest.raises(CorpusError, match="no file"):
        import_table(tmp_path / "nothing.csv")


def test_extra_columns_are_kept_when_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,language,start\nabc,en,12\n")
    assert import_table(tmp_path / "t.csv", extra_columns=["start"]).texts["start"].to_list() == ["12"]
    with pytest.raises(CorpusError, match="no column stop to keep"):
        import_table(tmp_path / "t.csv", extra_columns=["stop"])


def parallel(tmp_path: Path, **files: str) -> Corpus:
    for language, content in files.items():
        (tmp_path / f"{language}.txt").write_text(content)
    paths = {language: tmp_path / f"{language}.txt" for language in files}
    return import_parallel(paths, {"water": r"\bwaters?\b"}, "eng")


def test_a_concept_found_in_one_language_labels_every_language(tmp_path: Path) -> None:
    corpus = parallel(tmp_path, eng="Water runs\nno watering\u2028here\n", spa="El agua corre\r\nno hay\r\n")
    assert corpus.texts["text"].to_list() == ["Water runs", "no watering\u2028here", "El agua corre", "no hay"]
    assert corpus.texts["parallel_id"].to_list() == ["1", "2", "1", "2"]
    assert corpus.concept_matrix("spa")[0].ravel().tolist() == [True, False]
    assert corpus.concept_matrix("spa")[1].all()


def test_parallel_files_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not aligned line by line.*eng.txt 2, spa.txt 1"):
        parallel(tmp_path, eng="a\nb\n", spa="a\n")
    with pytest.raises(CorpusError, match="spa.txt: 1 empty lines: 2"):
        parallel(tmp_path, eng="a\nb\n", spa="a\n \n")
    with pytest.raises(CorpusError, match="'eng', which is not among spa"):
        parallel(tmp_path, spa="a\n")
    with pytest.raises(CorpusError, match="is not a regular expression"):
        import_parallel({"eng": tmp_path / "eng.txt"}, {"c": "("}, "eng")


def concept_file(folder: Path, name: str, group: str, positive: list[str], negative: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"concept": name, "group": group, "source": "s", "sentences": {"positive": positive, "negative": negative}}
    (folder / f"{group}-{name}.json").write_text(json.dumps(content))


def test_concept_files_share_texts(tmp_path: Path) -> None:
    concept_file(tmp_path / "en", "dog", "sense", ["a dog"], ["a cat", "a car"])
    concept_file(tmp_path / "en", "cat", "sense", ["a cat"], ["a dog"])
    concept_file(tmp_path / "es", "dog", "sense", ["un perro"], ["un gato"])
    corpus = import_concept_files({"en": tmp_path / "en", "es": tmp_path / "es"})
    assert corpus.n_texts == 5
    assert corpus.concepts == ("cat", "dog")
    is_concept, is_member = corpus.concept_matrix("en", ["cat"])
    by_text = dict(zip(corpus.texts["text"], zip(is_concept.ravel(), is_member.ravel(), strict=True), strict=False))
    assert by_text == {"a cat": (True, True), "a dog": (False, True), "a car": (False, False)}


def test_same_concept_in_two_groups_keeps_both(tmp_path: Path) -> None:
    concept_file(tmp_path, "dog", "sense", ["a"], ["b"])
    concept_file(tmp_path, "dog", "keyword", ["c"], ["b"])
    assert import_concept_files({"en": tmp_path}).concepts == ("keyword/dog", "sense/dog")


def test_concept_files_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no .json files"):
        import_concept_files({"en": tmp_path})
    (tmp_path / "x.json").write_text('{"concept": "dog"}')
    with pytest.raises(CorpusError, match="expected an object with a concept"):
        import_concept_files({"en": tmp_path})
    concept_file(tmp_path, "dog", "sense", ["a"], ["a"])
    (tmp_path / "x.json").unlink()
    with pytest.raises(CorpusError, match="both true and false"):
        import_concept_files({"en": tmp_path})
