"""Truth, end to end: what is written into a model's weights is what the whole pipeline finds, and a mistake in it shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import actlas
from actlas.extract.pooling import batch
from actlas.extract.sites import resolve
from actlas.names import LINEAR_SITES
from actlas.query import Atlas, first_shared
from actlas.testing import ModelPlan, planted_model
from tests.cuda.mutate import Mutation

SITES = (*(site for site in LINEAR_SITES if site != "mlp_up"), "mlp_hidden")
PLAN = ModelPlan()
_KEY = ["checkpoint", "concept", "language", "site", "layer", "neuron"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("truth") / "planted", PLAN)


@pytest.fixture(scope="module")
def truth(model: Path) -> Iterator[Atlas]:
    """A store of all steps and sites, scored."""
    path = model.parent / "truth.actlas"
    actlas.extract_activations(model, PLAN.corpus(), path, sites=SITES, device="cpu", syncs=False)
    with closing(actlas.open_store(path, "a")) as store:
        actlas.score_neurons(store)
        yield store


def planned_experts(plan: ModelPlan, steps: Sequence[int]) -> pl.DataFrame:
    """What `top_experts` should list, in the order of `_KEY`."""
    named = [plan.experts(step).with_columns(pl.lit(plan.checkpoint(step)).alias("checkpoint")) for step in steps]
    return pl.concat(named).select(*_KEY).cast({"layer": pl.Int32, "neuron": pl.Int32}).sort(_KEY)


def missed_experts(store: Atlas, plan: ModelPlan, steps: Sequence[int]) -> pl.DataFrame:
    """Planned experts that are not among the k best, or tell their concept less than perfectly."""
    found = actlas.top_experts(store, k=plan.k, keep=False).filter(ap=1)
    return planned_experts(plan, steps).join(found, on=_KEY, how="anti")


def test_experts_are_the_planted_neurons_and_no_others(truth: Atlas) -> None:
    assert missed_experts(truth, PLAN, PLAN.steps).is_empty()
    experts = actlas.top_experts(truth, k=PLAN.k + 1, keep=False)
    planted = experts.filter(pl.col("rank") <= PLAN.k)
    assert planted["ap"].min() == 1
    assert planted["median"].is_between(1.8, 2.4).all(), "what they have at a noun is what the plan says"
    assert experts.filter(pl.col("rank") > PLAN.k)["ap"].max() < 0.8, "the next best detects nothing that well"


def test_languages_share_what_is_planted_to_be_shared(truth: Atlas) -> None:
    overlap = actlas.expert_overlap(truth, k=PLAN.k, keep=False)
    assert overlap.height == len(PLAN.steps) * len(PLAN.concepts) * 6, (
        "every pair of languages, those that share nothing included"
    )
    for step in PLAN.steps:
        of_step = overlap.filter(checkpoint=PLAN.checkpoint(step))
        for concept in PLAN.concepts:
            assert set(of_step.filter(concept=concept)["overlap"]) == {PLAN.overlap(concept, step)}, (step, concept)


def test_neurons_are_shared_from_the_planted_step_on(truth: Atlas) -> None:
    followed = actlas.shared_trajectory(truth, k=PLAN.k, keep=False)
    first = first_shared(followed, len(PLAN.languages))
    assert dict(first.select("concept", "step").iter_rows()) == PLAN.shared_from
    last = PLAN.experts(PLAN.steps[-1]).filter("is_shared")
    assert set(first["neuron"]) == set(last["neuron"])
    n_languages = followed.group_by("concept", "step").agg(pl.col("n_languages").max())
    for concept, step, n in n_languages.iter_rows():
        assert n == (len(PLAN.languages) if PLAN.is_shared(concept, step) else 0), (concept, step)


def test_neurons_of_a_language_are_the_planted_ones(truth: Atlas) -> None:
    found = actlas.language_neurons(truth, share=PLAN.lape_share, keep=False)
    planned = sorted(PLAN.language_neurons.select("language", "site", "layer", "neuron").iter_rows())
    for step in PLAN.steps:
        of_step = found.filter(checkpoint=PLAN.checkpoint(step))
        assert sorted(of_step.select("language", "site", "layer", "neuron").iter_rows()) == planned
        assert of_step["entropy"].max() == 0
        assert of_step["p_active"].min() > 0.8


def test_the_model_writes_by_the_grammar(truth: Atlas) -> None:
    """Its loss on sentences of the grammar is what their words are free to vary by, and no more."""
    loss = truth.sql("SELECT sanity_loss FROM checkpoints")["sanity_loss"]
    assert loss.is_between(1.4, 1.6).all()


def one_step(model: Path, folder: Path, corpus: actlas.Corpus | None = None, **options: object) -> pl.DataFrame:
    """Planned experts of one step that are missed, where every check that would refuse a mistake is left out."""
    step = 64
    path = folder / "mutated.actlas"
    settings = {"sites": ("mlp_pre",), "device": "cpu", "syncs": False, "fidelity_texts": 0, "proves_sites": False, **options}
    actlas.extract_activations(model / f"step-{step}", corpus or PLAN.corpus(), path, **settings)
    with closing(actlas.open_store(path, "a")) as store:
        actlas.score_neurons(store)
        return missed_experts(store, PLAN, [step])


def shuffled_labels(corpus: actlas.Corpus) -> actlas.Corpus:
    """Labels of each language dealt out anew among its texts, another way in each."""
    rng = np.random.default_rng(0)
    ids = corpus.texts.group_by("language", maintain_order=True).agg(pl.col("text_id"))["text_id"]
    other = {old: new for own in ids for old, new in zip(own, rng.permutation(own.to_numpy()).tolist(), strict=True)}
    return replace(corpus, labels=corpus.labels.with_columns(pl.col("text_id").replace_strict(other)).sort("text_id", "concept"))


POOLS_PADDING = Mutation((batch,), "pool_spans", "span.last, span.start : span.stop]", "span.last]")
NEXT_LAYER = Mutation((resolve,), "_from_family", '.{layer}", path', '.{(layer + 1) % n_layers}", path')


def test_one_step_alone_is_recovered(model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path).is_empty()


@pytest.mark.parametrize("mutation", [POOLS_PADDING, NEXT_LAYER], ids=["padding is pooled", "the next layer is read"])
def test_a_mistake_in_the_code_shows(mutation: Mutation, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    assert one_step(model, tmp_path).height > PLAN.k


@pytest.mark.parametrize("pooling", ["mean", "last", "max_with_pad"])
def test_another_pooling_shows(pooling: str, model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, pooling=pooling).height > PLAN.k


def test_labels_of_other_texts_show(model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, shuffled_labels(PLAN.corpus())).height > 40


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shared_from": {"sun": 0}}, "concepts are water, horse"),
        ({"shares": {"en": 1.0}}, "languages, all of which need a share"),
        ({"shared_from": dict.fromkeys(("water", "horse", "cheese", "tree", "boat"), 0)}, "book alone"),
    ],
)
def test_a_plan_that_cannot_be_planted_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelPlan(**wrong)


def test_checkpoints_differ_in_the_detectors_alone(model: Path) -> None:
    from safetensors.numpy import load_file

    first, *others = [load_file(model / f"step-{step}" / "model.safetensors") for step in PLAN.steps]
    for other in others:
        differ = {name for name, values in first.items() if not np.array_equal(values, other[name])}
        assert differ == {f"transformer.h.1.mlp.{name}" for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")}
