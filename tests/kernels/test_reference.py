"""The definitions against scikit-learn and numpy."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from actlas.kernels.reference import auroc, average_precision, best_f1, concept_scores_reference

TIE_SHARES = {"no ties": 1e6, "some ties": 4.0, "heavy ties": 1.0}


@pytest.mark.parametrize("grid", TIE_SHARES.values(), ids=TIE_SHARES.keys())
@pytest.mark.parametrize("n_texts", [2, 7, 63, 1000])
def test_rank_statistics_are_those_of_scikit_learn(n_texts, grid):
    rng = np.random.default_rng(n_texts)
    x = np.round(rng.standard_normal(n_texts) * grid) / grid
    y = rng.random(n_texts) < 0.3
    y[:2] = True, False
    assert average_precision(x, y) == pytest.approx(average_precision_score(y, x), abs=1e-12)
    assert average_precision(-x, y) == pytest.approx(average_precision_score(y, -x), abs=1e-12)
    assert auroc(x, y) == pytest.approx(roc_auc_score(y, x), abs=1e-12)
    f1, threshold = best_f1(x, y)
    precision, recall, _ = precision_recall_curve(y, x)
    with np.errstate(invalid="ignore"):
        assert f1 == pytest.approx(np.nanmax(2 * precision * recall / (precision + recall)), abs=1e-12)
    assert f1 == pytest.approx(f1_score(y, x >= threshold), abs=1e-12)


def test_a_constant_neuron_scores_the_prevalence():
    y = np.array([True, False, False, False])
    assert average_precision(np.zeros(4), y) == 0.25
    assert auroc(np.array([0.0, -0.0, 0.0, -0.0]), y) == 0.5


def test_best_threshold_is_the_highest_of_equally_good_ones():
    # thresholds 4 and 1 both give F1 = 2/3
    x, y = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, False, True])
    assert best_f1(x, y) == (pytest.approx(2 / 3), 4.0)


def test_values_of_positives_are_described_as_by_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 40)), rng.random((40, 1)) < 0.4
    scores = concept_scores_reference(x, y, None, ("mean", "mean_off", "std", "median", "p90", "q0.25", "p_active"), 0.1)
    inside = x[:, y[:, 0]]
    expected = {
        "mean": inside.mean(1),
        "mean_off": x[:, ~y[:, 0]].mean(1),
        "std": inside.std(1),
        "median": np.percentile(inside, 50, axis=1),
        "p90": np.percentile(inside, 90, axis=1),
        "q0.25": np.percentile(inside, 25, axis=1),
        "p_active": (inside > 0.1).mean(1),
    }
    for stat, numbers in expected.items():
        np.testing.assert_allclose(scores[stat][:, 0], numbers, atol=1e-12)


def test_texts_that_are_no_members_do_not_exist():
    rng = np.random.default_rng(1)
    x, y, member = rng.standard_normal((2, 30)), rng.random((30, 2)) < 0.4, rng.random((30, 2)) < 0.6
    scores = concept_scores_reference(x, y, member, ("ap", "auroc", "n_member"), 0.0)
    for concept in range(2):
        inside = member[:, concept]
        alone = concept_scores_reference(x[:, inside], y[inside, concept : concept + 1], None, ("ap", "auroc"), 0.0)
        assert scores["ap"][:, concept].tolist() == alone["ap"][:, 0].tolist()
        assert scores["auroc"][:, concept].tolist() == alone["auroc"][:, 0].tolist()
        assert scores["n_member"][0, concept] == inside.sum()
