"""Probabilities of answers: the sum over the first tokens of all words, each once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.intervene.concepts.answers import Answers, answers_of
from actlas.intervene.concepts.latents import prompt_rows
from actlas.query import open_store
from tests.intervene.concepts.models import word_tokenizer


def test_tokens_are_summed_and_rows_found_by_their_pair() -> None:
    ids = np.array([[[[0, 1]], [[2, -1]]], [[[3, -1]], [[0, 2]]]])
    answers = Answers(np.array([4, 9]), ("en",), ids)
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]).log()
    found = answers.probabilities(logits, np.array([9, 4]))
    np.testing.assert_allclose(found[:, :, 0], [[0.4, 0.4], [0.7, 0.2]], rtol=1e-6)


def test_synonyms_count_with_and_without_a_space(prompt_store: Path) -> None:
    tokenizer = HfTokenizer(word_tokenizer())
    prompts = prompt_rows(open_store(prompt_store))
    answers = answers_of(prompts, ["fr", "en"], tokenizer, '"')
    vocabulary = word_tokenizer().get_vocab()
    for row, (source, target) in enumerate(prompts.pairs.select("source_concept", "target_concept").iter_rows()):
        for number, concept in enumerate((source, target)):
            wanted = {vocabulary[piece] for piece in (concept[:6], f" {concept[:6]}")}
            assert set(answers.ids[row, number, 1].tolist()) - {-1} == wanted
