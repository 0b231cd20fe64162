"""The tokens whose vectors are kept: a seeded draw, all of them, the end of a marked span, or whole words."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import CorpusError, ExtractionError
from actlas.names import SPAN_ENDS, TokenSample, span_names
from actlas.store.corpus.corpus import Corpus
from actlas.store.values import TokenIds

_SCHEMA = {
    "text_id": pl.Int64,
    "position": pl.Int32,
    "token_id": pl.Int32,
    "n_tokens": pl.Int32,
    "surface": pl.String,
    "word": pl.Int32,
    "span": pl.String,
}


def choose_tokens(
    corpus: Corpus,
    tokens: TokenIds,
    is_special: NDArray[np.bool_],
    places: NDArray[np.int64],
    sample: TokenSample,
    is_cut: NDArray[np.bool_] | None = None,
) -> pl.DataFrame | None:
    """Tokens whose vectors are kept. Tokens that the tokenizer added are never among them.

    Args:
        corpus: The texts.
        tokens: Their token ids.
        is_special: Which of these the tokenizer added.
        places: int64 ``"tokens 2"``: first and last character (exclusive) of each token in its text; -1 where that
            is not known.
        sample: Which are kept.
        is_cut: Texts that were truncated: a span that ends after the cut has no last token. None: none were.

    Returns:
        In text order and by position: text_id, position, token_id, n_tokens (how many tokens from `position` on the vector is the
        mean of), surface (what they are in the text), word (number in its text of the word they belong to, whitespace between
        words), span (name of the span whose last token it is; null for choices other than "span"). Surface and word are null
        where places are not known. None if nothing is to be kept.

    Raises:
        CorpusError: If spans are asked for and the corpus marks none, or marks one outside of its text.
        ExtractionError: If spans or words are asked for and the tokenizer does not say where its tokens stand in the text.
    """
    if not sample.sites or (sample.choice == "sample" and sample.per_text < 1):
        return None
    lengths = tokens.lengths
    text = np.repeat(np.arange(len(lengths)), lengths)
    if sample.choice in ("span", "word") and (places[~is_special] < 0).any():
        raise ExtractionError(
            f"token choice {sample.choice!r} needs a tokenizer that says where its tokens stand in the text (a fast one)"
        )
    if sample.choice == "word":
        chosen, counts = _words(corpus, is_special, places, text)
        return _table(corpus, tokens, places, text, chosen, counts)
    spans = None
    if sample.choice == "sample":
        chosen = _drawn(corpus, tokens, is_special, text, sample)
    elif sample.choice == "all":
        chosen = np.flatnonzero(~is_special)
    else:
        chosen, spans = _span_ends(corpus, is_special, places, text, is_cut)
    return _table(corpus, tokens, places, text, chosen, np.ones(len(chosen), dtype=np.int64), spans)


def _drawn(
    corpus: Corpus, tokens: TokenIds, is_special: NDArray[np.bool_], text: NDArray[np.int64], sample: TokenSample
) -> NDArray[np.int64]:
    """The draw of a text depends on the seed and its text_id alone, so it stays the same when the corpus grows."""
    position = np.arange(len(tokens.ids)) - tokens.offsets[:-1][text]
    text_id = corpus.texts["text_id"].to_numpy()[text]
    draw = scramble(scramble(text_id.astype(np.uint64), sample.seed), 0) ^ position.astype(np.uint64)
    order = np.lexsort((scramble(draw, sample.seed), text, is_special))
    order = order[: int((~is_special).sum())]
    first = np.concatenate([[0], np.cumsum(np.bincount(text[order], minlength=len(tokens.lengths)))])
    rank = np.arange(len(order)) - first[text[order]]
    return np.sort(order[rank < sample.per_text])


def _span_ends(
    corpus: Corpus,
    is_special: NDArray[np.bool_],
    places: NDArray[np.int64],
    text: NDArray[np.int64],
    is_cut: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], pl.Series]:
    """The last token that stands in each span of each text, with the span's name; a text may lack any of its spans."""
    names = span_names(corpus.texts.columns)
    if not names:
        raise CorpusError(
            "token choice 'span' needs columns NAME_start and NAME_end in the corpus, for instance span_start and span_end; "
            f"it has {', '.join(corpus.texts.columns)} (kept by the import of a corpus that is told to keep them)"
        )
    ends_by_name, numbers = [], []
    for number, name in enumerate(names):
        start, end = (_characters(corpus, name + side) for side in SPAN_ENDS)
        _refuse_outside(corpus, name, start, end)
        is_inside = ~is_special & (places[:, 0] < end[text]) & (places[:, 1] > start[text]) & (start[text] >= 0)
        inside = np.flatnonzero(is_inside)
        is_last = np.append(text[inside][1:] != text[inside][:-1], True) if len(inside) else np.zeros(0, dtype=bool)
        ends = inside[is_last]
        if is_cut is not None:
            marked = [line[:stop].rstrip() if stop > 0 else "" for line, stop in zip(corpus.texts["text"], end, strict=True)]
            reaches = places[ends, 1] >= np.array([len(line) for line in marked], dtype=np.int64)[text[ends]]
            ends = ends[reaches | ~is_cut[text[ends]]]
        ends_by_name.append(ends)
        numbers.append(np.full(len(ends), number, dtype=np.uint32))
    chosen, number_of = np.concatenate(ends_by_name), np.concatenate(numbers)
    order = np.lexsort((number_of, chosen))
    return chosen[order], pl.Series(names, dtype=pl.String).gather(number_of[order])


def _characters(corpus: Corpus, column: str) -> NDArray[np.int64]:
    """Places of one column, -1 where there is none; whole numbers, also as pandas keeps them where some are missing."""
    values = corpus.texts[column]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    is_number = values.dtype.is_numeric() or values.dtype == pl.Null
    places = values.cast(pl.Int64, strict=False) if is_number else values
    if not is_number or places.null_count() > values.null_count() or not (places == values).all():
        raise CorpusError(f"column {column} of the corpus holds {values.dtype}; a span needs whole numbers of characters")
    return places.fill_null(-1).to_numpy()


def _refuse_outside(corpus: Corpus, name: str, start: NDArray[np.int64], end: NDArray[np.int64]) -> None:
    lengths = corpus.texts["text"].str.len_chars().cast(pl.Int64).to_numpy()
    is_marked = (start != -1) | (end != -1)
    wrong = np.flatnonzero(is_marked & ~((start >= 0) & (start < end) & (end <= lengths)))
    if len(wrong):
        row = int(wrong[0])
        raise CorpusError(
            f"span {name} of text {corpus.texts['text_id'][row]} is [{start[row]}:{end[row]}] and its text has {lengths[row]} "
            "characters; 0 <= start < end <= length, or both empty"
        )


def _words(
    corpus: Corpus, is_special: NDArray[np.bool_], places: NDArray[np.int64], text: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First token and number of tokens of every word."""
    plain = np.flatnonzero(~is_special)
    if not len(plain):
        return plain, plain
    word = _word_numbers(corpus, places[plain, 1], text[plain])
    is_first = np.append(True, (text[plain][1:] != text[plain][:-1]) | (word[1:] != word[:-1]) | (np.diff(plain) != 1))
    first = np.flatnonzero(is_first)
    return plain[first], np.diff(np.append(first, len(plain)))


def _word_numbers(corpus: Corpus, stops: NDArray[np.int64], text: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number in its text of the word that each token belongs to, by the character after the token and the text it stands in."""
    lines = corpus.texts["text"].to_list()
    starts = [[match.start() for match in re.finditer(r"\S+", line)] for line in lines]
    # as if all texts stood one after the other, a gap between them
    base = np.concatenate([[0], np.cumsum([len(line) + 1 for line in lines])]).astype(np.int64)
    first = np.concatenate([[0], np.cumsum([len(part) for part in starts])]).astype(np.int64)
    places = np.concatenate([np.array(part, dtype=np.int64) + offset for part, offset in zip(starts, base, strict=False)])
    # the last character decides, for many tokenizers count the space before a word as part of its first token
    number = np.searchsorted(places, base[text] + stops - 1, side="right") - 1 - first[text]
    # blanks before the first word go with it
    numbers: NDArray[np.int64] = np.maximum(number, 0).astype(np.int64)
    return numbers


def _table(
    corpus: Corpus,
    tokens: TokenIds,
    places: NDArray[np.int64],
    text: NDArray[np.int64],
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    spans: pl.Series | None = None,
) -> pl.DataFrame:
    lines = corpus.texts["text"].to_list()
    first, last = places[chosen, 0], places[chosen + counts - 1, 1]
    surfaces = [
        lines[row][start:end] if start >= 0 else None
        for row, start, end in zip(text[chosen].tolist(), first.tolist(), last.tolist(), strict=True)
    ]
    words = pl.Series(_word_numbers(corpus, last, text[chosen]), dtype=pl.Int32)
    return pl.DataFrame(
        {
            "text_id": corpus.texts["text_id"].to_numpy()[text[chosen]],
            "position": chosen - tokens.offsets[:-1][text[chosen]],
            "token_id": tokens.ids[chosen],
            "n_tokens": counts,
            "surface": surfaces,
            "word": words.set(pl.Series(first < 0), None),
            "span": [None] * len(chosen) if spans is None else spans,
        },
        schema=_SCHEMA,
    )


def scramble(values: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Pseudo-random numbers out of numbers, by SplitMix64: every bit of the input moves every bit of the output.

    Source: Steele, Lea and Flood 2014.
    """
    with np.errstate(over="ignore"):
        mixed = values + np.uint64((0x9E3779B97F4A7C15 * (2 * seed + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
