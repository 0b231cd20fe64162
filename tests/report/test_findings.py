import polars as pl
import pytest

from actlas.report.findings import ap_findings, overlap_findings, probe_findings


def overlap(*values, ratio=0.5):
    n = len(values)
    return pl.DataFrame(
        {
            "position": range(n),
            "axis": [str(64 * i) for i in range(n)],
            "overlap": values,
            "other_concept": [0.03] * n,
            "null": [0.021] * n,
            "chance": [0.02] * n,
            "ceiling": [0.4] * n,
            "cross_half": [0.2] * n,
            "corrected_ratio": [ratio] * n,
        }
    )


def probe(by_place):
    rows = [
        ("language", place, order, position, str(64 * position), accuracy, 0.0, 0.2)
        for order, (place, course) in enumerate(by_place.items())
        for position, accuracy in enumerate(course)
    ]
    columns = ["label", "place", "place_order", "position", "axis", "accuracy", "deviation", "chance"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_the_course_of_one_store():
    (said,) = overlap_findings([("model", overlap(0.03, 0.05, 0.4))])
    assert "share 40.0% of their neurons at step 128 (chance 2.0%, labels without meaning 2.1%, another concept 3.0%)" in said
    assert "3.0% at step 0, with the largest rise between step 64 and 128" in said
    assert (
        "two languages share 20.0%, one language with itself 40.0%: 50% of the ceiling, less what labels without meaning share."
        in said
    )


def test_a_store_without_a_ceiling_or_a_course():
    (said,) = overlap_findings([("model", overlap(0.4, ratio=None))])
    assert "rise" not in said
    assert "ceiling" not in said


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (0.4, 0.07, "in control: experts are shared clearly more in model."),
        (0.07, 0.4, "in control: experts are shared clearly more in control."),
        (0.3, 0.28, "no clear difference"),
        (0.02, 0.02, "no clear difference"),
        (0.01, 0.015, "no clear difference"),
    ],
)
def test_the_control_is_held_against_the_model(ours, theirs, said):
    comparison = overlap_findings([("model", overlap(0.03, ours)), ("control", overlap(0.03, theirs))])[-1]
    assert said in comparison


def test_overlap_that_never_rises_claims_no_rise():
    (said,) = overlap_findings([("model", overlap(0.3, 0.2, 0.1))])
    assert "rise" not in said


@pytest.mark.parametrize(
    ("course", "ending"),
    [
        ((0.3, 0.1, 0.4), "with a low of 0.10 at step 64, so it does not simply rise with training."),
        ((0.3, 0.2), "so it does not rise with training."),
        ((0.1, 0.2, 0.3), "and 0.30 at step 128."),
    ],
)
def test_course_of_ap(course, ending):
    frame = pl.DataFrame({"position": range(len(course)), "axis": [str(64 * i) for i in range(len(course))], "ap": course})
    (said,) = ap_findings([("model", frame)])
    assert said.endswith(ending)


def test_one_checkpoint_has_no_course_of_ap():
    assert ap_findings([("model", pl.DataFrame({"position": [0], "axis": ["0"], "ap": [0.3]}))]) == []


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
