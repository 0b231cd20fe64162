"""Which two concepts make a pair: words whose first tokens tell them apart, each used about as often as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actlas.extract.backends.base import TextTokenizer


@dataclass(frozen=True)
class ConceptPair:
    """A concept that latents are taken of, and one whose prompt they are put into.

    Attributes:
        source: Name of the first.
        target: Name of the second.
        source_shots: Concepts that are translated before the source concept.
        target_shots: The same before the target concept; none of these is in `source_shots`, nor is one of the pair in either.
    """

    source: str
    target: str
    source_shots: tuple[str, ...]
    target_shots: tuple[str, ...]


def first_tokens(tokenizer: TextTokenizer, words: Sequence[str], before: str) -> dict[str, frozenset[int]]:
    """Ids of the tokens that a word can begin with in an answer: as it follows on a prompt, with and without a space.

    A word is tokenised behind what stands before it in a prompt, since many tokenizers would take it for the beginning of a text
    otherwise. Where a token holds both (`"book`), the word alone decides. A token that is nothing but space begins no word.

    Args:
        tokenizer: Of the model.
        words: Any.
        before: Character that the prompt ends with.

    Returns:
        word -> ids.
    """
    variants = [(word, space + word) for word in dict.fromkeys(words) for space in ("", " ")]
    behind = _first_ids(tokenizer, [before + text for _, text in variants], len(before))
    alone = _first_ids(tokenizer, [text for _, text in variants], 0)
    found: dict[str, set[int]] = {}
    for (word, _), here, there in zip(variants, behind, alone, strict=True):
        chosen = there if here is None else here
        found.setdefault(word, set()).update([] if chosen is None else [chosen])
    return {word: frozenset(ids) for word, ids in found.items()}


def _first_ids(tokenizer: TextTokenizer, texts: list[str], n_before: int) -> list[int | None]:
    """The first token of each text that is more than space and begins at a character or later; None where one goes across it."""
    encoded = tokenizer.encode(texts, add_special=False)
    found: list[int | None] = []
    for text, ids, places in zip(texts, encoded.token_ids, encoded.places, strict=True):
        starts, stops = places[:, 0], places[:, 1]
        if ((starts < n_before) & (stops > n_before)).any():
            found.append(None)
            continue
        own = (row for row in range(len(ids)) if starts[row] >= n_before and text[starts[row] : stops[row]].strip())
        row = next(own, None)
        found.append(None if row is None else int(ids[row]))
    return found


def compatible(tokens: Mapping[str, frozenset[int]]) -> NDArray[np.bool_]:
    """Which concepts share no first token.

    Args:
        tokens: concept -> ids of the first tokens of all its words, in all languages.

    Returns:
        bool ``"concepts concepts"``, symmetric. A concept is compatible with no concept if it has no token.

    Example:
        >>> compatible({"sun": frozenset([1, 2]), "sea": frozenset([3]), "son": frozenset([2])}).astype(int).tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    ids = {number: column for column, number in enumerate(sorted({one for own in tokens.values() for one in own}))}
    has = np.zeros((len(tokens), len(ids)), dtype=np.float32)
    for row, own in enumerate(tokens.values()):
        has[row, [ids[one] for one in own]] = 1
    is_known = np.asarray(has.any(axis=1))
    return np.asarray((has @ has.T == 0) & is_known[:, None] & is_known[None, :])


def choose_pairs(
    names: Sequence[str], is_compatible: NDArray[np.bool_], n_pairs: int, n_shots: int, seed: int
) -> list[ConceptPair]:
    """Pairs of concepts, with the concepts that are translated before them; the same arguments give the same pairs.

    The concept that was used least is taken first, in each of its parts by itself; where several were, chance decides.

    Args:
        names: Of the concepts; at least 2 n_shots + 2.
        is_compatible: As `compatible` gives it, with at least n_pairs true cells.
        n_pairs: How many; no ordered pair is taken twice.
        n_shots: Concepts that are translated before each.
        seed: Of what is left to chance.

    Example:
        >>> pairs = choose_pairs(["sun", "sea", "bed", "egg"], ~np.eye(4, dtype=bool), 4, 1, seed=42)
        >>> sorted(pair.source for pair in pairs), sorted(pair.target for pair in pairs)
        (['bed', 'egg', 'sea', 'sun'], ['bed', 'egg', 'sea', 'sun'])
    """
    rng = np.random.default_rng(seed)
    left: NDArray[np.bool_] = is_compatible.copy()
    used = {part: np.zeros(len(names), dtype=np.int64) for part in ("source", "target", "shot")}

    def least(part: str, may: NDArray[np.bool_], n: int) -> list[int]:
        order = np.lexsort((rng.permutation(len(names)), used[part]))
        chosen = [int(row) for row in order if may[row]][:n]
        used[part][chosen] += 1
        return chosen

    pairs = []
    for _ in range(n_pairs):
        (source,) = least("source", np.asarray(left.any(axis=1)), 1)
        (target,) = least("target", left[source], 1)
        left[source, target] = False
        others = np.ones(len(names), dtype=bool)
        others[[source, target]] = False
        shots = [names[row] for row in least("shot", others, 2 * n_shots)]
        pairs.append(ConceptPair(names[source], names[target], tuple(shots[n_shots:]), tuple(shots[:n_shots])))
    return pairs
