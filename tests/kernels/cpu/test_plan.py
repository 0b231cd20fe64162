import numpy as np

from actlas.kernels import prepare_labels
from actlas.kernels.cpu.plan import Plan


def test_label_words_hold_thirty_two_concepts_each():
    is_concept = np.random.default_rng(0).random((50, 40)) < 0.5
    labels = Plan.of(prepare_labels(is_concept), ("ap",), 0.0).call.labels
    assert labels.words.shape == (2, 50)
    for place, concept in enumerate(labels.concept):
        bits = labels.words[place // 32] >> np.uint32(place % 32) & np.uint32(1)
        assert bits.astype(bool).tolist() == is_concept[:, concept].tolist()


def test_ranking_is_left_out_where_no_statistic_needs_it():
    is_concept = np.array([[True], [False]])
    assert not Plan.of(prepare_labels(is_concept), ("mean", "std", "p_active_off", "n_member"), 0.0).call.request.needs_rank
    assert Plan.of(prepare_labels(is_concept), ("mean", "q0.1"), 0.0).call.request.needs_rank


def test_dense_way_pays_where_many_texts_are_positive():
    rng = np.random.default_rng(0)
    sparse, dense = (Plan.of(prepare_labels(rng.random((4000, 16)) < share), ("ap",), 0.0).call.labels for share in (0.01, 0.5))
    assert sparse.sparse_cost[0] < 4000 * sparse.dense_cost[0]
    assert dense.sparse_cost[0] > 4000 * dense.dense_cost[0]


def test_whole_words_of_ranks_find_their_inverse():
    for n_texts in (2, 63, 64, 65, 1700):
        inverse = Plan.of(prepare_labels(np.arange(n_texts)[:, None] < 1), ("ap",), 0.0).call.inverse
        assert inverse.size > 64 * -(-n_texts // 64)
        assert inverse[1 : n_texts + 1].tolist() == [1 / i for i in range(1, n_texts + 1)]


def test_auroc_looks_at_every_text_where_many_are_positive():
    rng = np.random.default_rng(0)
    few, many = (Plan.of(prepare_labels(rng.random((4000, 32)) < share), ("auroc",), 0.0).call.labels for share in (0.01, 0.5))
    assert not few.adds_all[0]
    assert many.adds_all[0]


def test_positives_are_listed_only_for_statistics_that_visit_them():
    is_concept = np.random.default_rng(0).random((50, 4)) < 0.5
    assert Plan.of(prepare_labels(is_concept), ("ap", "best_f1"), 0.0).call.labels.positives.size == 0
    for stat in ("auroc", "mean", "std", "p_active_off"):
        assert Plan.of(prepare_labels(is_concept), ("ap", stat), 0.0).call.labels.positives.size == is_concept.sum()
