"""Which dtype a site is stored in: the rule on planted values, and runs in which values outgrow it."""

import shutil
from threading import Thread

import numpy as np
import polars as pl
import pytest

from actlas.errors import NotFiniteValues, OptionError, RecipeMismatch
from actlas.extract.inputs.tokens import TokenisedCorpus
from actlas.extract.run import dtypes
from actlas.extract.run.dtypes import Rounding, ValueSample, choose, rounding, sampled_labels, sampled_rows, score_changes
from actlas.names import TokenSample
from actlas.query import open_store
from actlas.query.questions.scores import score_neurons
from actlas.store import Store
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.store.files.locks import Claim
from actlas.store.integrity import verify
from actlas.store.values import TokenIds
from tests.extract.runs import cube_files, extract, scaled

CHANCE = np.random.default_rng(0)
NORMAL = CHANCE.standard_normal((2, 64, 40)).astype(np.float32)
LABELS = pl.DataFrame({"text_id": [0, 1], "concept": ["a", "a"], "is_concept": [True, False]})
NO_VECTORS = {"token_sample": TokenSample(per_text=0)}
DOWN = "model.layers.1.mlp.down_proj.weight"


def one_neuron(level, spread):
    """Planted values of which one neuron has another level and spread than all others."""
    values = NORMAL.copy()
    values[1, 7] = level + spread * values[1, 7]
    return values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (NORMAL, "float16"),
        (3000 + 20 * NORMAL, "float16"),
        (10_000 * NORMAL, "bfloat16"),
        (1e-9 * NORMAL, "bfloat16"),
        (40_000 + 100 * NORMAL, "float32"),
        (1000 + 0.1 * NORMAL, "float32"),
        (one_neuron(0, 20_000), "bfloat16"),
        (one_neuron(1000, 0.1), "float32"),
        (one_neuron(40_000, 4000), "bfloat16"),
        (one_neuron(1000, 1e-4), "float16"),  # one value for all texts, up to arithmetic, in any dtype
        (np.zeros((1, 3, 40), np.float32), "float16"),
        ((1000 + 0.1 * NORMAL)[:, :, :5], "float16"),  # so few texts may be alike by chance
        ((40_000 + 0.1 * NORMAL)[:, :, :5], "bfloat16"),
    ],
)
def test_the_dtype_is_the_first_that_keeps_range_and_spread(values, dtype):
    sample = ValueSample(np.arange(values.shape[2]), {"resid": values}, {})
    chosen, reason = choose([sample.roundings(["resid"])["resid"]])
    assert chosen == dtype, reason
    # what is said of a token vector counts as much
    sample = ValueSample(np.arange(40), {"resid": NORMAL}, {"resid": values})
    assert choose([sample.roundings(["resid"])["resid"]])[0] == dtype


def test_every_checkpoint_that_was_looked_at_has_to_fit():
    small, large = (
        ValueSample(np.arange(40), {"resid": factor * NORMAL}, {}).roundings(["resid"])["resid"] for factor in (1, 10_000)
    )
    assert choose([small])[0] == "float16"
    for measured in ([small, large], [large, small]):
        dtype, reason = choose(measured)
        assert dtype == "bfloat16"
        assert reason.endswith("; float16 ends at 65,504")
    assert choose([]) == ("float16", "no value was looked at")


def test_rounding_is_measured_against_the_spread_of_each_neuron():
    exact = rounding([NORMAL], "float32")
    assert (exact.worst, exact.share_coarse) == (0, 0)
    half = rounding([one_neuron(1000, 1)], "float16")
    values = one_neuron(1000, 1)[1, 7]
    changed = values.astype(np.float16).astype(np.float64) - values
    assert half.worst == pytest.approx(np.sqrt((changed**2).mean()) / values.std(dtype=np.float64), rel=1e-6)
    assert half.share_coarse == 1 / 128
    assert half.largest == np.abs(values).max()
    assert not Rounding(1.0, np.inf, 1.0).fits("bfloat16")


@pytest.mark.parametrize(("n_texts", "n_sampled"), [(20, 20), (100, 32), (1600, 50), (9000, 128)])
def test_few_texts_are_looked_at(n_texts, n_sampled):
    lengths = CHANCE.integers(1, 100, n_texts)
    languages = np.array(["de", "en", "fr"])[np.arange(n_texts) % 3]
    corpus = corpus_from_frames(pl.DataFrame({"text": map(str, range(n_texts)), "language": languages}), LABELS)
    tokens = TokenIds(np.zeros(lengths.sum(), np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    nothing = np.zeros(0, np.int64)
    texts = TokenisedCorpus(corpus, tokens, nothing, None, nothing, pools_special=True, has_loss=nothing)
    rows = sampled_rows(texts)
    assert len(rows) == n_sampled
    np.testing.assert_array_equal(rows, sampled_rows(texts))
    counts = corpus.texts["language"].gather(rows).value_counts()["count"]
    assert counts.max() - counts.min() <= 1
    assert lengths[rows].max() == lengths.max()


def test_scores_are_compared_before_and_after_rounding(small_corpus):
    rows = np.arange(small_corpus.n_texts)
    labels = sampled_labels(small_corpus, rows)
    assert labels[0].shape == (small_corpus.n_texts, len(small_corpus.concepts))
    np.testing.assert_array_equal(
        labels[0].sum(0)[np.argsort(labels[0].sum(0))], np.sort(small_corpus.concept_matrix()[0].sum(0))
    )
    values = np.repeat(NORMAL, 2, axis=2)[:, :, : small_corpus.n_texts]
    assert score_changes(values, "float32", *labels)["same_best"] == 1
    fine, coarse = (score_changes(1000 + spread * values, "float16", *labels) for spread in (100, 0.5))
    assert fine["ap_change"] < 0.01 < coarse["ap_change"] <= coarse["ap_change_most"]
    assert coarse["same_best"] < fine["same_best"] <= 1
    assert score_changes(values, "float16", labels[0][:, :0], labels[1][:, :0]) == {}


def test_sites_of_one_store_have_dtypes_of_their_own(tiny_models, small_corpus, tmp_path):
    folder, notes = scaled(tiny_models("llama"), tmp_path / "m", DOWN, 1e5), []
    extract(folder, small_corpus, tmp_path / "s", progress=lambda report: notes.append(report.note))
    store = open_store(tmp_path / "s", mode="a")
    assert {site: store.cube("m", site).dtype for site in ("mlp_pre", "resid")} == {"mlp_pre": "float16", "resid": "bfloat16"}
    assert store.recipe.site_dtypes == (("resid", "bfloat16"),)
    assert store.token_cube("m", "resid").array.attrs["logical_dtype"] == "bfloat16"
    (note,) = filter(None, notes)
    assert note == "stored as float16 (embed, mlp_pre) and bfloat16 (resid: float16 ends at 65,504)"
    extract(folder, small_corpus, tmp_path / "wide", dtype="float32")
    exact = Store(tmp_path / "wide").cube("m", "resid").read()
    np.testing.assert_allclose(store.cube("m", "resid").read(), exact, rtol=2**-8)
    frame = store.sql("SELECT * FROM site_dtypes")
    by_site = {row["site"]: row for row in frame.to_dicts()}
    assert {site: row["dtype"] for site, row in by_site.items()} == {
        **dict.fromkeys(("embed", "mlp_pre"), "float16"),
        "resid": "bfloat16",
    }
    assert by_site["resid"]["largest"] > 65_504 / dtypes.HEADROOM
    assert by_site["resid"]["ap_change"] > by_site["mlp_pre"]["ap_change"] >= 0
    assert by_site["embed"]["same_best"] is None
    assert store.sql("SELECT dtype FROM cubes ORDER BY site")["dtype"].to_list() == ["float16", "bfloat16"]
    assert store.sql("SELECT count(value) FROM activations WHERE site = 'resid'").item() == exact.size
    assert score_neurons(store).height > 0
    assert verify(tmp_path / "s").damage == ()
    # whoever comes later takes the dtypes of the store
    assert extract(folder, small_corpus, tmp_path / "s").checkpoints[0].status == "there"
    with pytest.raises(RecipeMismatch, match="site_dtypes"):
        extract(folder, small_corpus, tmp_path / "s", dtype="float16")


def test_the_last_checkpoint_decides_as_much_as_the_first(tiny_models, small_corpus, tmp_path):
    shutil.copytree(tiny_models("llama"), tmp_path / "run" / "step1")
    scaled(tiny_models("llama"), tmp_path / "run" / "step2", DOWN, 1e5)
    extract(tmp_path / "run", small_corpus, tmp_path / "s")
    assert [Store(tmp_path / "s").cube(f"run-step{step}", "resid").dtype for step in (1, 2)] == ["bfloat16"] * 2
    # one that cannot be read is told when its turn comes, and what is before it is kept
    (tmp_path / "run" / "step3").mkdir()
    (tmp_path / "run" / "step3" / "config.json").write_text((tmp_path / "run" / "step1" / "config.json").read_text())
    with pytest.raises(Exception, match="step3"):
        extract(tmp_path / "run", small_corpus, tmp_path / "t")
    assert Store(tmp_path / "t").checkpoints == ["run-step1", "run-step2"]


@pytest.fixture
def outgrown(tiny_models, small_corpus, tmp_path_factory):
    """Two checkpoints of which the second has a value beyond float16 in its second block, and the size of a block."""
    folder = tmp_path_factory.mktemp("outgrown")
    trial = scaled(tiny_models("llama"), folder / "trial", DOWN, 1e5)
    extract(trial, small_corpus, folder / "look", dtype="float32", sites=["resid"], **NO_VECTORS)
    sizes = np.abs(Store(folder / "look").cube("trial", "resid").read()).max((0, 1))
    first = int(sizes.argmax())
    assert first > 0
    factor = 1e5 * 65_504 / np.sqrt(sizes[first] * sizes[:first].max())
    shutil.copytree(tiny_models("llama"), folder / "run" / "step1")
    scaled(tiny_models("llama"), folder / "run" / "step2", DOWN, factor)
    return folder / "run", {"texts_per_block": first, **NO_VECTORS}


def test_a_value_that_outgrows_its_dtype_later_on_costs_nothing_that_fits(outgrown, small_corpus, tmp_path, monkeypatch):
    folder, options = outgrown
    # texts that were not looked at
    monkeypatch.setattr(dtypes, "sampled_rows", lambda _: np.arange(options["texts_per_block"]))
    monkeypatch.setattr(dtypes, "HEADROOM", 1.0)
    with pytest.raises(
        NotFiniteValues, match=r"text \d+, site resid, layer 1, .* dtype resid=float32 .* goes on with this store"
    ):
        extract(folder, small_corpus, tmp_path / "s", **options)
    store = Store(tmp_path / "s")
    assert (store.checkpoints, store.unfinished) == (["run-step1"], {"run-step2": options["texts_per_block"]})
    kept = {name: file for name, file in cube_files(tmp_path / "s").items() if "step1" in name}
    with pytest.raises(RecipeMismatch, match="dtype 'float16' there, 'float32' asked"):
        extract(folder, small_corpus, tmp_path / "s", dtype="float32", **options)
    with pytest.raises(RecipeMismatch, match="pooling"):
        extract(folder, small_corpus, tmp_path / "s", dtype={"mlp_pre": "float16", "resid": "float32"}, pooling="mean", **options)
    summary = extract(folder, small_corpus, tmp_path / "s", dtype={"resid": "float32"}, **options)
    assert [result.status for result in summary.checkpoints] == ["there", "extracted"]
    assert "what was begun of run-step2 has other dtypes; it is started over" in summary.warnings
    assert kept == {name: file for name, file in cube_files(tmp_path / "s").items() if "step1" in name}
    store = open_store(tmp_path / "s", mode="a")
    dtypes_of = {(row["checkpoint"], row["site"]): row["dtype"] for row in store.sql("SELECT * FROM site_dtypes").to_dicts()}
    assert dtypes_of == {
        ("run-step1", "mlp_pre"): "float16",
        ("run-step1", "resid"): "float16",
        ("run-step2", "mlp_pre"): "float16",
        ("run-step2", "resid"): "float32",
    }
    extract(folder / "step2", small_corpus, tmp_path / "alone", dtype={"mlp_pre": "float16", "resid": "float32"}, **options)
    np.testing.assert_array_equal(
        store.cube("run-step2", "resid").read(), Store(tmp_path / "alone").cube("run-step2", "resid").read()
    )
    assert verify(tmp_path / "s").damage == ()
    assert score_neurons(store).height > 0
    # the next checkpoints are stored as the last one was, without being told
    shutil.copytree(folder, tmp_path / "run")
    scaled(folder / "step2", tmp_path / "run" / "step3", DOWN, 0.5)
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s", **options)
    assert [result.status for result in summary.checkpoints] == ["there", "there", "extracted"]
    assert Store(tmp_path / "s").cube("run-step3", "resid").dtype == "float32"


def test_a_sample_that_does_not_fit_is_refused_before_anything_is_begun(outgrown, small_corpus, tmp_path):
    folder, options = outgrown
    extract(folder / "step1", small_corpus, tmp_path / "s", **options)
    with pytest.raises(NotFiniteValues, match=r"too large for float16 .*site resid, layer 1, neuron \d+; .* dtype resid=float32"):
        extract(folder, small_corpus, tmp_path / "s", **options)
    assert not (tmp_path / "s" / "manifests" / "run-step2" / "begun.json").exists()


def test_others_wait_for_the_one_that_chooses(tiny_models, small_corpus, tmp_path):
    folder, store = tiny_models("llama"), tmp_path / "s"
    choosing = Claim.hold(store / "manifests" / "dtypes.claim")
    results = []
    waiting = Thread(target=lambda: results.append(extract(folder, small_corpus, store)))
    waiting.start()
    extract(folder, small_corpus, store, dtype="float32")
    assert not results
    choosing.release()
    waiting.join()
    assert results[0].checkpoints[0].n_texts == 0
    assert Store(store).recipe.dtype == "float32"


def test_a_refused_run_leaves_no_folder(tiny_models, small_corpus, tmp_path):
    folder = scaled(tiny_models("llama"), tmp_path / "m", DOWN, float("nan"))
    with pytest.raises(NotFiniteValues, match="NaN or infinity"):
        extract(folder, small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_dtype_of_a_site_that_is_not_read_is_refused(tiny_models, small_corpus, tmp_path):
    with pytest.raises(OptionError, match="no site 'rsid' in what this run stores .dtype.; did you mean 'resid'"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s", dtype={"rsid": "float32"})
