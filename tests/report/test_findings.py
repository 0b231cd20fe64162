import polars as pl
import pytest

from actlas.report.findings import ap_findings, concept_findings, overlap_findings, probe_findings


def overlap(*values, ratio=0.5, null=0.05, half=0.01, p_value=0.01):
    """A frame of `overlap_over_training` whose intervals reach `half` to either side."""
    n = len(values)
    return pl.DataFrame(
        {
            "position": range(n),
            "step": [str(64 * i) for i in range(n)],
            "overlap": values,
            "low": [None if value is None else value - half for value in values],
            "high": [None if value is None else value + half for value in values],
            "null": [null] * n,
            "null_independent": [0.021] * n,
            "p_value": [p_value] * n,
            "n_repeats": [99] * n,
            "other_concept": [0.03] * n,
            "chance": [0.02] * n,
            "ceiling": [0.4] * n,
            "cross_half": [0.2] * n,
            "corrected_ratio": [ratio] * n,
        },
        strict=False,
    )


def twin(value, **changes):
    """A frame of `overlap_of_twins`."""
    names = pl.DataFrame({"checkpoint": ["m-random0"], "control": ["random-weights twin of m-step9, seed 0"]})
    return names.hstack(overlap(value, **changes).drop("position", "step"))


def probe(by_place):
    rows = [
        ("language", place, order, position, str(64 * position), accuracy, 0.0, 0.2)
        for order, (place, course) in enumerate(by_place.items())
        for position, accuracy in enumerate(course)
    ]
    columns = ["label", "place", "place_order", "position", "step", "accuracy", "deviation", "chance"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_the_course_of_one_store():
    (said,) = overlap_findings([("model", overlap(0.03, 0.05, 0.4))])
    assert said == (
        "model: experts of one concept in two languages share 40.0% of their neurons at step 128 (95% interval 39.0% to 41.0%). "
        "Labels without meaning give 5.0% where translations keep theirs together and 2.1% where each language has its own; "
        "another concept gives 3.0%, chance 2.0%. It lies 35.0 points above the first of these (p = 0.01 of 99 permutations). "
        "At step 0 it is 3.0% (95% interval 2.0% to 4.0%), 2.0 points below that null of 5.0%; the largest rise is between step "
        "64 and 128. Between disjoint halves of the texts, two languages share 20.0%, one language with itself 40.0%; less what "
        "labels without meaning give, that is 50% of this ceiling."
    )


def test_what_permuted_labels_reach_as_well_is_no_finding():
    (said,) = overlap_findings([("model", overlap(0.06, p_value=0.2))])
    assert "It lies 1.0 points above the first of these (p = 0.2 of 99 permutations), as labels without meaning may." in said
    (said,) = overlap_findings([("model", overlap(0.03, p_value=1.0))])
    assert "It lies 2.0 points below the first of these (p = 1 of 99 permutations). " in said


def test_a_store_without_a_ceiling_a_null_or_a_course():
    (said,) = overlap_findings([("model", overlap(0.4, ratio=None))])
    assert "rise" not in said
    assert said.endswith(
        "What a language shares with itself between disjoint halves is not clear of its null: there is no ratio."
    )
    (said,) = overlap_findings([("model", overlap(0.4, null=None))])
    assert "There is no null to hold it against." in said
    (said,) = overlap_findings([("model", overlap(None, None))])
    assert "share unknown of their neurons" in said


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (0.4, 0.07, "and 2.0 points in control (1.0 to 3.0): the intervals are apart, and experts are shared more in model."),
        (0.07, 0.4, "in control (34.0 to 36.0): the intervals are apart, and experts are shared more in control."),
        # 1.5 times as much, and more: a factor is no evidence
        (0.065, 0.055, "no difference is shown"),
        (0.02, 0.02, "no difference is shown"),
    ],
)
def test_the_control_is_held_against_the_model(ours, theirs, said):
    comparison = overlap_findings([("model", overlap(0.03, ours)), ("control", overlap(0.03, theirs))])[-1]
    assert said in comparison


def test_each_store_is_measured_from_its_own_null():
    frames = [("model", overlap(0.3, null=0.29)), ("control", overlap(0.1, null=0.02))]
    assert "shared more in control" in overlap_findings(frames)[-1]


def test_intervals_that_are_apart_are_no_finding_where_neither_is_above_its_null():
    frames = [("model", overlap(0.2, p_value=0.4)), ("control", overlap(0.1, p_value=0.4))]
    assert "no difference is shown" in overlap_findings(frames)[-1]


def test_a_random_twin_is_held_against_the_model_it_is_a_twin_of():
    frames, twins = [("model", overlap(0.4)), ("control", overlap(0.3))], [("model", twin(0.06)), ("control", twin(0.06))]
    said = overlap_findings(frames, twins)
    assert len(said) == 4
    assert "and 1.0 points in its random-weights twin of m-step9, seed 0 (0.0 to 2.0)" in said[-1]
    assert said[-1].endswith("experts are shared more in model.")
    unknown = overlap_findings(frames[:1], [("model", twin(0.06, null=None))])[-1]
    assert "cannot be compared" in unknown


@pytest.mark.parametrize(
    ("course", "said"),
    [
        ((0.3, 0.2, 0.1), "(95% interval 29.0% to 31.0%), 25.0 points above that null of 5.0%: it falls."),
        ((0.1, 0.2, 0.11), "no change is shown, for the intervals meet."),
    ],
)
def test_overlap_that_does_not_rise_claims_no_rise(course, said):
    (sentence,) = overlap_findings([("model", overlap(*course))])
    assert said in sentence
    assert "rise" not in sentence


def test_concepts_are_counted_at_the_last_checkpoint_that_was_tested():
    frame = pl.DataFrame({"position": [0, 1], "step": ["0", "64"], "n_tests": [24, 24], "n_found": [1, 22]})
    assert concept_findings([("model", frame), ("control", frame.clear())]) == [
        "model: at step 64, 22 of 24 concepts are shared more than labels without meaning give, at a false discovery rate of 5%."
    ]


@pytest.mark.parametrize(
    ("course", "ending"),
    [
        ((0.3, 0.1, 0.4), "with a low of 0.10 at step 64, so it does not simply rise with training."),
        ((0.3, 0.2), "so it does not rise with training."),
        ((0.1, 0.2, 0.3), "and 0.30 at step 128."),
    ],
)
def test_course_of_ap(course, ending):
    frame = pl.DataFrame({"position": range(len(course)), "step": [str(64 * i) for i in range(len(course))], "ap": course})
    (said,) = ap_findings([("model", frame)])
    assert said.endswith(ending)


def test_one_checkpoint_has_no_course_of_ap():
    assert ap_findings([("model", pl.DataFrame({"position": [0], "step": ["0"], "ap": [0.3]}))]) == []


def test_a_fall_is_no_evidence_where_the_control_falls_as_far():
    model = probe({"embed": (0.5, 0.7), "resid 0": (0.9, 0.8), "resid 1": (0.8, 0.9)})
    control = probe({"embed": (0.5, 0.7), "resid 0": (0.9, 0.7), "resid 1": (0.8, 0.9)})
    said = probe_findings([("model", model), ("control", control)])
    assert "model: accuracy falls furthest at resid 0, by 10.0 points from its peak at step 0." in said
    assert "control falls as far or further, so the fall in model is no evidence of shared representations." in said
    assert "At the last checkpoint the mean over layers is 80.0% in model, 76.7% in control." in said


@pytest.mark.parametrize(
    ("end_of_control", "said"),
    [
        (0.88, "Accuracy falls 8.0 points further in model than in control."),
        (0.81, "control falls 1.0 points less than model, which is too little to call a difference"),
        (0.80, "control falls as far or further"),
    ],
)
def test_falls_are_compared(end_of_control, said):
    model = probe({"resid 0": (0.9, 0.8)})
    control = probe({"resid 0": (0.9, end_of_control)})
    assert any(line.startswith(said) for line in probe_findings([("model", model), ("control", control)]))


def test_layers_with_and_without_a_dip():
    rising = probe({"embed": (0.5,), "resid 0": (0.7,), "resid 1": (0.9,)})
    dipping = probe({"embed": (0.9,), "resid 0": (0.6,), "resid 1": (0.9,)})
    said = probe_findings([("a", rising), ("b", dipping)])
    assert "a: at step 0 no layer lies clearly below both the first and the last: there is no dip in the middle." in said
    assert "b: at step 0 the middle layers lie 30.0 points below both ends." in said
    assert "a: accuracy falls at no layer by more than 2.0 points after its peak." in said


def test_two_layers_have_no_middle():
    said = probe_findings([("a", probe({"embed": (0.5,), "resid 0": (0.7,)}))])
    assert len(said) == 1
