"""On a model whose plan is known: a language's neurons decide the loss on its own texts, and on no others."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.errors import NeuronSetError, QueryError
from actlas.intervene import EffectOptions, effect_summary, load_live, measure_effects, steer
from actlas.intervene.effects.arms import Arm
from actlas.intervene.effects.losses import text_losses, token_means
from actlas.intervene.effects.texts import loss_texts
from actlas.intervene.sets import sets_of, store_sets, with_auroc
from actlas.query import Atlas, open_store

from .conftest import PLAN

LANGUAGES = ("one", "two")
#: LAPE then selects as many neurons as the plan has.
SETS = {"share": 0.15, "bar_quantile": 0.8}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan as a table of neurons."""
    rows = [
        {"language": language, "site": "mlp_hidden", "layer": 0, "neuron": neuron, "value": 0.0, "auroc": 1.0}
        for language, neurons in PLAN.items()
        for neuron in sorted(neurons)
    ]
    path = tmp_path_factory.mktemp("plan") / "plan.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def measured(store: Atlas, plan: Path, **options: object) -> dict[tuple[str, str, str], dict[str, float]]:
    """(intervention, set, texts) -> the row of the summary."""
    chosen = EffectOptions(sources=[str(plan)], any_weights=True, n_texts=100, **{"n_random": 8, **options})  # type: ignore[arg-type]
    frame = effect_summary(measure_effects(store, chosen, keep=False))
    return {(row["intervention"], row["set_language"], row["language"]): row for row in frame.to_dicts()}


def test_the_planned_neurons_decide_the_loss_of_their_language_alone(store: Atlas, plan: Path) -> None:
    rows = measured(store, plan)
    for language in LANGUAGES:
        for other in LANGUAGES:
            row = rows["zero", language, other]
            assert row["n_neurons"] == 6
            assert row["loss_base"] < 2
            if language == other:
                assert row["low"] < row["change"] < row["high"]
                assert row["change"] > 1
                # random sets hit some of the other language's neurons, and none of this one's
                assert row["random_mean"] == pytest.approx(0, abs=1e-3)
                assert row["p_more"] == pytest.approx(1 / 9)
            else:
                assert row["change"] == pytest.approx(0, abs=1e-3)
                assert row["random_mean"] > 0.01


def test_the_loss_without_an_intervention_is_that_of_the_extraction(store: Atlas, plan: Path) -> None:
    chosen = EffectOptions(sources=[str(plan)], any_weights=True, n_texts=100, n_random=0)
    rows = measure_effects(store, chosen, keep=False).filter(set_language="one").select("n_tokens", "loss_base")
    mean = (rows["loss_base"] * rows["n_tokens"]).sum() / rows["n_tokens"].sum()
    assert mean == pytest.approx(store.checkpoint("tiny")["sanity_loss"], rel=1e-5)


def test_every_intervention_does_what_it_says(store: Atlas, plan: Path) -> None:
    every = ("mean", "difference", "amplify", "only", "damp")
    rows = measured(store, plan, interventions=every, n_random=0, factor=3.0, shift=10.0)
    changes = {key: row["change"] for key, row in rows.items()}
    for language, other in (LANGUAGES, LANGUAGES[::-1]):
        own, away = (language, language), (language, other)
        # a mean says nothing about which letter follows
        assert changes["mean", *own] > 1
        # a language is already what its own mean makes of it; another one is pushed towards letters that do not follow
        assert changes["difference", *own] == 0
        assert changes["difference", *away] > 0.1
        # letters are known better where their neurons say more
        assert changes["amplify", *own] < 0
        assert abs(changes["amplify", *away]) < 1e-3
        # the sets of all other languages are gone, which is the same as setting those to 0
        assert abs(changes["only", *own]) < 1e-3
        assert changes["only", *away] > 1
        # auroc 1 is damped to nothing
        assert changes["damp", *own] == pytest.approx(changes["only", other, language], abs=1e-5)
    assert all(math.isfinite(row["loss_base"]) and row["p_more"] is None for row in rows.values())


def test_means_become_those_that_were_asked_for(store: Atlas, plan: Path) -> None:
    """Read at the neurons that are acted on, while they are."""
    (one, _) = sets_of("plan", pl.read_csv(plan))
    with load_live(store, "tiny") as live:
        texts = loss_texts(store, None, 100, None, 0, 99)
        before = token_means(live, texts, ["mlp_hidden"])
        neurons = sorted(PLAN["one"])
        for arm, language, expected in (
            (Arm(one, "difference"), "two", before["one"]["mlp_hidden"][0]),
            (Arm(one, "mean"), "two", (before["one"]["mlp_hidden"][0] + before["two"]["mlp_hidden"][0]) / 2),
            (Arm(one, "amplify", strength=3.0), "one", 3 * before["one"]["mlp_hidden"][0]),
            (Arm(one, "zero"), "one", np.zeros(40)),
        ):
            with arm.acting(live, language, before):
                after = token_means(live, texts, ["mlp_hidden"])[language]["mlp_hidden"][0]
            np.testing.assert_allclose(after[neurons], expected[neurons], rtol=1e-5, atol=1e-6)
            others = np.setdiff1d(np.arange(40), neurons)
            np.testing.assert_array_equal(after[others], before[language]["mlp_hidden"][0][others])


def test_what_lape_selects_is_acted_on_behind_the_gate(store: Atlas) -> None:
    chosen = EffectOptions(n_random=2, **SETS)  # type: ignore[arg-type]
    frame = measure_effects(store, chosen, keep=False)
    assert frame["sites"].unique().to_list() == ["mlp_hidden"]
    own = frame.filter(pl.col("draw") == 0, pl.col("language") == pl.col("set_language"))
    assert sorted(own["set_language"]) == sorted(LANGUAGES)
    assert (own["n_neurons"] == 6).all()
    assert (own["change"] > 1).all()


def test_experts_are_damped_by_how_well_they_detect_their_concept(store: Atlas) -> None:
    chosen = EffectOptions(sources=("experts",), interventions=("damp", "zero"), k=25, n_random=2)
    frame = measure_effects(store, chosen, keep=False)
    assert frame["concept"].unique().to_list() == ["long"]
    assert frame["sites"].unique().to_list() == ["mlp_pre"]
    assert (frame["n_neurons"] == 25).all()
    assert frame.height == 2 * 2 * 3 * 2
    (one, _) = store_sets(store, "tiny", "experts", k=25)
    with load_live(store, "tiny", device="cpu") as live:
        texts = loss_texts(store, ["two"], 64, None, 0, 2048)
        base = text_losses(live, texts.batches["two"])
        damped = with_auroc(store, "tiny", one).with_columns(value=2 * (1 - pl.max_horizontal("auroc", 0.5)))
        with steer(live, damped, how="scale"):
            expected = text_losses(live, texts.batches["two"]).mean - base.mean
    row = frame.row(
        by_predicate=(pl.col("intervention") == "damp")
        & (pl.col("set_language") == one.language)
        & (pl.col("draw") == 0)
        & (pl.col("language") == "two"),
        named=True,
    )
    assert row["change"] == pytest.approx(expected, abs=1e-9)
    assert expected != 0


def test_an_answer_is_kept_and_not_measured_again(planned: Path, plan: Path, tmp_path: Path) -> None:
    own = open_store(shutil.copytree(planned, tmp_path / "own.actlas"), "a")
    chosen = EffectOptions(sources=[str(plan)], any_weights=True, n_random=2, n_texts=4, interventions=("zero", "amplify"))
    seen: list[tuple[int, int]] = []
    first = measure_effects(own, chosen, progress=lambda done, total, _: seen.append((done, total)))
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    again = measure_effects(own, chosen, progress=lambda *_: pytest.fail("it was measured again"))
    assert again.equals(first)
    assert own.table("neuron_effects", "tiny").equals(first)
    settings = own.table_settings("neuron_effects", "tiny")
    assert (settings["weight_hash"], settings["any_weights"]) == (own.checkpoint("tiny")["weight_hash"], True)
    # what SQL says of it is what the summary says
    summary = effect_summary(first).filter(intervention="zero").drop("checkpoint", "intervention")
    by_sql = own.sql("FROM language_effects('tiny', 'zero')")
    assert by_sql.sort("set_language", "language").to_dicts() == [
        pytest.approx(row) for row in summary.select(by_sql.columns).sort("set_language", "language").to_dicts()
    ]
    groups = {row["set_language"]: row for row in own.sql("FROM set_effects('tiny')").to_dicts()}
    excess = {(row["set_language"], row["language"]): row["excess"] for row in summary.to_dicts()}
    for language, other in (LANGUAGES, LANGUAGES[::-1]):
        assert groups[language]["necessity"] == pytest.approx(excess[language, language])
        assert groups[language]["selectivity"] == pytest.approx(excess[language, language] - excess[language, other])
        assert groups[language]["sufficiency"] > 0
        assert groups[language]["sufficiency_only"] is None
    # another seed is another answer, beside it
    measure_effects(own, EffectOptions(sources=[str(plan)], any_weights=True, n_random=1, n_texts=4))
    assert own.table("neuron_effects", "tiny").equals(first)
    with pytest.raises(QueryError, match="has no intervention damp of tiny; measure it"):
        own.sql("FROM language_effects('tiny', 'damp')")
    with pytest.raises(QueryError, match="'zer' is not known"):
        own.sql("FROM language_effects('tiny', 'zer')")


def test_other_sets_of_the_same_name_are_measured_in_their_place(planned: Path, plan: Path, tmp_path: Path) -> None:
    """Every checkpoint has sets of its own, and SQL shows all checkpoints: sets do not decide beside what an answer stands."""
    own = open_store(shutil.copytree(planned, tmp_path / "own.actlas"), "a")
    path = shutil.copy(plan, tmp_path / "mine.csv")
    chosen = EffectOptions(sources=[str(path)], any_weights=True, n_random=1, n_texts=4)
    first = measure_effects(own, chosen)
    pl.read_csv(path).group_by("language", maintain_order=True).head(2).write_csv(path)
    second = measure_effects(own, chosen)
    assert set(second["n_neurons"]) == {2} != set(first["n_neurons"])
    assert own.table("neuron_effects", "tiny").equals(second)
    assert own.table_variants("neuron_effects") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interventions": ("damp",)}, "no experts of a concept"),
        ({"interventions": ("only",), "languages": ["one"]}, "only keeps one set of several"),
        ({"interventions": ("difference",), "text_languages": ["two"]}, "needs texts of the language of lape one"),
        ({"sources": ["published"]}, "no sets called published"),
        ({"languages": ["three"]}, "no set of lape of language 'three'"),
    ],
)
def test_what_cannot_be_done_is_refused(store: Atlas, options: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        measure_effects(store, EffectOptions(n_random=0, **{**SETS, **options}))  # type: ignore[arg-type]


def test_files_that_cannot_be_used_are_refused(store: Atlas, plan: Path, tmp_path: Path) -> None:
    for source, message in (
        (str(plan), "does not say which weights"),
        (str(tmp_path / "no.csv"), "cannot be read"),
        (str(shutil.copy(plan, tmp_path / "x.neuron.pth")), "actlas neuron-sets import"),
    ):
        with pytest.raises(NeuronSetError, match=message):
            measure_effects(store, EffectOptions(sources=[source]))
