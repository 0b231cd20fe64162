"""From vLLM's line of tokens back to texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import ExtractionError
from actlas.extract.backends.vllm.flat_batch import PromptLedger, segments

LISTS = [[5, 6, 7], [5, 6], [8, 9], [5, 6, 7, 8]]


def line(lists):
    return np.concatenate([np.array(ids) for ids in lists]), np.concatenate([np.arange(len(ids)) for ids in lists])


def take(ledger, lists):
    return ledger.take(*line(lists))


def ledger_of(blocks, lists, rows=None):
    return PromptLedger(blocks(lists), np.arange(len(lists)) if rows is None else np.array(rows))


def test_texts_are_found_whatever_order_they_ran_in(blocks):
    ledger = ledger_of(blocks, LISTS)
    parts = take(ledger, [LISTS[3], LISTS[1], LISTS[2]])
    assert [(part.first, part.last, part.batch.rows.tolist()) for part in parts] == [(0, 4, [3]), (4, 8, [1, 2])]
    assert parts[1].batch.token_ids.tolist() == [LISTS[1], LISTS[2]]
    take(ledger, [LISTS[0]])
    ledger.check_empty()


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=12), st.randoms())
def test_any_order_gives_every_row_once(lists, chance):
    from tests.extract.conftest import block_of

    ledger = PromptLedger(block_of(lists), np.arange(len(lists)))
    order = list(range(len(lists)))
    chance.shuffle(order)
    parts = take(ledger, [lists[i] for i in order])
    found = {}
    for part in parts:
        ids, _ = line([lists[i] for i in order])
        rectangle = ids[part.first : part.last].reshape(len(part.batch.rows), -1)
        found |= {int(row): ids.tolist() for row, ids in zip(part.batch.rows, rectangle, strict=True)}
    assert found == dict(enumerate(lists))
    ledger.check_empty()


def test_equal_texts_are_seen_as_often_as_they_were_submitted(blocks):
    ledger = ledger_of(blocks, [[4, 5], [4, 5]])
    parts = take(ledger, [[4, 5], [4, 5]])
    assert sorted(parts[0].batch.rows.tolist()) == [0, 1]
    with pytest.raises(ExtractionError, match=r"2 tokens \(4, 5, ...\) that are no text that was submitted and not yet seen"):
        take(ledger, [[4, 5]])


def test_a_text_whose_beginning_was_cached_is_refused(blocks):
    ids, positions = line([LISTS[3]])
    with pytest.raises(ExtractionError, match="began with position 2, so tokens are missing before it: chunked prefill, prefix"):
        ledger_of(blocks, LISTS).take(ids[2:], positions[2:])


def test_a_text_that_was_cut_is_refused(blocks):
    ids, positions = line([LISTS[3]])
    with pytest.raises(ExtractionError, match="3 tokens"):
        PromptLedger(blocks([LISTS[3]]), np.array([0])).take(ids[:3], positions[:3])


def test_a_later_text_without_its_beginning_is_refused(blocks):
    with pytest.raises(ExtractionError, match="jumps from position 1 to 3"):
        ledger_of(blocks, LISTS).take(np.array([5, 6, 8]), np.array([0, 1, 3]))


def test_a_decoding_step_is_refused(blocks):
    with pytest.raises(ExtractionError, match="began with position 3"):
        ledger_of(blocks, LISTS).take(np.array([1]), np.array([3]))


def test_texts_that_never_came_are_told(blocks):
    ledger = ledger_of(blocks, LISTS)
    take(ledger, [LISTS[0]])
    with pytest.raises(ExtractionError, match=r"3 of the texts .* never went through the model, the first is text 10:"):
        ledger.check_empty()


def test_several_positions_per_token_are_refused():
    with pytest.raises(ExtractionError, match=r"positions of shape \(3, 4\)"):
        segments(np.zeros((3, 4), dtype=np.int64))
