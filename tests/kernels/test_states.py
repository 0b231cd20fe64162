from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlas.errors import KernelInputError
from actlas.kernels import CountState, HistogramState, MomentState, concept_scores, lape
from actlas.kernels.states import HISTOGRAM_STATS, MOMENT_STATS

M, C = 3, 2


def make_blocks(seed, dtype=np.float16):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, 5)
    scale = 10.0 ** rng.integers(-3, 4)
    return [
        ((rng.standard_normal((M, n)) * scale + scale).astype(dtype), rng.random((n, C)) < 0.4, rng.random((n, C)) < 0.8)
        for n in sizes
    ]


def joined(blocks):
    return (
        np.concatenate([block[0] for block in blocks], axis=1),
        np.concatenate([block[1] for block in blocks]),
        np.concatenate([block[2] for block in blocks]),
    )


def arrays(state):
    return [np.asarray(part).tolist() for part in vars(state).values()]


def new_state(kind):
    if kind == "moments":
        return MomentState.init(M, C, threshold=0.5)
    return HistogramState.init(np.full(M, -3.0), np.full(M, 3.0), C)


@pytest.mark.parametrize("kind", ["moments", "histograms"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_merging_in_any_order_gives_the_same_integers(kind, seed, data):
    blocks = make_blocks(seed)
    whole = new_state(kind).update(*joined(blocks))
    order = data.draw(st.permutations(range(len(blocks))))
    states = [new_state(kind).update(*blocks[i]) for i in order]
    assert arrays(reduce(lambda a, b: a.merge(b), states)) == arrays(whole)
    assert arrays(reduce(lambda a, b: b.merge(a), states)) == arrays(whole)
    one_by_one = new_state(kind)
    for i in order:
        one_by_one.update(*blocks[i])
    assert arrays(one_by_one) == arrays(whole)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_moments_are_those_of_the_reference(seed):
    values, is_concept, is_member = joined(make_blocks(seed))
    found = MomentState.init(M, C, threshold=0.5).update(values, is_concept, is_member).finish()
    expected = concept_scores(values, is_concept, MOMENT_STATS, is_member, threshold=0.5, backend="reference")
    for stat in MOMENT_STATS:
        np.testing.assert_allclose(found[stat], expected[stat], rtol=1e-12, atol=1e-12 * np.abs(values).max(), err_msg=stat)


@pytest.mark.parametrize("kind", ["moments", "histograms"])
def test_a_shared_member_set_changes_no_answer_and_is_kept_once(kind):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((M, 50)).astype(np.float16)
    is_concept, is_member = rng.random((50, 4)) < 0.4, rng.random((50, 2))[:, [0, 1, 1, 0]] < 0.8
    which = [0, 1, 1, 0]
    if kind == "moments":
        own, shared = MomentState.init(M, 4), MomentState.init(M, 4, member_set=which)
    else:
        ends = (np.full(M, -2.0), np.full(M, 2.0), 4)
        own, shared = HistogramState.init(*ends), HistogramState.init(*ends, member_set=which)
    answers = [state.update(values, is_concept, is_member).finish() for state in (own, shared)]
    assert (own.count.size, shared.count.size) == (8, 6)
    for stat, scores in answers[0].items():
        np.testing.assert_array_equal(scores, answers[1][stat], err_msg=stat)
    with pytest.raises(KernelInputError, match="differ in is_member"):
        shared.update(values, is_concept, is_member[:, [0, 1, 0, 1]])
    for wrong in ([0, 1, 1], [1, 2, 2, 1]):
        with pytest.raises(KernelInputError, match="one number per concept, counted from 0"):
            MomentState.init(M, 4, member_set=wrong)


def test_more_texts_than_a_histogram_counts_are_refused():
    state = HistogramState.init(np.zeros(1), np.ones(1), 1)
    state.count[:] = 2**31
    with pytest.raises(KernelInputError, match="more than a histogram state counts"):
        state.merge(state)


def test_spread_of_equal_values_is_zero_whatever_their_size():
    values = np.full((1, 5000), 60000.0, np.float16)
    is_concept = np.arange(5000)[:, None] < 2500
    found = MomentState.init(1, 1).update(values, is_concept).finish(("std", "mean"))
    assert found["std"].item() == 0.0
    assert found["mean"].item() == float(np.float16(60000.0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_histogram_statistics_are_those_of_the_codes(seed):
    values, is_concept, is_member = joined(make_blocks(seed))
    low, high = values.astype(float).min(1) - 1e-3, values.astype(float).max(1) + 1e-3
    state = HistogramState.init(low, high, C).update(values, is_concept, is_member)
    codes = state.code(values).astype(np.float32)
    stats = (*HISTOGRAM_STATS, "q0.25")
    expected = concept_scores(codes, is_concept, stats, is_member, backend="reference")
    found = state.finish(stats)
    width = (high - low)[:, None] / 256
    for stat in stats:
        level = expected[stat]
        if stat in ("median", "p90", "q0.25"):
            level = low[:, None] + (level + 0.5) * width
        np.testing.assert_allclose(found[stat], level, rtol=1e-12, atol=1e-12, err_msg=stat)


def test_codes_never_reverse_an_order_and_hold_what_lies_outside():
    state = HistogramState.init(np.array([-1.0]), np.array([1.0]), 1)
    x = np.sort(np.random.default_rng(0).standard_normal((1, 500)).astype(np.float32))
    codes = state.code(x)[0].astype(int)
    assert (np.diff(codes) >= 0).all()
    assert codes[[0, -1]].tolist() == [0, 255]


def test_counts_feed_lape():
    rng = np.random.default_rng(0)
    blocks = [(rng.standard_normal((4, n)).astype(np.float16), language) for n, language in ((30, 0), (1, 1), (50, 1), (20, 0))]
    states = [CountState.init(2, 4, thresholds=(0.0, 0.5)).update(values, language) for values, language in blocks]
    state = reduce(lambda a, b: b.merge(a), states)
    assert state.n_tokens.tolist() == [50, 51]
    for i, threshold in enumerate((0.0, 0.5)):
        for language in range(2):
            tokens = np.concatenate([values for values, of in blocks if of == language], axis=1)
            assert state.active[i, language].tolist() == (tokens.astype(float) > threshold).sum(1).tolist()
    np.testing.assert_array_equal(lape(state.active[0], state.n_tokens).p_active, state.finish()[0])


def test_a_threshold_that_the_dtype_cannot_hold_is_not_rounded():
    x = np.array([[np.float16(0.1)]])  # 0.0999755859375
    assert CountState.init(1, 1, thresholds=(0.09998, 0.09997)).update(x, 0).active[:, 0, 0].tolist() == [0, 1]


def test_states_that_do_not_belong_together_do_not_merge():
    with pytest.raises(KernelInputError, match="different threshold"):
        MomentState.init(1, 1, threshold=0.0).merge(MomentState.init(1, 1, threshold=1.0))
    with pytest.raises(KernelInputError, match="do not merge"):
        MomentState.init(1, 1).merge(MomentState.init(2, 1))


def test_what_a_state_cannot_hold_or_answer_is_refused_and_leaves_it_unchanged():
    state = MomentState.init(1, 1)
    with pytest.raises(KernelInputError, match="below 65536"):
        state.update(np.array([[1e5, 1.0]], np.float32), np.array([[True], [False]]))
    assert state.count.sum() == 0
    with pytest.raises(KernelInputError, match="'ap' does not come out"):
        state.finish(("ap",))
    with pytest.raises(KernelInputError, match="1 neurons and 1 concepts; got 2"):
        state.update(np.ones((2, 2), np.float16), np.array([[True], [False]]))


def test_the_slack_of_ap_holds_whatever_the_values_behind_the_codes_were():
    chance = np.random.default_rng(3)
    values = chance.normal(size=(6, 40)).astype(np.float32)
    values[:3, 0] = 300.0
    labels = chance.random((40, 2)) < 0.4
    state = HistogramState.init(values.min(1).astype(np.float64), values.max(1).astype(np.float64), 2).update(values, labels)
    coded, slack = state.finish(("ap",))["ap"], state.ap_slack()
    codes = state.code(values).astype(np.float64)
    seen = [concept_scores(values, labels, stats=("ap",), backend="reference")["ap"]]
    for broken in range(40):
        ties = chance.integers(0, 1 + broken, codes.shape) / 100 + 0.5 * chance.random() * labels[:, broken % 2]
        seen.append(concept_scores((codes + ties).astype(np.float32), labels, stats=("ap",), backend="reference")["ap"])
    for concept in range(2):
        # positives of a code one by one behind the rest, and together before it
        order = np.argsort(chance.random(40)) / 1000
        for ties in (np.where(labels[:, concept], -0.1 - order, 0.0), 0.5 * labels[:, concept]):
            seen.append(concept_scores((codes + ties).astype(np.float32), labels, stats=("ap",), backend="reference")["ap"])
    largest, smallest = np.max(seen, axis=0), np.min(seen, axis=0)
    np.testing.assert_allclose(largest - smallest, slack, atol=1e-9)
    assert ((smallest <= coded + 1e-9) & (coded <= largest + 1e-9)).all()
    assert slack[:3].min() > 0.15 > 0.1 > slack[3:].max()
    assert np.isnan(HistogramState.init(np.zeros(1), np.ones(1), 1).ap_slack()).all()
