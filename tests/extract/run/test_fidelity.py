"""Texts run together beside the same texts run alone, through whole runs: honest ones pass, any mistake is refused."""

import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from actlas.errors import FidelityError, NotFiniteValues
from actlas.extract.backends.hf.backend import HfSession
from actlas.names import TokenSample
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.store.store import Store
from tests.extract.conftest import CONFIGS, FORMS
from tests.extract.mutations import MUTATIONS, ROUNDOFF
from tests.extract.runs import extract

#: Seeds of the models that honest runs are tried with; a larger number takes a minute each.
SEEDS = range(int(os.environ.get("ACTLAS_FIDELITY_SEEDS", "0")))
#: Nothing but values, which is what is checked.
PLAIN = {"loss_texts": 0, "token_sample": TokenSample(per_text=0), "count_sites": ()}


@pytest.fixture(scope="module")
def massive(tiny_models, tmp_path_factory):
    """A checkpoint with one dimension of 3000 in the residual stream, which norms take back as they do in trained models."""
    tensors = load_file(tiny_models("llama") / "model.safetensors")
    tensors["model.embed_tokens.weight"][:, 5] = 3000.0
    for name, tensor in tensors.items():
        if "norm" in name:
            # the others are as large behind the norm as they would be without that one
            tensor *= 3000 / np.sqrt(len(tensor))
            tensor[5] *= 1e-6
    folder = tmp_path_factory.mktemp("massive") / "m"
    folder.mkdir()
    for path in tiny_models("llama").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def corrupted(monkeypatch):
    """A function: from now on texts that are run together have values with a mistake."""
    run_block = HfSession.run_block

    def begin(mutate):
        def run(self, block, *, is_alone=False, dtype=None, on_batch=None):
            stage = run_block(self, block, is_alone=is_alone, dtype=dtype, on_batch=on_batch)
            if is_alone or dtype is None:
                return stage
            collect = stage.collect

            def with_mistake():
                values = collect()
                cubes = {site: mutate(np.array(cube), block.language) for site, cube in values.cubes.items()}
                return replace(values, cubes=cubes)

            stage.collect = with_mistake
            return stage

        monkeypatch.setattr(HfSession, "run_block", run)

    return begin


@pytest.mark.parametrize("dtype", sorted(ROUNDOFF))
def test_every_mistake_is_refused_beside_a_massive_dimension(dtype, massive, small_corpus, tmp_path, corrupted):
    options = {"sites": ["resid"], "compute_dtype": dtype, "dtype": "float32", **PLAIN}
    extract(massive, small_corpus, tmp_path / "honest", **options)
    record = Store(tmp_path / "honest").checkpoint("m")["fidelity"]
    assert record["n_texts"] == 8
    assert record["difference"] <= record["limit"] / 2
    assert Store(tmp_path / "honest").cube("m", "resid").read().max() >= 2900
    for name, mutate in MUTATIONS.items():
        corrupted(mutate)
        with pytest.raises(FidelityError, match=rf"run together differ .* in {dtype}, .*site resid, layer \d, .*text \d+"):
            extract(massive, small_corpus, tmp_path / name, **options)
        assert not (tmp_path / name).exists(), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "autocast-bfloat16"])
@pytest.mark.parametrize("family", ["bloom", "gemma3", "xlm_roberta", *(SEEDS and [*CONFIGS, *FORMS])])
def test_honest_runs_stay_well_below_the_limit(family, dtype, tiny_models, model_writer, small_corpus, tmp_path):
    folders = [tiny_models(family), *(model_writer(tmp_path / f"m{seed}", family, seed=seed) for seed in SEEDS)]
    for number, folder in enumerate(folders):
        store = tmp_path / f"s{number}"
        options = {"sites": ["mlp_pre", "mlp_hidden", "mlp_out", "resid"], "compute_dtype": dtype, "dtype": "float32", **PLAIN}
        try:
            extract(folder, small_corpus, store, **options)
        except NotFiniteValues:
            assert dtype == "float16"  # whose range a model may leave
            continue
        (name,) = Store(store).checkpoints
        record = Store(store).checkpoint(name)["fidelity"]
        assert record["difference"] <= 0.7 * record["limit"], record
        assert min(record["sign_agreement"], record["rank_agreement"], record["order_agreement"]) >= 0.97, record


def test_texts_of_every_language_and_the_longest_are_compared(tiny_models, text_maker, tmp_path, monkeypatch):
    alone, lengths = [], []
    run_block = HfSession.run_block

    def run(self, block, **options):
        alone.extend([block] if options.get("is_alone") else [])
        lengths.extend(block.lengths.tolist())
        return run_block(self, block, **options)

    monkeypatch.setattr(HfSession, "run_block", run)
    frame = pl.DataFrame({"text": text_maker(60, longest=40), "language": ["aa"] * 40 + ["bb"] * 15 + ["cc"] * 5})
    labels = pl.DataFrame({"text_id": range(60), "concept": ["x"] * 60, "is_concept": [True, False] * 30})
    extract(tiny_models("llama"), corpus_from_frames(frame, labels), tmp_path / "s", **PLAIN)
    (block,) = alone
    assert block.n_texts == 8
    assert set(block.language.tolist()) == {0, 1, 2}
    assert block.lengths.max() == max(lengths)
    # longer than a block of keys and values, which engines divide texts into
    assert (block.lengths > 16).sum() >= 2
