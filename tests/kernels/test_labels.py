import numpy as np
import pytest
import torch

from actlas.errors import KernelInputError
from actlas.kernels import concept_scores, prepare_labels
from actlas.kernels.cpu import plan
from actlas.kernels.labels import member_sets

VALUES = np.array([[3, 2, 1, 0], [0, 2, 2, 1]], dtype=np.float16)
IS_CONCEPT = np.array([[True], [False], [True], [False]])


def test_concepts_without_an_answer_are_left_out_and_the_rest_ordered_by_members_then_positives():
    is_concept = np.zeros((10, 5), bool)
    for concept, n_positive in enumerate((0, 2, 10, 5, 3)):
        is_concept[:n_positive, concept] = True
    is_member = np.ones_like(is_concept)
    is_member[9, 3] = False
    labels = prepare_labels(is_concept, is_member)
    assert labels.order.tolist() == [4, 1, 3]
    assert labels.member_set.tolist() == [-1, -1, 0]
    assert np.diff(labels.starts).tolist() == [3, 2, 5]
    assert labels.positives.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3, 4]
    assert labels.n_member.tolist() == [10, 10, 10, 9, 10]
    assert labels.n_whole == 2
    assert (labels.n_texts, labels.n_concepts) == (10, 5)


def test_equal_member_sets_are_one():
    is_member = np.array([[1, 1, 0, 1], [1, 0, 1, 0]], dtype=bool)
    which, sets = member_sets(is_member, np.array([3, 0, 1]))
    assert which.tolist() == [0, -1, 0]
    assert [texts.tolist() for texts in sets] == [[0]]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("has_members", [False, True])
def test_prepared_labels_give_the_same_numbers_as_arrays(backend, has_members):
    rng = np.random.default_rng(0)
    values, is_concept = rng.standard_normal((5, 60)).astype(np.float16), rng.random((60, 9)) < 0.3
    is_member = rng.random((60, 9)) < 0.8 if has_members else None
    labels = prepare_labels(is_concept, is_member)
    for threshold in (0.0, 0.5):
        for stats in (("ap",), ("mean", "p_active", "n_member")):
            prepared = concept_scores(values, labels, stats, threshold=threshold, backend=backend)
            expected = concept_scores(values, is_concept, stats, is_member, threshold=threshold, backend=backend)
            for stat in stats:
                np.testing.assert_array_equal(prepared[stat], expected[stat])


def test_labels_are_prepared_once_for_many_blocks(monkeypatch):
    made = []
    words = plan._label_words
    monkeypatch.setattr(plan, "_label_words", lambda *arguments: made.append(1) or words(*arguments))
    labels = prepare_labels(IS_CONCEPT)
    for _ in range(3):
        concept_scores(VALUES, labels, ("ap",))
    assert len(made) == 2  # of the concepts and of the member sets
    concept_scores(VALUES, labels, ("auroc",))
    assert len(made) == 2


def test_members_are_part_of_prepared_labels():
    labels = prepare_labels(IS_CONCEPT)
    with pytest.raises(KernelInputError, match="give is_member to prepare_labels"):
        concept_scores(VALUES, labels, is_member=np.ones_like(IS_CONCEPT))
    with pytest.raises(KernelInputError, match="is_concept has 4 texts, values have 3"):
        concept_scores(VALUES[:, :3], labels)


def test_torch_labels_are_prepared_too():
    labels = prepare_labels(torch.from_numpy(IS_CONCEPT))
    assert labels.is_concept.tolist() == IS_CONCEPT.tolist()
