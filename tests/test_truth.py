"""Truth, end to end: what is written into a model's weights is what the whole path finds, and a mistake on the way shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import actlas
from actlas.extract.inputs import token_choice
from actlas.extract.pooling import batch
from actlas.extract.sites import resolve
from actlas.intervene import (
    EffectOptions,
    Forcing,
    LiveModel,
    WordTable,
    edits,
    generate_steered,
    measure_effects,
    patch_concepts,
    translation_prompts,
)
from actlas.names import LINEAR_SITES, TokenSample
from actlas.query import Atlas, first_shared
from actlas.testing import ModelPlan, planted_model
from tests.cuda.mutate import Mutation

SITES = [site for site in LINEAR_SITES if site != "mlp_up"]
PLAN = ModelPlan()
CORPUS = PLAN.corpus()
STEP = 64
_NEURON = ["site", "layer", "neuron"]
_EXPERT = ["checkpoint", "concept", "language", *_NEURON]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("truth") / "planted", PLAN)


@pytest.mark.slow
def test_the_whole_path_recovers_what_the_weights_say(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "truth.actlas"
    actlas.extract_activations(model, CORPUS, path, sites=SITES, device="cpu", syncs=False)
    prompts = prompt_store(model, tmp_path / "prompts.actlas")
    with closing(actlas.open_store(path, "a")) as store:
        actlas.score_neurons(store)
        experts_are_the_planted_neurons(store)
        languages_share_what_is_planted_to_be_shared(store)
        neurons_are_shared_from_the_planted_step_on(store)
        neurons_of_a_language_are_the_planted_ones(store)
        neurons_of_a_language_decide_its_loss(store, STEP)
        for step in PLAN.steps:
            assert not missteered(store, step, keep=True)
            assert not misplaced_patches(prompts, step, keep=True)
        sql_says_where_steering_and_patching_work(store, prompts)


def experts_are_the_planted_neurons(store: Atlas) -> None:
    assert missed_experts(store, PLAN.steps).is_empty()
    experts = actlas.top_experts(store, k=PLAN.k + 1, keep=False)
    planted = experts.filter(pl.col("rank") <= PLAN.k)
    assert planted["median"].is_between(1.8, 2.4).all(), "what they have at a noun is what the plan says"
    assert experts.filter(pl.col("rank") > PLAN.k)["ap"].max() < 0.8, "the next best detects nothing that well"


def languages_share_what_is_planted_to_be_shared(store: Atlas) -> None:
    overlap = actlas.expert_overlap(store, k=PLAN.k, keep=False)
    assert overlap.height == len(PLAN.steps) * len(PLAN.concepts) * 6, "every pair of languages, those that share nothing too"
    for step in PLAN.steps:
        of_step = overlap.filter(checkpoint=PLAN.checkpoint(step))
        for concept in PLAN.concepts:
            assert set(of_step.filter(concept=concept)["overlap"]) == {PLAN.overlap(concept, step)}, (step, concept)


def neurons_are_shared_from_the_planted_step_on(store: Atlas) -> None:
    followed = actlas.shared_trajectory(store, k=PLAN.k, keep=False)
    first = first_shared(followed, len(PLAN.languages))
    assert dict(first.select("concept", "step").iter_rows()) == PLAN.shared_from
    assert set(first["neuron"]) == set(PLAN.experts(PLAN.steps[-1]).filter("is_shared")["neuron"])
    n_languages = followed.group_by("concept", "step").agg(pl.col("n_languages").max())
    for concept, step, n in n_languages.iter_rows():
        assert n == (len(PLAN.languages) if PLAN.is_shared(concept, step) else 0), (concept, step)


def neurons_of_a_language_are_the_planted_ones(store: Atlas) -> None:
    found = actlas.language_neurons(store, share=PLAN.lape_share, keep=False)
    planned = sorted(PLAN.language_neurons.select("language", *_NEURON).iter_rows())
    for step in PLAN.steps:
        of_step = found.filter(checkpoint=PLAN.checkpoint(step))
        assert sorted(of_step.select("language", *_NEURON).iter_rows()) == planned
        assert of_step["entropy"].max() == 0
        assert of_step["p_active"].min() > 0.8


def neurons_of_a_language_decide_its_loss(store: Atlas, step: int) -> None:
    options = EffectOptions(share=PLAN.lape_share, n_random=0)
    effects = measure_effects(store, options, checkpoints=[PLAN.checkpoint(step)], device="cpu", keep=False)
    assert effects.height == len(PLAN.languages) ** 2
    assert effects["loss_base"].max() < 1.6, "sentences of the grammar cost what their words are free to vary by, and no more"
    for ablated, language, change in effects.select("set_language", "language", "change").iter_rows():
        assert change > 0.5 if language == ablated else abs(change) < 1e-5, (ablated, language)


def sql_says_where_steering_and_patching_work(store: Atlas, prompts: Path) -> None:
    rates = store.sql("FROM concept_rate() WHERE measure = 'words' AND arm IN ('experts', 'other') AND concept IS NOT NULL")
    assert rates.height == len(PLAN.steps) * 2 * 2
    assert rates["rate"].to_list() == (rates["arm"] == "experts").cast(pl.Float64).to_list()
    shifts = store.sql("FROM language_shift() WHERE control = 'none' AND concept IS NOT NULL")
    for concept, step, low, high in shifts.select("concept", "step", "low", "high").iter_rows():
        assert low <= 0 <= high if PLAN.is_shared(concept, step) else low > 0.5, (concept, step)
    with closing(actlas.open_store(prompts)) as patched:
        onset = patched.sql("FROM patching_onset() WHERE language_in = language_out AND setting = 'tgt'")
        carried = patched.sql("FROM patching_onset() WHERE language_in <> language_out AND setting = 'seen'")
    assert onset["step"].to_list() == list(PLAN.steps)
    assert onset["first_layer"].unique().to_list() == [0]
    assert onset["last_layer"].unique().to_list() == [PLAN.patch_layer]
    assert carried["first_step"].unique().to_list() == [STEP], "one concept that is shared before is not enough to show"


def missed_experts(store: Atlas, steps: Sequence[int]) -> pl.DataFrame:
    """Planned experts that are not among the k best, or tell their concept less than perfectly."""
    found = actlas.top_experts(store, k=PLAN.k, keep=False).filter(ap=1)
    planned = [PLAN.experts(step).with_columns(pl.lit(PLAN.checkpoint(step)).alias("checkpoint")) for step in steps]
    return pl.concat(planned).select(*_EXPERT).cast({"layer": pl.Int32, "neuron": pl.Int32}).join(found, on=_EXPERT, how="anti")


def missteered(store: Atlas, step: int, *, keep: bool = False) -> list[str]:
    """Where texts that are written from the start token on differ from the plan, without steering and with it."""
    words = {concept: {language: [word] for language, word in own.items()} for concept, own in PLAN.words().items()}
    texts = generate_steered(
        store,
        concepts=["water", "book"],
        languages=["fr"],
        checkpoints=[PLAN.checkpoint(step)],
        forcing=Forcing(k=PLAN.k),
        arms=("none", "experts", "random", "other"),
        seeds=32,
        words=words,
        device="cpu",
        keep=keep,
    )
    wrong = []
    for (concept, language), own in texts.group_by("concept", "language"):
        arms = {name: own.filter(arm=name).sort("seed") for name in own["arm"].unique()}
        plain = arms["none"]["text_language"]
        for spoken, share in PLAN.language_shares(step).items():
            if abs((plain == spoken).mean() - share) > 0.2:
                wrong.append(f"without steering {(plain == spoken).mean():.2f} of the texts are in {spoken}")
        if not arms["experts"]["has_word"].all() or arms["other"]["has_word"].any() or arms["random"]["has_word"].mean() > 0.5:
            wrong.append(f"the experts of {concept} in {language} are not what makes the model speak of it")
        # with the same draws a shared expert changes the noun and nothing else
        planned = plain.to_list() if PLAN.is_shared(concept, step) else [language] * len(plain)
        if arms["experts"]["text_language"].to_list() != planned:
            wrong.append(f"the experts of {concept} in {language} make the model speak in other languages than planned")
    return wrong


def prompt_store(model: Path, path: Path) -> Path:
    """A store of translation prompts with block outputs at the word to translate."""
    table = WordTable({concept: {name: (word,) for name, word in own.items()} for concept, own in PLAN.words().items()})
    checkpoint = model / f"step-{STEP}"
    prompts = translation_prompts(table, checkpoint if checkpoint.is_dir() else model, ["fr-en", "de-de"], n_pairs=6, n_shots=1)
    sample = TokenSample(sites=("resid",), choice="span")
    actlas.extract_activations(model, prompts, path, sites=["mlp_pre"], token_sample=sample, device="cpu", syncs=False)
    return path


def misplaced_patches(prompts: Path, step: int, *, keep: bool = False) -> list[str]:
    """Where what the model says of a prompt, patched in layers j to the last, differs from the plan."""
    patches = patch_concepts(prompts, checkpoints=[PLAN.checkpoint(step)], n_tokens=0, device="cpu", keep=keep)
    wrong = []
    for row in patches.filter(pl.col("language") == pl.col("language_out")).iter_rows(named=True):
        setting, j, first, second = row["setting"], row["layer"], row["language_in"], row["language_out"]
        # languages of the words that latents are taken of
        read = {"en_en": "en", "self": second, "seen": "es"}.get(setting, first)
        is_patched = setting not in ("unpatched", "tgt_tgt") and (j is None or j <= PLAN.patch_layer)
        says = row["source_concept"] if is_patched else row["target_concept"]
        is_said = PLAN.is_carried(says, read if is_patched else first, second, step)
        for role in ("source", "target"):
            planned = float(row[f"{role}_concept"] == says) if is_said else 1 / len(PLAN.concepts)
            if abs(row[f"p_{role}"] - planned) > 0.01:
                wrong.append(f"{setting} from layer {j}: P({role}) is {row[f'p_{role}']:.3f}, {first}-{second}")
    return wrong


def one_step(model: Path, folder: Path, corpus: actlas.Corpus | None = None, **options: object) -> pl.DataFrame:
    """Planned experts of one step that are missed, where every check that would refuse a mistake is left out."""
    settings = {"sites": ("mlp_pre",), "device": "cpu", "syncs": False, "fidelity_texts": 0, "proves_sites": False, **options}
    actlas.extract_activations(model / f"step-{STEP}", corpus or CORPUS, folder / "one.actlas", **settings)
    with closing(actlas.open_store(folder / "one.actlas", "a")) as store:
        actlas.score_neurons(store)
        return missed_experts(store, [STEP])


def shuffled_labels(corpus: actlas.Corpus) -> actlas.Corpus:
    """Labels of each language dealt out anew among its texts, another way in each."""
    rng = np.random.default_rng(0)
    ids = corpus.texts.group_by("language", maintain_order=True).agg(pl.col("text_id"))["text_id"]
    other = {old: new for own in ids for old, new in zip(own, rng.permutation(own.to_numpy()).tolist(), strict=True)}
    return replace(corpus, labels=corpus.labels.with_columns(pl.col("text_id").replace_strict(other)).sort("text_id", "concept"))


POOLS_PADDING = Mutation((batch,), "pool_spans", "span.last, span.start : span.stop]", "span.last]")
READS_NEXT_LAYER = Mutation((resolve,), "_from_family", '.{layer}", path', '.{(layer + 1) % n_layers}", path')


@pytest.mark.parametrize("mutation", [POOLS_PADDING, READS_NEXT_LAYER], ids=["padding is pooled", "the next layer is read"])
def test_a_mistake_in_extraction_shows(mutation: Mutation, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    assert one_step(model, tmp_path).height > PLAN.k


@pytest.mark.parametrize("pooling", ["mean", "max_with_pad"])
def test_another_pooling_shows(pooling: str, model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, pooling=pooling).height > PLAN.k


def test_labels_of_other_texts_show(model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, shuffled_labels(CORPUS)).height > 40


ACTS_ON_NEXT_LAYER = Mutation((LiveModel,), "columns", "columns[site]", "columns[site][1:] + self._proved.columns[site][:1]")
ACTS_ON_NEXT_TOKEN = Mutation((edits.PositionEdit,), "__call__", "places - running.n_before", "places - running.n_before + 1")
TAKES_FIRST_TOKEN = Mutation(
    (token_choice,),
    "_span_ends",
    "np.append(text[inside][1:] != text[inside][:-1], True)",
    "np.append(True, text[inside][1:] != text[inside][:-1])",
)


@pytest.fixture(scope="module")
def prompts(model: Path) -> Path:
    return prompt_store(model / f"step-{STEP}", model.parent / "prompts.actlas")


def test_steering_another_layer_shows(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_step(model, tmp_path).is_empty()
    with closing(actlas.open_store(tmp_path / "one.actlas")) as store:
        assert not missteered(store, STEP)
        ACTS_ON_NEXT_LAYER.apply(monkeypatch)
        assert len(missteered(store, STEP)) > 1


@pytest.mark.parametrize("mutation", [ACTS_ON_NEXT_LAYER, ACTS_ON_NEXT_TOKEN], ids=["the next layer", "the next token"])
def test_a_patch_in_another_place_shows(mutation: Mutation, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not misplaced_patches(prompts, STEP)
    mutation.apply(monkeypatch)
    assert misplaced_patches(prompts, STEP)


def test_latents_of_the_first_token_of_a_word_show(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TAKES_FIRST_TOKEN.apply(monkeypatch)
    assert misplaced_patches(prompt_store(model / f"step-{STEP}", tmp_path / "first.actlas"), STEP)
