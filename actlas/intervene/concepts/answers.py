"""What a model answers: how probable the words of a concept are as the next token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.extract.backends.base import TextTokenizer
from actlas.intervene.concepts.latents import PromptRows
from actlas.intervene.concepts.pairs import first_tokens

if TYPE_CHECKING:
    import torch

#: Whose words are looked for.
CONCEPTS = ("source", "target")


@dataclass(frozen=True)
class Answers:
    """First tokens of the words of both concepts of every pair, in every language.

    Attributes:
        pairs: Numbers of the pairs, ascending.
        languages: That are measured.
        ids: int64 ``"pairs concepts languages tokens"``, -1 where there are fewer tokens; concepts as in `CONCEPTS`.
    """

    pairs: NDArray[np.int64]
    languages: tuple[str, ...]
    ids: NDArray[np.int64]

    def probabilities(self, logits: torch.Tensor, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability that the next token begins a word of a concept: the sum over its first tokens.

        Args:
            logits: Of the next token, ``"rows tokens"``.
            pairs: Number of the pair that each row is about.

        Returns:
            ``"rows concepts languages"``.
        """
        import torch

        ids = torch.as_tensor(self.ids[np.searchsorted(self.pairs, pairs)], device=logits.device)
        of_token = logits.float().softmax(dim=-1)
        found = of_token.gather(1, ids.clamp(min=0).flatten(1)).reshape(ids.shape)
        summed: NDArray[np.float64] = (found * (ids >= 0)).sum(dim=-1).double().cpu().numpy()
        return summed


def answers_of(prompts: PromptRows, languages: Sequence[str], tokenizer: TextTokenizer, before: str) -> Answers:
    """First tokens of the answers to the prompts of a store.

    Args:
        prompts: Whose answers.
        languages: In which.
        tokenizer: Of the model.
        before: Character that prompts end with.
    """
    words: dict[tuple[int, str], dict[str, list[str]]] = {}
    for pair, role, answers in prompts.rows.select("pair", "role", "answers").unique(["pair", "role"]).iter_rows():
        words[pair, role] = json.loads(answers)
    every = [word for own in words.values() for language in languages for word in own[language]]
    first = first_tokens(tokenizer, every, before)
    pairs = prompts.pairs["pair"].cast(pl.Int64).to_numpy()
    sets = [
        [[sorted(frozenset().union(*(first[word] for word in words[pair, role][language]))) for language in languages]
         for role in CONCEPTS]
        for pair in pairs
    ]  # fmt: skip
    most = max(len(ids) for by_role in sets for by_language in by_role for ids in by_language)
    padded = [[[[*ids, *[-1] * (most - len(ids))] for ids in by_language] for by_language in by_role] for by_role in sets]
    return Answers(pairs, tuple(languages), np.array(padded, dtype=np.int64))
