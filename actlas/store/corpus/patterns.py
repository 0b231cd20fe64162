"""Concepts as regular expressions: searched by an engine that always ends, in text that is normalised for the search alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from actlas.errors import CorpusError
from actlas.store.corpus.cells import printable, shown

#: Scripts that set no blanks between words: a word boundary is found there only where the script begins or ends.
_UNSPACED = {
    "Han": "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
    "kana": "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Khmer": "\u1780-\u17ff",
    "Burmese": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Tibetan": "\u0f00-\u0fff",
}
_CHARACTER = f"[{''.join(_UNSPACED.values())}]"
#: A word boundary; and what is written in its place: anything but a letter, or a blank.
_BOUNDARY = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:b\{[a-z-]+\}|[bB<>])")
_OTHER_CLASS = re.compile(r"(?<![\\\[])((?:\\\\)*)(\\[Ws])")


def matches(concept: str, expression: str, lines: Sequence[str]) -> tuple[list[bool], tuple[str, ...]]:
    r"""Which lines an expression is found in, without regard to case ((?-i:...) restores it).

    Expressions are those of Rust's `regex`, which takes time in proportion to the text whatever the expression: it has neither
    lookaround nor backreferences. ``\w`` and ``\b`` know the vowel signs of Indic scripts. Lines and expression are compared in
    normal form C, so that an accent matches however it was typed; ``İ`` counts as ``I``.

    Args:
        concept: Its name, for messages.
        expression: What is searched.
        lines: Where.

    Returns:
        A flag per line, and warnings: of word boundaries beside scripts that have none.

    Raises:
        CorpusError: If the expression is not one, or is too large.

    Example:
        >>> matches("coffee", r"\bcafé\b", ["a cafe\u0301", "a cafeteria"])
        ([True, False], ())
    """
    normal = pl.Series("line", [_normal(line) for line in lines], dtype=pl.String)
    pattern = _normal(expression)
    try:
        found = _search(normal, pattern)
    except pl.exceptions.PolarsError as error:
        raise CorpusError(_refusal(concept, expression, str(error))) from error
    return found.to_list(), _boundary_warnings(concept, expression, pattern, normal, found)


def _normal(text: str) -> str:
    # the lower case of İ is i, which the engine's rule for case leaves out
    return unicodedata.normalize("NFC", text).replace("İ", "I")


def _search(lines: pl.Series, pattern: str) -> pl.Series:
    return lines.str.contains(f"(?i){pattern}", strict=True)


def _refusal(concept: str, expression: str, reason: str) -> str:
    name = f"concept {concept!r}: '{printable(expression)}'"
    if "look-around" in reason or "backreference" in reason:
        return (
            f"{name} has lookaround or a backreference; the engine here, whose searches always end, knows neither: write the "
            "words out, or label the lines in a table"
        )
    if "size limit" in reason:
        return f"{name} is too large an expression; repeat fewer times"
    why = next((line.removeprefix("error: ") for line in reason.splitlines() if line.startswith("error: ")), reason.strip())
    return f"{name} is not a regular expression: {why}"


def _boundary_warnings(concept: str, expression: str, pattern: str, lines: pl.Series, found: pl.Series) -> tuple[str, ...]:
    r"""A warning where \b keeps an expression from being found in or beside a script without blanks between words."""
    unspaced = lines.str.contains(_CHARACTER)
    if not (_BOUNDARY.search(pattern) or _OTHER_CLASS.search(pattern)) or not unspaced.any():
        return ()
    if re.search(_CHARACTER, pattern):
        without = _OTHER_CLASS.sub(r"\1(?:\2|)", _BOUNDARY.sub(r"\1", pattern))
        free, where = lines.str.contains(f"(?i){without}", strict=False), "without its word boundaries"
    else:
        free, where = _search(lines.str.replace_all(f"({_CHARACTER})", " $1 "), pattern), "with blanks beside that script"
    missed = lines.filter(unspaced & free.fill_null(False) & ~found)
    if missed.is_empty():
        return ()
    scripts = [name for name, characters in _UNSPACED.items() if missed.str.contains(f"[{characters}]").any()]
    name, n_found = f"concept {printable(concept)}: '{printable(expression)}'", int(found.sum())
    return (
        f"{name} is found in {n_found:,} lines, and {where} in {n_found + len(missed):,}, such as {shown(missed[0][:40])}; "
        f"{' and '.join(scripts)} text has no blanks between words, so a word boundary is rarely where a word ends: leave it out "
        "there",
    )
