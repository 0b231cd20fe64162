"""What a run should say of its texts before any model reads them: special tokens typed in them, texts and languages left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from actlas.errors import CorpusError
from actlas.extract.backends.base import Encoded
from actlas.store.corpus.cells import listed
from actlas.store.corpus.corpus import Corpus


def typed_special_tokens(corpus: Corpus, encoded: Encoded, special: Mapping[int, str]) -> list[str]:
    """A warning where the text itself spells out a special token, such as ``</s>``: the tokenizer makes it the real one.

    Args:
        corpus: The texts.
        encoded: Their tokens.
        special: Id -> how it is written, of every special token of the tokenizer.
    """
    lengths = [len(ids) for ids in encoded.token_ids]
    ids, is_added = np.concatenate(encoded.token_ids), np.concatenate(encoded.is_special)
    is_typed = np.isin(ids, np.array(list(special), dtype=np.int64)) & ~is_added
    rows = np.repeat(np.arange(len(lengths)), lengths)[is_typed]
    lines = corpus.texts["text"]
    # an unknown word has the id of a special token, too; only what is spelled out was typed
    candidates = zip(rows.tolist(), ids[is_typed].tolist(), strict=True)
    found = {(row, special[token]) for row, token in candidates if special[token] in lines[row]}
    if not found:
        return []
    counts = {name: sum(1 for _, other in found if other == name) for name in sorted({name for _, name in found})}
    texts = sorted({row for row, _ in found})
    tokens = listed(f"{name!r} in {count:,}" for name, count in counts.items())
    return [
        f"{len(texts):,} texts spell out special tokens of the tokenizer ({tokens}; the first is text "
        f"{corpus.texts['text_id'][texts[0]]}): the model reads the special token there, and it is pooled and counted like a word"
    ]


def left_out(corpus: Corpus, is_kept: NDArray[np.bool_], max_tokens: int, *, drops_languages: bool) -> list[str]:
    """Warnings of what is lost with texts that are too long.

    Args:
        corpus: All texts.
        is_kept: Which of them are not too long.
        max_tokens: Most tokens of a text.
        drops_languages: Whether a language may lose all of its texts.

    Raises:
        CorpusError: If no text is left, or a language has none left that may not be dropped.
    """
    n_left = int(is_kept.sum())
    if n_left == 0:
        raise CorpusError(f"every text has more than {max_tokens} tokens; nothing is left to extract")
    sizes = {}
    for language in corpus.languages:
        rows = is_kept[corpus.language_slice(language)]
        sizes[language] = (int((~rows).sum()), len(rows))
    lost = [language for language, (n_long, n_texts) in sizes.items() if n_long == n_texts]
    if lost and not drops_languages:
        raise CorpusError(
            f"every text in {listed(lost)} has more than {max_tokens} tokens, and the language would be dropped with them "
            f"({n_left:,} of {corpus.n_texts:,} texts would be left). Truncate, allow more with max_tokens, or say that "
            "languages may go: drops_languages (--drop-languages)"
        )
    parts = [f"{language} {n_long:,} of {n_texts:,}" for language, (n_long, n_texts) in sizes.items() if n_long]
    n_lost = corpus.n_texts - n_left
    lines = [f"{n_lost:,} of {corpus.n_texts:,} texts have more than {max_tokens} tokens and are left out: {listed(parts)}"]
    if lost:
        lines.append(f"no text is left in {listed(lost)}")
    kept = corpus.keep(is_kept)
    return lines + [line for line in kept.lacking if line not in corpus.lacking]
