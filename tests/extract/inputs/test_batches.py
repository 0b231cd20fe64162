import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.extract.inputs.batches import plan_batches, spans

LENGTHS = st.lists(st.integers(1, 60), min_size=0, max_size=80).map(np.array)


@given(LENGTHS, st.integers(1, 300))
def test_batches_cover_every_text_once_within_the_budget(lengths, budget):
    batches = plan_batches(lengths, budget)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
        assert (np.diff(lengths[batch]) >= 0).all()


@given(LENGTHS, st.integers(1, 300))
def test_the_plan_depends_on_the_arguments_alone(lengths, budget):
    first, second = plan_batches(lengths, budget), plan_batches(lengths.copy(), budget)
    assert [b.tolist() for b in first] == [b.tolist() for b in second]


def test_bucketing_pads_less_than_the_order_given():
    lengths = np.tile([3, 40], 50)
    padded = sum(len(batch) * lengths[batch].max() for batch in plan_batches(lengths, 400))
    assert padded == lengths.sum()


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        plan_batches(np.array([1]), 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(3, 5)), max_size=20))
def test_spans_cover_the_rows_in_order(pairs):
    starts, stops = np.array([a for a, _ in pairs], dtype=int), np.array([b for _, b in pairs], dtype=int)
    rebuilt = [(span.start, span.stop) for span in spans(starts, stops) for _ in range(span.first, span.last)]
    assert rebuilt == pairs


def test_a_batch_is_padded_on_the_right_and_knows_what_is_real(blocks):
    block = blocks([[5, 6, 7], [8], [9, 9]])
    batch = block.batch(np.array([1, 2, 0]), pad_id=0)
    assert batch.token_ids.tolist() == [[8, 0, 0], [9, 9, 0], [5, 6, 7]]
    assert batch.attention_mask.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert (batch.starts.tolist(), batch.stops.tolist(), batch.is_padded) == ([0, 0, 0], [1, 2, 3], True)
    assert batch.is_pooled is None


def test_special_tokens_at_the_ends_leave_a_range_and_inside_leave_a_mask(blocks):
    ends = np.array([True, False, False, True] * 2)
    batch = blocks([[1, 5, 6, 2]] * 2, is_special=ends).batch(np.array([0, 1]), pad_id=0)
    assert (batch.starts.tolist(), batch.stops.tolist(), batch.is_pooled) == ([1, 1], [3, 3], None)
    inside = np.array([False, True, False, False] * 2)
    batch = blocks([[1, 5, 6, 2]] * 2, is_special=inside).batch(np.array([0, 1]), pad_id=0)
    assert batch.is_pooled is not None
    assert batch.is_pooled.tolist() == [[True, False, True, True]] * 2


def test_padding_to_a_fixed_length(blocks):
    batch = blocks([[5, 6, 7], [8]]).batch(np.array([1, 0]), pad_id=4, pad_to=5)
    assert batch.token_ids.tolist() == [[8, 4, 4, 4, 4], [5, 6, 7, 4, 4]]
    assert batch.stops.tolist() == [1, 3]
