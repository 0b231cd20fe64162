"""The tokens whose vectors are kept: a seeded draw, all of them, the end of a marked span, or whole words."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import CorpusError, ExtractionError
from actlas.names import TokenSample
from actlas.store.corpus import Corpus
from actlas.store.writer import TokenIds

#: Columns of a corpus that mark a span in characters of its text; the end is exclusive.
SPAN_COLUMNS = ("span_start", "span_end")
_SCHEMA = {
    "text_id": pl.Int64,
    "position": pl.Int32,
    "token_id": pl.Int32,
    "n_tokens": pl.Int32,
    "surface": pl.String,
    "word": pl.Int32,
}


def choose_tokens(
    corpus: Corpus,
    tokens: TokenIds,
    is_special: NDArray[np.bool_],
    places: NDArray[np.int64],
    sample: TokenSample,
) -> pl.DataFrame | None:
    """Tokens whose vectors are kept. Tokens that the tokenizer added are never among them.

    Args:
        corpus: The texts.
        tokens: Their token ids.
        is_special: Which of these the tokenizer added.
        places: int64 ``"tokens 2"``: first and last character (exclusive) of each token in its text; -1 where nobody knows.
        sample: Which are wanted.

    Returns:
        In text order and by position: text_id, position, token_id, n_tokens (how many tokens from `position` on the vector is the
        mean of), surface (what they are in the text), word (number of the word in its text, whitespace between words; null for
        choices other than "word"). None if nothing is to be kept.

    Raises:
        CorpusError: If spans are wanted and the corpus marks none.
        ExtractionError: If spans or words are wanted and the tokenizer does not say where its tokens stand in the text.
    """
    if not sample.sites or (sample.choice == "sample" and sample.per_text < 1):
        return None
    lengths = tokens.lengths
    text = np.repeat(np.arange(len(lengths)), lengths)
    if sample.choice in ("span", "word") and (places[~is_special] < 0).any():
        raise ExtractionError(
            f"token choice {sample.choice!r} needs a tokenizer that says where its tokens stand in the text (a fast one)"
        )
    if sample.choice == "sample":
        chosen = _drawn(corpus, tokens, is_special, text, sample)
        return _table(corpus, tokens, places, text, chosen, np.ones(len(chosen), dtype=np.int64))
    if sample.choice == "all":
        chosen = np.flatnonzero(~is_special)
        return _table(corpus, tokens, places, text, chosen, np.ones(len(chosen), dtype=np.int64))
    if sample.choice == "span":
        chosen = _span_ends(corpus, is_special, places, text)
        return _table(corpus, tokens, places, text, chosen, np.ones(len(chosen), dtype=np.int64))
    chosen, counts, words = _words(corpus, is_special, places, text)
    return _table(corpus, tokens, places, text, chosen, counts, words)


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
    corpus: Corpus, is_special: NDArray[np.bool_], places: NDArray[np.int64], text: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The last token that stands in the span of its text; texts without a span have none."""
    missing = [name for name in SPAN_COLUMNS if name not in corpus.texts.columns]
    if missing:
        raise CorpusError(f"token choice 'span' needs columns {' and '.join(SPAN_COLUMNS)} in the corpus; it has no {missing[0]}")
    start, end = (corpus.texts[name].cast(pl.Int64).fill_null(-1).to_numpy()[text] for name in SPAN_COLUMNS)
    is_inside = ~is_special & (places[:, 0] < end) & (places[:, 1] > start) & (start >= 0)
    inside = np.flatnonzero(is_inside)
    is_last = np.append(text[inside][1:] != text[inside][:-1], True) if len(inside) else np.zeros(0, dtype=bool)
    ends: NDArray[np.int64] = inside[is_last]
    return ends


def _words(
    corpus: Corpus, is_special: NDArray[np.bool_], places: NDArray[np.int64], text: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First token, number of tokens, and number in the text, of every word."""
    starts = [[match.start() for match in re.finditer(r"\S+", line)] for line in corpus.texts["text"]]
    kept = np.flatnonzero(~is_special)
    # the last character decides, for many tokenizers count the space before a word as part of its first token
    word = np.array([np.searchsorted(starts[text[i]], places[i, 1] - 1, side="right") - 1 for i in kept], dtype=np.int64)
    if not len(kept):
        return kept, kept, word
    is_first = np.append(True, (text[kept][1:] != text[kept][:-1]) | (word[1:] != word[:-1]) | (np.diff(kept) != 1))
    at = np.flatnonzero(is_first)
    return kept[at], np.diff(np.append(at, len(kept))), word[at]


def _table(
    corpus: Corpus,
    tokens: TokenIds,
    places: NDArray[np.int64],
    text: NDArray[np.int64],
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    words: NDArray[np.int64] | None = None,
) -> pl.DataFrame:
    lines = corpus.texts["text"].to_list()
    first, last = places[chosen, 0], places[chosen + counts - 1, 1]
    surfaces = [
        lines[row][start:end] if start >= 0 else None
        for row, start, end in zip(text[chosen].tolist(), first.tolist(), last.tolist(), strict=True)
    ]
    return pl.DataFrame(
        {
            "text_id": corpus.texts["text_id"].to_numpy()[text[chosen]],
            "position": chosen - tokens.offsets[:-1][text[chosen]],
            "token_id": tokens.ids[chosen],
            "n_tokens": counts,
            "surface": surfaces,
            "word": [None] * len(chosen) if words is None else words,
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
