"""A corpus as token ids: cut or dropped where too long, and the tokens whose vectors are kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import CorpusError, ExtractionError
from actlas.extract.backends.base import Encoded, TextTokenizer
from actlas.extract.inputs.batches import BlockTexts
from actlas.extract.inputs.text_choice import choose_texts
from actlas.extract.inputs.text_warnings import left_out, typed_special_tokens
from actlas.extract.inputs.token_choice import choose_tokens
from actlas.names import TokenSample
from actlas.store.corpus.corpus import Corpus
from actlas.store.values import TokenIds


@dataclass(frozen=True)
class TokenisedCorpus:
    """Texts and their tokens, in the order of the text axis.

    Attributes:
        corpus: The texts that are kept.
        tokens: Their token ids.
        is_special: Which of these the tokenizer added.
        sample: Tokens whose vectors are kept, in text order, as `choose_tokens` gives them; None if none are.
        over_long: text_ids of texts that had more tokens than allowed.
        pools_special: Whether tokens that the tokenizer added are pooled and counted.
        has_loss: Texts that the sanity loss is taken on.
        warnings: What should be said of the texts before they are read.
    """

    corpus: Corpus
    tokens: TokenIds
    is_special: NDArray[np.bool_]
    sample: pl.DataFrame | None
    over_long: NDArray[np.int64]
    pools_special: bool
    has_loss: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()

    def block(self, rows: NDArray[np.integer], *, is_check: bool = False) -> BlockTexts:
        """Some rows of the text axis for a backend; costs what these rows have, whatever the size of the corpus.

        Args:
            rows: Rows, ascending.
            is_check: Leave out token samples and losses.
        """
        rows = np.asarray(rows, dtype=np.int64)
        tokens = _ranges(self.tokens.offsets[rows], self.tokens.offsets[rows + 1])
        sampled_rows = sampled_positions = sampled_lengths = np.zeros(0, dtype=np.int64)
        if self.sample is not None and not is_check:
            first, last = self._sample_offsets[rows], self._sample_offsets[rows + 1]
            sampled = _ranges(first, last)
            sampled_rows = np.repeat(np.arange(len(rows)), last - first)
            sampled_positions = self.sample["position"].to_numpy()[sampled].astype(np.int64)
            sampled_lengths = self.sample["n_tokens"].to_numpy()[sampled].astype(np.int64)
        return BlockTexts(
            token_ids=self.tokens.ids[tokens],
            offsets=np.concatenate([[0], np.cumsum(self.tokens.lengths[rows])]).astype(np.int64),
            is_special=None if self.pools_special else self.is_special[tokens],
            language=self._language[rows],
            sampled_rows=sampled_rows,
            sampled_positions=sampled_positions,
            sampled_lengths=sampled_lengths,
            has_loss=np.zeros(len(rows), dtype=bool) if is_check else self.has_loss[rows],
            text_ids=self.corpus.texts["text_id"].to_numpy()[rows],
            is_added=self.is_special[tokens] if self.pools_special and self._has_special else None,
        )

    def few(self, n_texts: int) -> BlockTexts:
        """A block to try a model on: texts over all languages and lengths, the longest among them."""
        return self.block(self.few_rows(n_texts), is_check=True)

    def few_rows(self, n_texts: int) -> NDArray[np.int64]:
        """Their rows of the text axis."""
        return choose_texts(self.tokens.lengths, self._language, n_texts)

    @cached_property
    def _has_special(self) -> bool:
        """Whether the tokenizer added any token."""
        return bool(self.is_special.any())

    @cached_property
    def _language(self) -> NDArray[np.int64]:
        """Number of each text's language."""
        number = {language: i for i, language in enumerate(self.corpus.languages)}
        return self.corpus.texts["language"].replace_strict(number, return_dtype=pl.Int64).to_numpy()

    @cached_property
    def _sample_offsets(self) -> NDArray[np.int64]:
        """Where the sampled tokens of each text begin in `sample`; one longer than there are texts."""
        assert self.sample is not None, "asked for only where tokens are sampled"
        text_ids = self.corpus.texts["text_id"].to_numpy()
        rows = np.searchsorted(text_ids, self.sample["text_id"].to_numpy())
        return np.searchsorted(rows, np.arange(len(text_ids) + 1)).astype(np.int64)


def _ranges(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole numbers of several ranges, one range after the other."""
    lengths = last - first
    ends = np.cumsum(lengths)
    return np.repeat(first - (ends - lengths), lengths) + np.arange(int(lengths.sum()))


@dataclass(frozen=True)
class TokenRules:
    """How texts become tokens; the fields are those of `names.Recipe`, the last two those of `ExtractOptions`."""

    max_tokens: int
    over_long: str
    special_tokens: str
    sample: TokenSample
    loss_texts: int | None = None
    drops_languages: bool = False


def tokenise(corpus: Corpus, tokenizer: TextTokenizer, rules: TokenRules) -> TokenisedCorpus:
    """Token ids of a corpus.

    Raises:
        CorpusError: If a text has no token at all, or texts are too long and `over_long` is "error", or none is left, or none of
            a language that may not be dropped.
    """
    warnings: list[str] = []
    texts, ids = corpus.texts["text"].to_list(), corpus.texts["text_id"].to_numpy()
    encoded = tokenizer.encode(texts, add_special=rules.special_tokens != "none")
    lengths = np.array([len(tokens) for tokens in encoded.token_ids])
    is_over = lengths > rules.max_tokens
    is_cut = is_over
    if is_over.any():
        if rules.over_long == "error":
            worst = int(lengths.argmax())
            raise CorpusError(
                f"{int(is_over.sum()):,} of {len(ids):,} texts have more than {rules.max_tokens} tokens (text {ids[worst]} "
                f"has {lengths[worst]:,}); let over_long truncate or drop them, or allow more with max_tokens"
            )
        if rules.over_long == "truncate":
            encoded = _truncated(encoded, texts, np.flatnonzero(is_over), tokenizer, rules)
        else:
            is_cut = np.zeros(int((~is_over).sum()), dtype=bool)
            warnings += left_out(corpus, ~is_over, rules.max_tokens, drops_languages=rules.drops_languages)
            # what is dropped follows from the recipe, which has the fingerprint of the corpus as imported
            corpus = replace(corpus.keep(~is_over), fingerprint=corpus.fingerprint)
            encoded = encoded.keep(np.flatnonzero(~is_over))
    counts = np.array([len(tokens) for tokens in encoded.token_ids])
    is_special = np.concatenate(encoded.is_special)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    _refuse_empty(corpus, counts, is_special, offsets, pools_special=rules.special_tokens != "run")
    # a tokenizer need not say which tokens are special
    warnings += typed_special_tokens(corpus, encoded, getattr(tokenizer, "special_tokens", {}))
    tokens = TokenIds(np.concatenate(encoded.token_ids).astype(np.int32), offsets)
    return TokenisedCorpus(
        corpus=corpus,
        tokens=tokens,
        is_special=is_special,
        sample=choose_tokens(corpus, tokens, is_special, np.concatenate(encoded.places), rules.sample, is_cut),
        over_long=ids[is_over],
        pools_special=rules.special_tokens != "run",
        has_loss=evenly_spaced(corpus.n_texts, rules.loss_texts),
        warnings=tuple(warnings),
    )


class TokenCache:
    """Remembers the last corpus that was tokenised, for a process that does one task after the other on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[tuple[str, str, TokenRules], TokenisedCorpus] | None = None

    def tokenise(self, corpus: Corpus, tokenizer: TextTokenizer, rules: TokenRules) -> TokenisedCorpus:
        """As `tokenise`; the same corpus, tokenizer and rules as the last time give what they gave."""
        key = (corpus.fingerprint, tokenizer.hash, rules)
        with self._lock:
            if self._last is None or self._last[0] != key:
                self._last = None  # memory may not hold two of them
                self._last = key, tokenise(corpus, tokenizer, rules)
            return self._last[1]


def _truncated(
    encoded: Encoded, texts: list[str], rows: NDArray[np.integer], tokenizer: TextTokenizer, rules: TokenRules
) -> Encoded:
    """Only the long texts are cut, by the tokenizer itself, which keeps its closing tokens."""
    cut = tokenizer.encode([texts[row] for row in rows], add_special=rules.special_tokens != "none", max_tokens=rules.max_tokens)
    if any(len(ids) > rules.max_tokens for ids in cut.token_ids):
        raise ExtractionError(f"the tokenizer did not cut a text to {rules.max_tokens} tokens; let over_long drop such texts")
    whole = Encoded(list(encoded.token_ids), list(encoded.is_special), list(encoded.places))
    for i, row in enumerate(rows):
        whole.token_ids[row], whole.is_special[row], whole.places[row] = cut.token_ids[i], cut.is_special[i], cut.places[i]
    return whole


def _refuse_empty(
    corpus: Corpus,
    counts: NDArray[np.integer],
    is_special: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    *,
    pools_special: bool,
) -> None:
    if not pools_special:
        before = np.concatenate([[0], np.cumsum(~is_special)])
        counts = before[offsets[1:]] - before[offsets[:-1]]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        text = corpus.texts.row(int(empty[0]), named=True)
        raise CorpusError(
            f"{len(empty):,} texts have no tokens to pool, the first is text {text['text_id']} ({text['text'][:40]!r}); "
            "leave them out of the corpus, or pool special tokens"
        )


def evenly_spaced(n_texts: int, n_chosen: int | None) -> NDArray[np.bool_]:
    """Flags of `n_chosen` texts spread over the text axis; all of them for None.

    Example:
        >>> evenly_spaced(5, 2).tolist()
        [False, False, True, False, True]
    """
    if n_chosen is None or n_chosen >= n_texts:
        return np.ones(n_texts, dtype=bool)
    steps = np.arange(n_texts + 1) * n_chosen // n_texts
    return np.diff(steps) > 0
