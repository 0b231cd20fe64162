"""Weights are described beside a run, once, and shown with its checkpoint."""

import shutil

import polars as pl
import pytest
from safetensors.torch import load_file

import actlas
from actlas.extract.checkpoints import weights
from actlas.extract.run import checkpoint_run
from actlas.extract.run import weights as in_run
from actlas.query import TABLES
from actlas.store.integrity import verify
from actlas.store.layout import WEIGHTS_FILE
from actlas.store.store import Store
from tests.extract.runs import extract, scaled

FEW = {"sites": ("mlp_pre",), "fidelity_texts": 0, "proves_sites": False}


@pytest.fixture(scope="module")
def extracted(tiny_models, small_corpus, tmp_path_factory):
    """A store of two checkpoints, of which one matrix differs, and of a twin of the second."""
    folder = tmp_path_factory.mktemp("weights")
    first = shutil.copytree(tiny_models("llama"), folder / "m-step1")
    second = scaled(first, folder / "m-step2", "model.layers.1.mlp.up_proj.weight", 1.5)
    extract([str(first), str(second)], small_corpus, folder / "s", **FEW)
    return first, folder / "s"


def test_every_tensor_has_a_row_with_its_norm(extracted):
    first, store = extracted
    table = actlas.open_store(store).sql("SELECT * FROM weights WHERE checkpoint = 'm-step1'")
    tensors = load_file(first / "model.safetensors")
    assert dict(table.select("module", "norm").rows()) == pytest.approx(
        {name: float(tensor.double().norm()) for name, tensor in tensors.items()}
    )
    assert table["layer"].max() == 1
    assert table.columns == list(TABLES["weights"].columns)
    assert table.equals(actlas.open_store(store).scan("weights").filter(pl.col("checkpoint") == "m-step1").collect())


def test_only_what_changed_has_a_distance(extracted):
    first, store = extracted
    space = actlas.parameter_space(store).filter(pl.col("checkpoint") == "m-step2", pl.col("distance_previous").is_not_null())
    moved = space.filter(pl.col("distance_previous") > 0)
    assert moved.select("module", "previous", "last").rows() == [("model.layers.1.mlp.up_proj.weight", "m-step1", "m-step2")]
    norm = load_file(first / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].norm()
    # fewer numbers than a sketch has: no error
    assert moved["distance_previous"].item() == pytest.approx(float(0.5 * norm), rel=1e-5)
    assert moved["cosine_previous"].item() == pytest.approx(1)
    still = space.filter(pl.col("distance_previous") == 0)
    assert still.height == space.height - 1
    assert (still["cosine_previous"] == 1).all()


def test_verify_covers_the_table_and_a_damaged_one_is_not_read(extracted, tmp_path):
    copy = shutil.copytree(extracted[1], tmp_path / "s")
    assert verify(copy).damage == ()
    file = copy / "manifests" / "m-step1" / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    assert verify(copy).damage == (f"manifests/m-step1/{WEIGHTS_FILE}: it does not hold what was committed",)
    with pytest.raises(actlas.errors.DamagedStore, match="weights"):
        actlas.parameter_space(copy)


def test_parts_and_one_process_after_the_other_describe_them_once(extracted, tiny_models, small_corpus, tmp_path, monkeypatch):
    calls = []
    describe = weights.describe_weights
    monkeypatch.setattr(in_run, "describe_weights", lambda *given: calls.append(given) or describe(*given))
    for part in ((1, 2), (2, 2)):
        extract(str(extracted[0]), small_corpus, tmp_path / "parts", part=part, **FEW)
    assert len(calls) == 1
    file = f"manifests/m-step1/{WEIGHTS_FILE}"
    assert (tmp_path / "parts" / file).read_bytes() == (extracted[1] / file).read_bytes()


def test_beside_a_device_they_are_described_meanwhile_and_on_the_cpu_afterwards(extracted, small_corpus, tmp_path, monkeypatch):
    begun, asked = in_run.describing, []

    def beside(*given, meanwhile):
        asked.append(meanwhile)
        return begun(*given, meanwhile=True)

    monkeypatch.setattr(checkpoint_run, "describing", beside)
    extract(str(extracted[0]), small_corpus, tmp_path / "s", **FEW)
    assert asked == [False]
    file = f"manifests/m-step1/{WEIGHTS_FILE}"
    assert (tmp_path / "s" / file).read_bytes() == (extracted[1] / file).read_bytes()


def test_a_run_that_fails_shows_nothing_and_the_next_one_has_it_all(extracted, small_corpus, tmp_path, monkeypatch):
    def broken(*_):
        raise actlas.errors.ModelNotLoaded("the file is gone")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(in_run, "describe_weights", broken)
        with pytest.raises(actlas.errors.ModelNotLoaded, match="the file is gone"):
            extract(str(extracted[0]), small_corpus, tmp_path / "s", **FEW)
    assert Store(tmp_path / "s").checkpoints == []
    extract(str(extracted[0]), small_corpus, tmp_path / "s", **FEW)
    assert Store(tmp_path / "s").snapshot().checkpoints["m-step1"].weights_digest is not None


def test_without_them_the_table_is_empty_and_the_question_says_why(extracted, small_corpus, tmp_path):
    seen = []
    extract(str(extracted[0]), small_corpus, tmp_path / "s", describes_weights=False, progress=seen.append, **FEW)
    assert "weights" not in {report.stage for report in seen}
    store = actlas.open_store(tmp_path / "s")
    assert store.sql("SELECT * FROM weights").height == store.sql("SELECT * FROM parameter_space").height == 0
    assert store.scan("weights").collect().height == 0
    with pytest.raises(actlas.errors.QueryError, match="nothing is known of the weights of m-step1: .*--no-weights"):
        actlas.parameter_space(store)


def test_a_twin_is_compared_with_the_last_trained_checkpoint(extracted, small_corpus, tmp_path):
    extract(str(extracted[0]), small_corpus, tmp_path / "s", random_twin=True, twin_seed=3, **FEW)
    space = actlas.parameter_space(tmp_path / "s").filter(pl.col("kind") == "mlp.up_proj")
    twin = space.filter(pl.col("checkpoint") == "m-random3")
    assert twin.select("previous", "last").unique().rows() == [(None, "m-step1")]
    assert (twin["distance_last"] > 0).all()
    assert twin["cosine_last"].is_finite().all()
