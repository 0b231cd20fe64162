"""Files that people have -> a `Corpus`: tables, line-aligned parallel texts, and expert-neuron concept files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import CorpusError
from actlas.store.corpus.corpus import Corpus, corpus_from_frames

TABLE_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_KNOWN = ("text_id", "text", "language", "parallel_id", "split")
_TRUE, _FALSE, _NULL = ("true", "t", "yes", "1"), ("false", "f", "no", "0"), ("", "null", "none", "na")


def import_table(path: Path | str, *, extra_columns: Sequence[str] = ()) -> Corpus:
    """A JSONL, CSV, TSV or Parquet file with columns text, language, optional text_id, parallel_id, split, and one per concept.

    A concept column holds true or false (also 1 or 0), or nothing: then the text takes no part in that concept.

    Args:
        path: The file; its ending says what it is.
        extra_columns: Columns to keep with the texts although they are neither known nor concepts (span columns, say).

    Returns:
        The corpus, its texts ordered by language.

    Raises:
        CorpusError: If the file is not valid UTF-8 (file and line), a column is neither known nor boolean, or what
            `corpus_from_frames` refuses.

    Example:
        >>> file = folder / "texts.csv"
        >>> _ = file.write_text("text,language,water\\nThe sea,en,1\\nA house,en,0\\nEl mar,es,1\\n")
        >>> corpus = import_table(file)
        >>> corpus.n_texts, corpus.languages, corpus.concepts
        (3, ('en', 'es'), ('water',))
    """
    path = Path(path)
    frame = _read_table(path)
    for needed in ("text", "language"):
        if needed not in frame.columns:
            raise CorpusError(f"{path.name}: no column {needed!r}; there are {', '.join(frame.columns)}")
    missing = [name for name in extra_columns if name not in frame.columns]
    if missing:
        raise CorpusError(f"{path.name}: no column {', '.join(missing)} to keep; there are {', '.join(frame.columns)}")
    own_columns = [name for name in frame.columns if name in _KNOWN or name in extra_columns]
    concepts = [name for name in frame.columns if name not in own_columns]
    key = "text_id" if "text_id" in frame.columns else "_row"
    frame = frame.with_row_index("_row").cast({"_row": pl.Int64})
    columns = [_as_boolean(frame[name], path.name) for name in concepts]
    labels = (
        pl.DataFrame([frame[key].alias("text_id"), *columns])
        .unpivot(on=concepts, index="text_id", variable_name="concept", value_name="is_concept")
        .filter(pl.col("is_concept").is_not_null())
    )
    if not concepts:
        labels = pl.DataFrame(schema={"text_id": frame[key].dtype, "concept": pl.String, "is_concept": pl.Boolean})
    return _named(path.name, frame.select(own_columns), labels)


def _named(file: str, texts: pl.DataFrame, labels: pl.DataFrame) -> Corpus:
    try:
        return corpus_from_frames(texts, labels)
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from error


def _read_table(path: Path) -> pl.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise CorpusError(f"{path.name}: cannot tell what this file is; its ending should be one of {', '.join(TABLE_SUFFIXES)}")
    if not path.is_file():
        raise CorpusError(f"no file {path}")
    if suffix == ".parquet":
        return pl.read_parquet(path)
    text = _utf8(path)
    if suffix in (".csv", ".tsv"):
        # read as strings: type guessing would turn an id "007" into 7 and a language "no" into false
        separator = "," if suffix == ".csv" else "\t"
        try:
            return pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
        except pl.exceptions.PolarsError as error:
            raise CorpusError(f"{path.name}: not readable as {suffix[1:].upper()}: {error}") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            rows.append(_json_object(line, path, number))
    return pl.DataFrame(rows, infer_schema_length=None)


def _json_object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path.name}, line {number}: not valid JSON: {error.msg}") from error
    if not isinstance(row, dict):
        raise CorpusError(f"{path.name}, line {number}: expected an object with a text and a language, got {line[:40]}")
    return row


def _utf8(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CorpusError(f"{path.name}, line {line}: not valid UTF-8 (byte 0x{data[error.start]:02x})") from error


def _as_boolean(column: pl.Series, file: str) -> pl.Series:
    if column.dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Boolean)
    written = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    values = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False), **dict.fromkeys(_NULL, None)}
    unknown = written.filter(written.is_not_null() & ~written.is_in(list(values)))
    if len(unknown):
        raise CorpusError(
            f"{file}: unknown column {column.name!r} (holds {unknown[0]!r}); besides {', '.join(_KNOWN)} "
            "every column is a concept and holds true, false or nothing"
        )
    return written.replace_strict(values, return_dtype=pl.Boolean, default=None).alias(column.name)


def import_parallel(files: Mapping[str, Path | str], concepts: Mapping[str, str], concept_language: str | None = None) -> Corpus:
    """Line-aligned files, one per language: line n of each says the same.

    Args:
        files: language -> file with one text per line.
        concepts: concept -> regular expression, searched in `concept_language` without regard to case ((?-i:...) restores it).
            A line that matches is positive in every language, every other line negative.
        concept_language: Where the expressions are searched; needed when there are concepts.

    Returns:
        A corpus whose parallel_id is the line number, from 1.

    Raises:
        CorpusError: If files differ in their number of lines, a line is empty, or an expression does not compile.

    Example:
        >>> for name, lines in {"en": "The sea\\nA house\\n", "es": "El mar\\nUna casa\\n"}.items():
        ...     _ = (folder / name).write_text(lines)
        >>> corpus = import_parallel({"en": folder / "en", "es": folder / "es"}, {"water": r"\\bsea\\b"}, "en")
        >>> corpus.concept_matrix("es")[0][:, 0].tolist()
        [True, False]
    """
    if not files:
        raise CorpusError("no files; give them as language=file")
    lines = {language: _lines(Path(path)) for language, path in files.items()}
    counts = {language: len(rows) for language, rows in lines.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{Path(files[language]).name} {count:,}" for language, count in counts.items())
        raise CorpusError(f"the files are not aligned line by line; they have these numbers of lines: {listed}")
    if concepts and concept_language not in lines:
        raise CorpusError(f"concepts are searched in language {concept_language!r}, which is not among {', '.join(lines)}")
    for language, rows in lines.items():
        empty = [str(n) for n, row in enumerate(rows, start=1) if not row.strip()]
        if empty:
            shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5:,} more" if len(empty) > 5 else "")
            raise CorpusError(f"{Path(files[language]).name}: {len(empty):,} empty lines: {shown}")
    n_lines = next(iter(counts.values()))
    texts = pl.concat(
        pl.DataFrame({"text": rows, "language": [language] * n_lines, "parallel_id": [str(n) for n in range(1, n_lines + 1)]})
        for language, rows in lines.items()
    )
    labels = []
    for concept, expression in concepts.items():
        try:
            pattern = re.compile(expression, re.IGNORECASE)
        except re.error as error:
            raise CorpusError(f"concept {concept!r}: {expression!r} is not a regular expression: {error}") from error
        matches = [pattern.search(row) is not None for row in lines[concept_language or ""]]
        labels.append(pl.DataFrame({"concept": concept, "is_concept": matches * len(lines)}).with_row_index("text_id"))
    schema = {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}
    return corpus_from_frames(texts, pl.concat(labels).cast({"text_id": pl.Int64}) if labels else pl.DataFrame(schema=schema))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise CorpusError(f"no file {path}")
    # only newlines end a line: str.splitlines would also cut at characters that occur inside texts
    rows = _utf8(path).replace("\r\n", "\n").split("\n")
    return rows[:-1] if rows and rows[-1] == "" else rows


def import_concept_files(folders: Mapping[str, Path | str]) -> Corpus:
    """Folders of expert-neuron concept files, one folder per language, one JSON file per concept.

    A file holds ``{"concept", "group", "source", "sentences": {"positive": [...], "negative": [...]}}``. A text that several
    files of a language share is stored once.

    Args:
        folders: language -> folder; JSON files are searched in folders below it, too.

    Returns:
        The corpus; concepts bear the names that their files give.

    Raises:
        CorpusError: If a file has another form, or calls one text both positive and negative.

    Example:
        >>> content = {"concept": "water", "group": "nature", "source": "own"}
        >>> content["sentences"] = {"positive": ["The sea"], "negative": ["A house", "A dog"]}
        >>> _ = (folder / "water.json").write_text(json.dumps(content))
        >>> import_concept_files({"en": folder}).n_texts
        3
    """
    texts: list[dict[str, str]] = []
    labels: list[dict[str, Any]] = []
    ids: dict[tuple[str, str], int] = {}
    for language, folder in folders.items():
        files = sorted(Path(folder).glob("**/*.json"))
        if not files:
            raise CorpusError(f"no .json files in {folder}")
        contents = [(file, _concept_file(file)) for file in files]
        names = [content["concept"] for _, content in contents]
        for file, content in contents:
            concept = content["concept"]
            if names.count(concept) > 1:
                concept = f"{content.get('group', file.parent.name)}/{concept}"
            for kind, is_concept in (("positive", True), ("negative", False)):
                for text in content["sentences"][kind]:
                    key = (language, text)
                    if key not in ids:
                        ids[key] = len(texts)
                        texts.append({"text": text, "language": language})
                    labels.append({"text_id": ids[key], "concept": concept, "is_concept": is_concept})
    frame = pl.DataFrame(labels, schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})
    return corpus_from_frames(pl.DataFrame(texts, schema={"text": pl.String, "language": pl.String}), frame)


def _concept_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_utf8(path))
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path.name}, line {error.lineno}: not valid JSON: {error.msg}") from error
    sentences = content.get("sentences") if isinstance(content, dict) else None
    is_whole = isinstance(sentences, dict) and all(isinstance(sentences.get(kind), list) for kind in ("positive", "negative"))
    if not is_whole or not isinstance(content.get("concept"), str):
        raise CorpusError(f"{path.name}: expected an object with a concept and sentences.positive and sentences.negative")
    return dict(content)
