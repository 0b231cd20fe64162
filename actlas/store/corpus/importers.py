"""Files that people have -> a `Corpus`: tables, line-aligned parallel texts, and expert-neuron concept files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from actlas.errors import CorpusError
from actlas.store.corpus.cells import KNOWN, Table, ids_of, labels_of, listed, name_of, printable, shown, string_of, strings
from actlas.store.corpus.corpus import Corpus, Imported, corpus_from_frames
from actlas.store.corpus.delimited import check_names, read_delimited
from actlas.store.corpus.json_rows import parse, read_json_array, read_json_lines
from actlas.store.corpus.patterns import matches
from actlas.store.corpus.text_files import plain_lines, read_text

TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
#: Columns that a corpus or a store writes itself.
_WRITTEN = ("source_id", "n_tokens")
_LABEL_SCHEMA = {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}


def import_table(path: Path | str, *, extra_columns: Sequence[str] = (), quoting: str = "auto") -> Corpus:
    """A JSONL, JSON, CSV, TSV or Parquet file with columns text, language, optional text_id, parallel_id, split, one per concept.

    A concept column holds true or false (also yes or no, 1 or 0, 1.0 or 0.0), or nothing (also NaN): then the text takes no part
    in that concept. Every row becomes one text, exactly as it is written, or the file is refused with its line.

    CSV follows RFC 4180: a cell in quotation marks may hold separators and line ends. TSV has no quoting: a quotation mark is
    text, unless the file shows that marks quote cells.

    Args:
        path: The file; its ending says what it is.
        extra_columns: Columns to keep with the texts although they are neither known nor concepts (span columns, say).
        quoting: Whether quotation marks of a CSV or TSV file quote cells ("csv"), are text ("none"), or as said above ("auto").

    Returns:
        The corpus, its texts ordered by language.

    Raises:
        CorpusError: If the file is not valid (file and line), a column is neither known nor boolean, or what `corpus_from_frames`
            refuses.

    Example:
        >>> file = folder / "texts.csv"
        >>> _ = file.write_text("text,language,water\\nThe sea,en,1\\nA house,en,0\\nEl mar,es,1\\n")
        >>> corpus = import_table(file)
        >>> corpus.n_texts, corpus.languages, corpus.concepts
        (3, ('en', 'es'), ('water',))
    """
    path = Path(path)
    file, table = path.name, _read_table(path, quoting)
    names = list(table.columns)
    for needed in ("text", "language"):
        if needed not in names:
            raise CorpusError(f"{file}: no column {needed!r}; there are {', '.join(map(printable, names)) or 'none'}")
    if missing := [name for name in extra_columns if name not in names]:
        raise CorpusError(f"{file}: no column {', '.join(missing)} to keep; there are {', '.join(map(printable, names))}")
    if taken := [name for name in extra_columns if name in _WRITTEN]:
        raise CorpusError(f"{file}: column {listed(taken)} cannot be kept: actlas writes one of that name. Give it another one")
    texts: dict[str, pl.Series] = {}
    for name in (*KNOWN, *extra_columns):
        if name in names and name not in texts:
            texts[name] = _text_column(table, name, file)
    concepts = [name for name in names if name not in texts]
    keys = texts["text_id"] if "text_id" in texts else pl.Series("text_id", range(table.n_rows), dtype=pl.Int64)
    parts = [pl.DataFrame(schema={**_LABEL_SCHEMA, "text_id": keys.dtype})]
    for concept in concepts:
        labels = pl.Series("is_concept", _labels(table, concept, file), dtype=pl.Boolean)
        parts.append(pl.DataFrame([keys, labels]).select("text_id", pl.lit(concept).alias("concept"), "is_concept"))
    try:
        corpus = corpus_from_frames(pl.DataFrame(texts), pl.concat(parts))
    except CorpusError as error:
        raise CorpusError(f"{file}: {error}") from error
    if corpus.n_texts != table.n_rows:
        raise AssertionError(f"{table.n_rows} rows became {corpus.n_texts} texts")
    return _imported(corpus, table.n_rows, n_blank=table.n_blank, notes=table.notes)


def _imported(corpus: Corpus, n_rows: int, *, n_blank: int = 0, n_merged: int = 0, notes: Sequence[str] = ()) -> Corpus:
    """A corpus that says what was read, and what its frames did not show when it was made."""
    assert corpus.imported is not None, "corpus_from_frames says what it read"
    return replace(corpus, imported=Imported(n_rows, n_blank, n_merged, (*notes, *corpus.imported.notes)))


def _read_table(path: Path, quoting: str) -> Table:
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise CorpusError(f"{path.name}: cannot tell what this file is; its ending should be one of {', '.join(TABLE_SUFFIXES)}")
    if not path.is_file():
        raise CorpusError(f"no file {path}")
    if suffix == ".parquet":
        return _read_parquet(path)
    text = read_text(path)
    if suffix in (".csv", ".tsv"):
        return read_delimited(text, path.name, "," if suffix == ".csv" else "\t", quoting)
    return read_json_array(text, path.name) if suffix == ".json" else read_json_lines(text, path.name)


def _read_parquet(path: Path) -> Table:
    """Cells of a Parquet file. By pyarrow: polars' reader panics on some damaged files, and prints that itself."""
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()), page_checksum_verification=True)
        for column in table.schema:
            is_bytes = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
            if is_bytes or pa.types.is_fixed_size_binary(column.type) or pa.types.is_nested(column.type):
                kind = "lists or structures" if pa.types.is_nested(column.type) else "bytes"
                raise CorpusError(
                    f"{path.name}: column {column.name!r} holds {kind}; a cell is a string, a number, true, false or nothing"
                )
        columns = [column.to_pylist() for column in table.columns]
    except CorpusError:
        raise
    except Exception as error:  # whatever the reader stumbles over, the file is what is wrong
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CorpusError(f"{path.name}: not readable as Parquet: {reason[:200]}") from error
    check_names(table.column_names, path.name)
    return Table(dict(zip(table.column_names, columns, strict=True)), range(1, table.num_rows + 1), "row")


def _text_column(table: Table, name: str, file: str) -> pl.Series:
    """A column that is kept with the texts."""
    if name == "text_id":
        cells: Sequence[Any] = ids_of(table, file)
    elif name in ("text", "language"):
        return pl.Series(name, strings(table, name, file, string_of), dtype=pl.String)
    elif name in ("parallel_id", "split"):
        return pl.Series(name, strings(table, name, file, name_of), dtype=pl.String)
    else:
        cells = table.columns[name]
    try:
        column = pl.Series(name, cells, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError, UnicodeError) as error:
        raise CorpusError(f"{file}: column {name!r} holds cells of different kinds: {error}") from error
    if column.dtype in (pl.Int128, pl.UInt128, pl.Object):
        raise CorpusError(f"{file}: column {name!r} holds {column.dtype}, which is not kept")
    return column


def _labels(table: Table, concept: str, file: str) -> list[bool | None]:
    labels, wrong = labels_of(table.columns[concept])
    if wrong:
        held, first = listed(dict.fromkeys(map(shown, wrong.values()))), f"{table.unit} {table.places[min(wrong)]}"
        advice = "--keep keeps other columns"
        if concept.startswith(("__index", "Unnamed")):
            advice = "an index that was written with the table is none: leave it out"
        raise CorpusError(
            f"{file}: unknown column {concept!r} (holds {held}), first in {first}; besides {', '.join(KNOWN)} every column "
            f"is a concept and holds true, false or nothing; {advice}"
        )
    return labels


def import_parallel(files: Mapping[str, Path | str], concepts: Mapping[str, str], concept_language: str | None = None) -> Corpus:
    """Line-aligned files, one per language: line n of each says the same.

    Args:
        files: language -> file with one text per line.
        concepts: concept -> regular expression (that of Rust: no lookaround, no backreferences), searched in `concept_language`
            without regard to case ((?-i:...) restores it) nor to how accents are encoded. A line that matches is positive in
            every language, every other line negative.
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
        sizes = ", ".join(f"{Path(files[language]).name} {count:,}" for language, count in counts.items())
        raise CorpusError(f"the files are not aligned line by line; they have these numbers of lines: {sizes}")
    if (concepts or concept_language is not None) and concept_language not in lines:
        raise CorpusError(f"concepts are searched in language {concept_language!r}, which is not among {', '.join(lines)}")
    for language, rows in lines.items():
        empty = [str(n) for n, row in enumerate(rows, start=1) if not row.strip()]
        if empty:
            raise CorpusError(f"{Path(files[language]).name}: {len(empty):,} empty lines: {listed(empty)}")
    n_lines = next(iter(counts.values()))
    texts = pl.concat(
        pl.DataFrame({"text": rows, "language": [language] * n_lines, "parallel_id": [str(n) for n in range(1, n_lines + 1)]})
        for language, rows in lines.items()
    )
    parts = [pl.DataFrame(schema=_LABEL_SCHEMA)]
    notes: list[str] = []
    for concept, expression in concepts.items():
        found, warnings = matches(concept, expression, lines[concept_language or ""])
        labels = pl.DataFrame({"concept": concept, "is_concept": found * len(lines)}).with_row_index("text_id")
        parts.append(labels.cast({"text_id": pl.Int64}))
        notes += warnings
    corpus = corpus_from_frames(texts, pl.concat(parts))
    return _imported(corpus, n_lines * len(lines), notes=notes)


def _lines(path: Path) -> list[str]:
    return plain_lines(read_text(path), path.name)


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
        >>> import json
        >>> content = {"concept": "water", "group": "nature", "source": "own"}
        >>> content["sentences"] = {"positive": ["The sea"], "negative": ["A house", "A dog"]}
        >>> _ = (folder / "water.json").write_text(json.dumps(content))
        >>> import_concept_files({"en": folder}).n_texts
        3
    """
    texts: dict[tuple[str, str], int] = {}
    labels: dict[tuple[int, str], bool] = {}
    n_rows, empty = 0, []
    for language, folder in folders.items():
        for concept, file, sentences in _concepts(Path(folder)):
            if not any(sentences[kind] for kind in ("positive", "negative")):
                empty.append(file)
            for kind, is_concept in (("positive", True), ("negative", False)):
                for text in sentences[kind]:
                    n_rows += 1
                    key = (texts.setdefault((language, text), len(texts)), concept)
                    if labels.setdefault(key, is_concept) != is_concept:
                        raise CorpusError(f"{file}: {shown(text)} is labelled both true and false for concept {concept!r}")
    rows = [(text_id, concept, is_concept) for (text_id, concept), is_concept in labels.items()]
    frame = pl.DataFrame([(text, language) for language, text in texts], schema=["text", "language"], orient="row")
    corpus = corpus_from_frames(frame, pl.DataFrame(rows, schema=_LABEL_SCHEMA, orient="row"))
    notes = [f"{file.name} has no sentences" for file in empty]
    return _imported(corpus, n_rows, n_merged=n_rows - len(texts), notes=notes)


def _concepts(folder: Path) -> list[tuple[str, Path, dict[str, list[str]]]]:
    """Name, file and sentences of each concept; names that several files give get their group in front."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".json" and file.is_file())
    if not files:
        raise CorpusError(f"no .json files in {folder}")
    contents = [(file, _concept_file(file)) for file in files]
    names = [content["concept"] for _, content in contents]
    concepts: dict[str, Path] = {}
    found = []
    for file, content in contents:
        concept = content["concept"]
        if names.count(concept) > 1:
            concept = f"{content.get('group', file.parent.name)}/{concept}"
        if concept in concepts:
            raise CorpusError(f"{concepts[concept]} and {file} both hold concept {concept!r}; give one another name or group")
        concepts[concept] = file
        found.append((concept, file, content["sentences"]))
    return found


def _concept_file(path: Path) -> dict[str, Any]:
    content = parse(read_text(path), path.name)
    sentences = content.get("sentences") if isinstance(content, dict) else None
    if not isinstance(sentences, dict):
        sentences = {}
    is_whole = all(isinstance(sentences.get(kind), list) for kind in ("positive", "negative"))
    if not is_whole or not isinstance(content.get("concept"), str) or not isinstance(content.get("group", ""), str):
        raise CorpusError(f"{path.name}: expected an object with a concept and sentences.positive and sentences.negative")
    for kind in ("positive", "negative"):
        rows = sentences[kind]
        strings(Table({kind: rows}, range(1, len(rows) + 1), "sentence"), kind, path.name, string_of)
        empty = [str(number) for number, row in enumerate(rows, start=1) if not (row or "").strip()]
        if empty:
            raise CorpusError(f"{path.name}: {len(empty):,} empty sentences in {kind}: {listed(empty)}")
    return dict(content)
