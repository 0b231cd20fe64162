"""What should be known of a corpus before numbers are taken from it: repetitions, contradictions, what lacks labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import polars as pl

from actlas.store.corpus.cells import listed, printable, shown

#: Characters that say that a file went wrong before it came here -> what they mean.
_SUSPECT = {
    "\ufffd": "U+FFFD, which stands where bytes could not be decoded",
    "\ufeff": "U+FEFF, the byte order mark of a file, which cannot be seen",
}


def repeated(texts: pl.DataFrame) -> pl.DataFrame:
    """Texts that occur more than once in a language: language, text, times."""
    counts = texts.group_by("language", "text", maintain_order=True).agg(pl.len().alias("times"))
    return counts.filter(pl.col("times") > 1)


def contradictory(texts: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Texts of a language that a concept holds true of in one place and false in another: language, text, concept."""
    keys = repeated(texts)
    if keys.is_empty():
        return pl.DataFrame(schema={"language": pl.String, "text": pl.String, "concept": pl.String})
    several = texts.select("text_id", "language", "text").join(keys, on=["language", "text"], how="semi", maintain_order="left")
    both = (
        labels.join(several, on="text_id", how="inner", maintain_order="left")
        .group_by("language", "text", "concept", maintain_order=True)
        .agg(pl.col("is_concept").n_unique().alias("n"))
    )
    return both.filter(pl.col("n") > 1).drop("n")


def n_unlabelled(texts: pl.DataFrame, labels: pl.DataFrame) -> int:
    """Texts that take part in no concept."""
    return texts.height - labels["text_id"].n_unique()


def content_warnings(texts: pl.DataFrame, labels: pl.DataFrame) -> list[str]:
    """A line for everything that would mislead a reader of scores of these texts.

    Example:
        >>> texts = pl.DataFrame({"text_id": [0, 1], "text": ["salt", "salt"], "language": ["en", "en"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["sea", "sea"], "is_concept": [True, False]})
        >>> for line in content_warnings(texts, labels):
        ...     print(line)
        en: 1 of 2 texts repeat another one ('salt' 2 times); they may stand on both sides of a split
        en: 1 texts are labelled both true and false for a concept ('salt' for sea); both labels count
    """
    lines = []
    again, both = repeated(texts), contradictory(texts, labels)
    for language, n_texts in texts.group_by("language", maintain_order=True).len().iter_rows():
        own, name = again.filter(pl.col("language") == language), printable(language)
        if own.height:
            few = listed(f"{shown(text)} {times:,} times" for text, times in own.select("text", "times").iter_rows())
            n_more = int(own["times"].sum()) - own.height
            lines.append(
                f"{name}: {n_more:,} of {n_texts:,} texts repeat another one ({few}); they may stand on both sides of a split"
            )
        own = both.filter(pl.col("language") == language)
        if own.height:
            few = listed(f"{shown(text)} for {concept}" for text, concept in own.select("text", "concept").iter_rows())
            n_both = own["text"].n_unique()
            lines.append(f"{name}: {n_both:,} texts are labelled both true and false for a concept ({few}); both labels count")
    for what, names in (("languages", texts["language"]), ("concepts", labels["concept"])):
        lines += [
            f"{what} {listed(map(repr, alike))} differ in case, blanks or accents' form alone"
            for alike in _alike(names.unique(maintain_order=True).to_list())
        ]
    for character, meaning in _SUSPECT.items():
        rows = texts.filter(pl.col("text").str.contains(character, literal=True))
        if rows.height:
            lines.append(f"{rows.height:,} texts hold {meaning}, such as text {rows['text_id'][0]} ({shown(rows['text'][0])})")
    return lines + _same_texts(texts)


def _alike(names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFC", "".join(name.split())).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _same_texts(texts: pl.DataFrame) -> list[str]:
    """Languages whose texts are all the same: a file given twice."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for language, lines in texts.group_by("language", maintain_order=True).agg("text").iter_rows():
        groups.setdefault(tuple(lines), []).append(language)
    return [f"languages {listed(group)} have the same texts" for group in groups.values() if len(group) > 1]
