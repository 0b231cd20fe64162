import polars as pl
import pytest

from actlas.errors import TableNotFound
from actlas.query.probing.probes import train_probes
from actlas.report.measures import (
    Labelled,
    concept_tests,
    expert_ap,
    expert_places,
    gathered,
    overlap_of_twins,
    overlap_over_training,
    probe_accuracy,
    probe_penalties,
)
from actlas.report.parts import CHECKPOINTS, EXPERT_AP, OVERLAP_COLUMNS


def test_rows_of_several_stores_have_their_store_in_front(shared, apart):
    frame = gathered(EXPERT_AP, [shared, apart])
    assert frame.columns == ["store", "position", "step", "ap"]
    assert frame["store"].to_list() == ["model"] * 3 + ["control"] * 3
    assert frame["ap"].to_list() == [*expert_ap(shared)["ap"], *expert_ap(apart)["ap"]]


def test_overlap_rises_where_more_neurons_are_shared(shared):
    frame = overlap_over_training(shared)
    assert frame["step"].to_list() == ["0", "64", "128"]
    assert frame["overlap"].is_sorted()
    assert frame["overlap"][-1] > frame["overlap"][0]


def test_a_random_twin_stands_apart_from_the_steps(shared, twinned_store):
    twinned = Labelled("model", twinned_store)
    assert overlap_over_training(twinned)["step"].to_list() == ["64", "128"]
    assert expert_ap(twinned)["step"].to_list() == ["64", "128"]
    rows = overlap_of_twins(twinned)
    assert rows.columns == ["checkpoint", "control", *(name.strip('"') for name in OVERLAP_COLUMNS)]
    assert rows["control"].to_list() == ["random-weights twin of planted-step128, seed 0"]
    assert rows["overlap"][0] < overlap_over_training(twinned)["overlap"][-1] / 2
    assert overlap_of_twins(shared).is_empty()


def test_concepts_that_were_found_are_counted(twinned_store):
    frame = concept_tests(Labelled("model", twinned_store))
    assert frame.rows() == [(1, "128", 4, 4)]


def test_means_agree_with_the_table_of_pairs(shared, shared_store):
    pairs = shared_store.scan("overlap").collect().group_by("checkpoint").agg(pl.col("overlap").mean())
    expected = pairs.join(shared.ask(CHECKPOINTS), on="checkpoint").sort("position")["overlap"]
    assert overlap_over_training(shared)["overlap"].to_list() == pytest.approx(expected.to_list())


def test_expert_ap_is_the_mean_over_experts(shared, shared_store):
    last = shared_store.scan("experts").filter(pl.col("checkpoint") == "planted-step128").collect()["ap"].mean()
    assert expert_ap(shared)["ap"][-1] == pytest.approx(last)


def test_probe_accuracy_is_averaged_over_seeds_and_embeddings_come_first(shared):
    frame = probe_accuracy(shared)
    assert frame["place"].unique(maintain_order=True).to_list() == ["embed", "resid 0", "resid 1"]
    last = frame.filter(pl.col("step") == "128")
    assert last["accuracy"].to_list() == pytest.approx([0.5, 0.7, 0.9])
    assert last["deviation"].to_list() == pytest.approx([0.01] * 3)


def test_penalties_of_probes_are_told_as_chosen_or_as_named(shared, twinned_store):
    # published by hand, without a word on a choice
    assert probe_penalties(shared, "language") == "with C = 0.1"
    train_probes(twinned_store, sites=["embed"], c_grid=(0.1, 1.0))
    words = probe_penalties(Labelled("m", twinned_store), "language")
    assert words.startswith("each with the penalty that was best on a part of its training texts (C = ")
    assert words.endswith(("= 0.1)", "= 1)", "= 0.1 to 1)"))


def test_places_of_experts_add_up_to_one(shared):
    frame = expert_places(shared)
    sums = frame.group_by("position").agg(pl.col("share").sum(), pl.col("even").sum())
    assert sums["share"].to_list() == pytest.approx([1.0] * 3)
    assert sums["even"].to_list() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    "measure", [overlap_over_training, overlap_of_twins, concept_tests, expert_ap, probe_accuracy, expert_places]
)
def test_what_was_not_computed_is_named(measure, bare_store):
    with pytest.raises(TableNotFound, match="was not computed yet: actlas"):
        measure(Labelled("bare", bare_store))
