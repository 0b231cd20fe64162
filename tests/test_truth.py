"""Truth, end to end: what is written into a model's weights is what the whole path finds, and a mistake on the way shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import actlas
from actlas.extract.inputs import token_choice
from actlas.extract.pooling import batch
from actlas.extract.sites import resolve
from actlas.intervene import LiveModel, ablate, edits, load_live, patch, steer
from actlas.names import LINEAR_SITES, TokenSample
from actlas.query import Atlas, first_shared
from actlas.testing import ModelPlan, planted_model
from actlas.testing.planted_words import LANGUAGE_NAMES, Token, vocabulary
from tests.cuda.mutate import Mutation

SITES = [site for site in LINEAR_SITES if site != "mlp_up"]
PLAN = ModelPlan()
CORPUS = PLAN.corpus()
STEP = 64
_NEURON = ["site", "layer", "neuron"]
_EXPERT = ["checkpoint", "concept", "language", *_NEURON]
TOKENS = vocabulary()
#: Concept and language -> id of the first token of its noun.
STEMS = {(token.concept, token.language): number for number, token in enumerate(TOKENS) if token.kind == "stem"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_model(tmp_path_factory.mktemp("truth") / "planted", PLAN)


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
        for step in PLAN.steps:
            with load_live(store, PLAN.checkpoint(step), device="cpu") as live:
                assert not missteered(live, experts_of(store, step), step)
                assert not misplaced_patches(live, prompts, step)
                if step == STEP:
                    neurons_of_a_language_decide_its_loss(live)


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


def neurons_of_a_language_decide_its_loss(live: LiveModel) -> None:
    plain = {language: loss(live, language) for language in PLAN.languages}
    assert max(plain.values()) < 1.6, "sentences of the grammar cost what their words are free to vary by, and no more"
    for ablated in PLAN.languages:
        with ablate(live, PLAN.language_neurons.filter(language=ablated)):
            for language in PLAN.languages:
                more = loss(live, language) - plain[language]
                assert more > 0.5 if language == ablated else abs(more) < 1e-5, (ablated, language)


def missed_experts(store: Atlas, steps: Sequence[int]) -> pl.DataFrame:
    """Planned experts that are not among the k best, or tell their concept less than perfectly."""
    found = actlas.top_experts(store, k=PLAN.k, keep=False).filter(ap=1)
    planned = [PLAN.experts(step).with_columns(pl.lit(PLAN.checkpoint(step)).alias("checkpoint")) for step in steps]
    return pl.concat(planned).select(*_EXPERT).cast({"layer": pl.Int32, "neuron": pl.Int32}).join(found, on=_EXPERT, how="anti")


def experts_of(store: Atlas, step: int) -> pl.DataFrame:
    """Experts of a step with what they are set to."""
    experts = actlas.top_experts(store, k=PLAN.k, checkpoints=[PLAN.checkpoint(step)], keep=False)
    return experts.select("concept", "language", *_NEURON, pl.col("median").alias("value"))


def missteered(live: LiveModel, experts: pl.DataFrame, step: int) -> list[str]:
    """Where texts that begin with the start token alone differ from the plan, without steering and with it."""
    wrong = []
    plain = written(live, None)
    shares = Counter(map(language_of, plain))
    for language, share in PLAN.language_shares(step).items():
        if abs(shares[language] / len(plain) - share) > 0.15:
            wrong.append(f"without steering, {shares[language]} of {len(plain)} texts are in {language}")
    for concept, language in (("water", "fr"), ("book", "de")):
        texts = written(live, experts.filter(concept=concept, language=language))
        if {token.concept for text in texts for token in text if token.kind == "stem"} != {concept}:
            wrong.append(f"experts of {concept} in {language} make the model speak of something else")
        # with the same draws a shared expert changes the noun and nothing else
        spoken = map(language_of, plain) if PLAN.is_shared(concept, step) else [language] * len(plain)
        if list(map(language_of, texts)) != list(spoken):
            wrong.append(f"experts of {concept} in {language} make the model speak in other languages than planned")
    idle = sorted(set(range(30)) - set(PLAN.experts(step)["neuron"]))[: PLAN.k]
    frame = pl.DataFrame({"site": "mlp_pre", "layer": 1, "neuron": idle, "value": 2.0})
    if written(live, frame) != plain:
        wrong.append("neurons that nothing is planned for change what the model says")
    return wrong


def written(live: LiveModel, frame: pl.DataFrame | None, n_texts: int = 64) -> list[tuple[Token, ...]]:
    """Texts from the start token on, drawn with one seed."""
    start = torch.full((n_texts, 1), live.model.config.bos_token_id)
    torch.manual_seed(0)
    with torch.inference_mode(), nullcontext() if frame is None else steer(live, frame):
        ids = live.model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=12, do_sample=True, top_k=0, pad_token_id=0
        )
    return [tuple(TOKENS[number] for number in row) for row in ids.tolist()]


def language_of(text: tuple[Token, ...]) -> str:
    return " and ".join(sorted({token.language for token in text if token.language}))


def loss(live: LiveModel, language: str) -> float:
    """Mean loss of the model on sentences of a language."""
    texts = CORPUS.texts.filter(language=language)["text"].to_list()
    encoded = live.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = live.model(**encoded).logits[:, :-1]
    has_loss = encoded.attention_mask[:, :-1] == 1
    return float(torch.nn.functional.cross_entropy(logits[has_loss], encoded.input_ids[:, 1:][has_loss]))


#: Source concept, target concept, language of the word, language of the answer.
PAIRS = (("water", "boat", "fr", "en"), ("boat", "book", "de", "es"), ("book", "tree", "es", "es"))


def prompt_store(model: Path, path: Path) -> Path:
    """A store of translation prompts, a source and a target of each pair, with block outputs at the word to translate."""
    words, rows = PLAN.words(), []
    for source, target, first, second in PAIRS:
        for concept in (source, target):
            lines = f'{LANGUAGE_NAMES[first]}: "{{}}" - {LANGUAGE_NAMES[second]}: "'
            shot = lines.format(words["cheese"][first]) + words["cheese"][second]
            before = f'{shot}"\n{LANGUAGE_NAMES[first]}: "'
            text = f'{shot}"\n{lines.format(words[concept][first])}'
            rows.append((text, first, len(before), len(before) + len(words[concept][first])))
    texts = pl.DataFrame(rows, schema=["text", "language", "word_start", "word_end"], orient="row")
    labels = pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean})
    sample = TokenSample(sites=("resid",), choice="span")
    corpus = actlas.corpus_from_frames(texts, labels)
    actlas.extract_activations(model, corpus, path, sites=["mlp_pre"], token_sample=sample, device="cpu", syncs=False)
    return path


def misplaced_patches(live: LiveModel, prompts: Path, step: int) -> list[str]:
    """Where what the model says of a patched prompt differs from the plan; layers from j to the last are patched."""
    store = actlas.open_store(prompts)
    found = store.sampled_tokens.with_row_index("at").sort("text_id")
    cube = store.token_cube(PLAN.checkpoint(step), "resid")
    latents = np.stack([cube.read(layer)[found["at"].to_numpy()] for layer in range(live.n_layers)], axis=1)
    texts = store.corpus.texts.sort("text_id")["text"].to_list()[1::2]
    encoded = live.tokenizer(texts, return_tensors="pt", padding=True)
    wrong = []
    for j in range(live.n_layers):
        with (
            torch.inference_mode(),
            patch(live, latents[::2], layers=range(j, live.n_layers), position=found["position"].to_list()[1::2]),
        ):
            probability = live.model(**encoded).logits[:, -1].softmax(dim=-1)
        for row, (source, target, first, second) in enumerate(PAIRS):
            decides = source if j <= PLAN.patch_layer else target
            is_said = PLAN.is_carried(decides, first, second, step)
            for concept in (source, target):
                p = float(probability[row, STEMS[concept, second]])
                planned = float(concept == decides) if is_said else 1 / len(PLAN.concepts)
                if abs(p - planned) > 0.01:
                    wrong.append(f"from layer {j} on, P({concept}) of {source} in {target}, {first}-{second}, is {p:.3f}")
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


def test_one_step_alone_is_recovered(model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path).is_empty()


@pytest.mark.parametrize("mutation", [POOLS_PADDING, READS_NEXT_LAYER], ids=["padding is pooled", "the next layer is read"])
def test_a_mistake_in_extraction_shows(mutation: Mutation, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    assert one_step(model, tmp_path).height > PLAN.k


@pytest.mark.parametrize("pooling", ["mean", "last", "max_with_pad"])
def test_another_pooling_shows(pooling: str, model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, pooling=pooling).height > PLAN.k


def test_labels_of_other_texts_show(model: Path, tmp_path: Path) -> None:
    assert one_step(model, tmp_path, shuffled_labels(CORPUS)).height > 40


def planned_frame(step: int) -> pl.DataFrame:
    return PLAN.experts(step).select("concept", "language", *_NEURON, "value")


ACTS_ON_NEXT_LAYER = Mutation((LiveModel,), "columns", "columns[site]", "columns[site][1:] + self._proved.columns[site][:1]")
ACTS_ON_NEXT_TOKEN = Mutation((edits.PositionEdit,), "__call__", "places - running.n_before", "places - running.n_before + 1")
TAKES_FIRST_TOKEN = Mutation(
    (token_choice,),
    "_span_ends",
    "np.append(text[inside][1:] != text[inside][:-1], True)",
    "np.append(True, text[inside][1:] != text[inside][:-1])",
)


@pytest.fixture(scope="module")
def prompts(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompt_store(model / f"step-{STEP}", tmp_path_factory.mktemp("prompts") / "prompts.actlas")


def test_steering_another_layer_shows(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with load_live(model / f"step-{STEP}", device="cpu") as live:
        assert not missteered(live, planned_frame(STEP), STEP)
        ACTS_ON_NEXT_LAYER.apply(monkeypatch)
        assert len(missteered(live, planned_frame(STEP), STEP)) > 1


@pytest.mark.parametrize("mutation", [ACTS_ON_NEXT_LAYER, ACTS_ON_NEXT_TOKEN], ids=["the next layer", "the next token"])
def test_a_patch_in_another_place_shows(mutation: Mutation, model: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with load_live(model / f"step-{STEP}", device="cpu") as live:
        assert not misplaced_patches(live, prompts, STEP)
        mutation.apply(monkeypatch)
        assert misplaced_patches(live, prompts, STEP)


def test_latents_of_the_first_token_of_a_word_show(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TAKES_FIRST_TOKEN.apply(monkeypatch)
    first = prompt_store(model / f"step-{STEP}", tmp_path / "first.actlas")
    with load_live(model / f"step-{STEP}", device="cpu") as live:
        assert misplaced_patches(live, first, STEP)
