from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actlas.errors import CorpusError
from actlas.store import Corpus, import_concept_files, import_parallel, import_table

ROWS = [
    {"text": "a, b", "language": "no", "text_id": "007", "parallel_id": "1", "split": "train", "water": True, "fire": None},
    {"text": "c\td", "language": "no", "text_id": "8", "parallel_id": "2", "split": "test", "water": False, "fire": True},
    {"text": 'e "f"', "language": "en", "text_id": "9", "parallel_id": "1", "split": "train", "water": None, "fire": False},
]


def write(path: Path) -> Path:
    frame = pl.DataFrame(ROWS)
    if path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="," if path.suffix == ".csv" else "\t")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
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


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.lists(st.text(CHARACTERS, min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS, st.sampled_from([".jsonl", ".json", ".parquet", ".csv"]))
def test_every_row_is_a_text_exactly_as_written(tmp_path: Path, texts: list[str], suffix: str) -> None:
    rows = [{"text": text, "language": "en" if n % 2 else "es", "c": n % 3 == 0} for n, text in enumerate(texts)]
    file = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(file)
    elif suffix == ".csv":
        with open(file, "w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, rows[0], quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        content = "[" + ",".join(lines) + "]" if suffix == ".json" else "\n".join(lines)
        file.write_text(content, encoding="utf-8", newline="")
    corpus = import_table(file)
    found = dict(zip(corpus.texts["text_id"], corpus.texts.select("language", "text").rows(), strict=True))
    assert sorted(found.values()) == sorted((row["language"], row["text"]) for row in rows)
    assert corpus.counts["read"] == len(rows)
    assert corpus.counts["dropped"] == 0
    by_text = {(*found[text_id], is_concept) for text_id, _, is_concept in corpus.labels.rows()}
    assert by_text == {(row["language"], row["text"], row["c"]) for row in rows}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS)
def test_every_line_and_every_sentence_is_a_text_exactly_as_written(tmp_path: Path, texts: list[str]) -> None:
    lines = [line for text in texts if (line := text.replace("\r", "").replace("\n", "")).strip()] or ["a"]
    lines[0] = lines[0].removeprefix("\ufeff") or "a"
    (tmp_path / "t").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert import_parallel({"en": tmp_path / "t"}, {}).texts["text"].to_list() == lines
    folder = tmp_path / "concepts"
    concept_file(folder, "c", "g", texts, [])
    corpus = import_concept_files({"en": folder})
    assert corpus.texts["text"].to_list() == list(dict.fromkeys(texts))
    assert corpus.counts["read"] == len(texts)
    corpus.write(tmp_path / "corpus")
    assert Corpus.read(tmp_path / "corpus").texts.equals(corpus.texts)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_boolean_columns_with_gaps_as_pandas_writes_them(tmp_path: Path, suffix: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "language": "en", "water": [1.0, 0.0, float("nan")]})
    frame["is wet"] = [True, None, False]
    file = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        frame.to_csv(file, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    labels = [(0, "is wet", True), (0, "water", True), (1, "water", False), (2, "is wet", False)]
    assert import_table(file).labels.rows() == labels


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([0, 1, 2, 3], r"unknown column 'c' \(holds 2, 3\), first in line 3; .*--keep"),
        ([0.5], r"holds 0.5\), first in line 1"),
        (["yes", "perhaps"], r"holds 'perhaps'\), first in line 2"),
        (list(range(9)), "holds 2, 3, 4, 5, 6 and 2 more"),
    ],
)
def test_columns_of_other_values_are_refused_with_examples(tmp_path: Path, cells: list[object], message: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"t{n}", "language": "en", "c": cell}) for n, cell in enumerate(cells)))
    with pytest.raises(CorpusError, match=message):
        import_table(file)


@pytest.mark.parametrize("name", ["_row", "concept", "is_concept", "_key", "row", "n_tokens", "source_id", "label"])
def test_a_concept_may_have_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps({"text_id": n, "text": f"t{n}", "language": "en", name: n == 0}) for n in range(2)))
    corpus = import_table(file)
    assert corpus.labels.rows() == [(0, name, True), (1, name, False)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": 5, "language": "en"}', "line 1: column 'text': 5 is no string"),
        ('{"text": "a", "language": true}', "line 1: column 'language': True is no string"),
        ('{"text": "a\\ud800", "language": "en"}', "line 1: column 'text' holds the character U\\+D800"),
        ('{"text": "a\\u0000", "language": "en"}', "line 1: column 'text' holds the character U\\+0000"),
        ('{"text": "a", "language": "en", "text_id": 1.5}', "line 1: text_id is 1.5"),
        ('{"text": "a", "language": "en", "parallel_id": 1.5}', "line 1: column 'parallel_id': 1.5"),
        ('{"text": "a", "language": "en", "text_id": 99999999999999999999}', "column 'text_id' holds Int128"),
        ('{"text": "a", "language": "en", "": true}', "is no name of a column"),
        ("", "no column 'text'; there are none"),
    ],
)
def test_rows_that_can_not_be_used(tmp_path: Path, content: str, message: str) -> None:
    refused(tmp_path / "t.jsonl", content.encode(), message)


@pytest.mark.parametrize(
    "frame",
    [
        {"text": [["a"], ["b"]], "language": ["en", "en"]},
        {"text": ["a", "b"], "language": ["en", "en"], "c": [[True], [False]]},
        {"text": [b"a", b"b"], "language": ["en", "en"]},
    ],
)
def test_lists_and_bytes_in_parquet(tmp_path: Path, frame: dict[str, object]) -> None:
    pl.DataFrame(frame).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match="t.parquet: column '(text|c)' holds (lists or structures|bytes)"):
        import_table(tmp_path / "t.parquet")


def test_damaged_parquet_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "whole.parquet").read_bytes()
    draw = random.Random(0)
    n_refused = 0
    for _ in range(150):
        data = bytearray(whole)
        if draw.random() < 0.5:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        else:
            data = data[: draw.randrange(len(data))]
        (tmp_path / "t.parquet").write_bytes(data)
        try:
            import_table(tmp_path / "t.parquet")
        except CorpusError as error:
            n_refused += 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert n_refused > 75
    assert capfd.readouterr().err == ""


def test_paths_are_no_patterns(tmp_path: Path) -> None:
    write(tmp_path / "run1.parquet")
    pl.DataFrame({"text": ["other"], "language": ["en"]}).write_parquet(tmp_path / "run[12].parquet")
    assert import_table(tmp_path / "run[12].parquet").texts["text"].to_list() == ["other"]


def test_blank_lines_and_empty_concepts_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,language,c,d\n\na,en,1,\nb,en,0,NA\n\n")
    corpus = import_table(tmp_path / "t.csv")
    assert corpus.imported is not None
    assert (corpus.imported.n_rows, corpus.imported.n_blank) == (2, 2)
    assert corpus.warnings == ("no text has a label for d, which is no concept of the corpus",)


def test_columns_that_actlas_writes_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,language,n_tokens\na,en,7\n")
    with pytest.raises(CorpusError, match="column n_tokens cannot be kept"):
        import_table(tmp_path / "t.csv", extra_columns=["n_tokens"])


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
    with pytest.raises(CorpusError, match="'deu', which is not among eng"):
        import_parallel({"eng": tmp_path / "eng.txt"}, {}, "deu")
    with pytest.raises(CorpusError, match="is not a regular expression"):
        import_parallel({"eng": tmp_path / "eng.txt"}, {"c": "("}, "eng")


def test_a_parallel_file_of_carriage_returns_has_lines(tmp_path: Path) -> None:
    (tmp_path / "eng.txt").write_bytes(b"Water runs\rno\r")
    (tmp_path / "spa.txt").write_bytes(b"El agua\r\nno hay\r\n")
    corpus = import_parallel({"eng": tmp_path / "eng.txt", "spa": tmp_path / "spa.txt"}, {}, None)
    assert corpus.texts["text"].to_list() == ["Water runs", "no", "El agua", "no hay"]


def test_what_a_pattern_misses_is_a_warning_of_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "zho.txt").write_text("在中国的人\n没有\n", encoding="utf-8")
    corpus = import_parallel({"zho": tmp_path / "zho.txt"}, {"china": r"\b中国\b"}, "zho")
    assert "is found in 0 lines, and without its word boundaries in 1" in corpus.warnings[0]


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
    with pytest.raises(CorpusError, match="sense-dog.json: 'a' is labelled both true and false for concept 'dog'"):
        import_concept_files({"en": tmp_path})


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([["a"]], "x-dog.json, sentence 1: column 'positive': .* is no string"),
        (["a", 5], "sentence 2: column 'positive': 5 is no string"),
        (["a", None], "1 empty sentences in positive: 2"),
        (["a", " "], "1 empty sentences in positive: 2"),
    ],
)
def test_sentences_that_are_none(tmp_path: Path, sentences: list[object], message: str) -> None:
    concept_file(tmp_path, "dog", "x", sentences, ["b"])  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match=message):
        import_concept_files({"en": tmp_path})


def test_concept_files_are_strict_json_and_do_not_merge(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"concept": "a", "concept": "b"}')
    with pytest.raises(CorpusError, match="x.json: key 'concept' stands twice"):
        import_concept_files({"en": tmp_path})
    (tmp_path / "x.json").unlink()
    for folder in ("one", "two"):
        concept_file(tmp_path / folder, "dog", "sense", [f"a dog {folder}"], ["a cat"])
    with pytest.raises(CorpusError, match=r"one.* and .*two.* both hold concept 'sense/dog'"):
        import_concept_files({"en": tmp_path})


def test_a_concept_file_without_sentences_is_told(tmp_path: Path) -> None:
    concept_file(tmp_path, "dog", "x", ["a dog"], ["a cat"])
    concept_file(tmp_path, "cat", "x", [], [])
    corpus = import_concept_files({"en": tmp_path})
    assert corpus.concepts == ("dog",)
    assert corpus.warnings == ("x-cat.json has no sentences",)


def test_shared_sentences_are_counted(tmp_path: Path) -> None:
    concept_file(tmp_path, "dog", "sense", ["a dog", "a dog"], ["a cat"])
    concept_file(tmp_path, "cat", "sense", ["a cat"], ["a dog"])
    corpus = import_concept_files({"en": tmp_path})
    assert corpus.imported is not None
    assert (corpus.imported.n_rows, corpus.imported.n_merged, corpus.n_texts) == (5, 3, 2)
    assert corpus.counts["dropped"] == 0
