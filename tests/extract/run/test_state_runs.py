"""States kept in place of cubes: the integers that kernels make of the cube's own values, whoever added which block and when."""

from dataclasses import replace

import numpy as np
import pytest

from actlas.errors import CorpusError, OptionError, RecipeMismatch, StateTooLarge
from actlas.extract import extract_activations
from actlas.extract.backends.hf import backend as backend_hf
from actlas.extract.run.states import drawn_texts
from actlas.kernels import HistogramState, MomentState
from actlas.store.store import Store
from actlas.store.write import state_writer

OPTIONS = {"sites": ("mlp_pre", "resid"), "device": "cpu", "max_tokens": 60, "texts_per_block": 4, "syncs": False}
KINDS = ("counts", "moments", "histogram")


def extract(model, corpus, store, **changes):
    return extract_activations(model, corpus, store, **{**OPTIONS, **changes})


def state_files(store):
    """All bytes of the states and counts of a store."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in ("states", "counts", "corpus")
        for path in sorted((store / folder).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_states_are_those_of_the_cube_s_values(dtype, tiny_models, small_corpus, tmp_path):
    extract(tiny_models("llama"), small_corpus, tmp_path / "cube", dtype=dtype)
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", dtype=dtype, stats_only=KINDS, active_threshold=0.1)
    cubes, store = Store(tmp_path / "cube"), Store(tmp_path / "s")
    assert (store.sites("llama"), store.state_sites("llama")) == ([], ["mlp_pre", "resid"])
    for site in ("mlp_pre", "resid"):
        states = store.states("llama", site)
        for sets in states.sets:
            values = cubes.cube("llama", site).read(texts=sets.rows).astype(np.float32)
            for layer in range(2):
                where = slice(sets.first, sets.first + sets.n_sets)
                moments = MomentState.init(values.shape[1], len(sets.concepts), 0.1, sets.member_set)
                moments.update(values[layer], sets.is_concept, sets.is_member)
                for name in ("active", "total", "squares"):
                    np.testing.assert_array_equal(states.read(name, layer, where), getattr(moments, name))
                low, high = states.read("range", layer)
                codes = HistogramState.init(low, high, len(sets.concepts), sets.member_set)
                codes.update(values[layer], sets.is_concept, sets.is_member)
                np.testing.assert_array_equal(states.read("codes", layer, where), codes.codes)
    assert not (tmp_path / "s" / "cubes").exists()
    assert not (tmp_path / "s" / "tokens").exists()
    assert not (tmp_path / "s" / "manifests" / "llama" / "states").exists()
    assert store.token_counts("llama", "mlp_pre").active.shape == (2, 2, 40)


@pytest.mark.parametrize("memory", [None, 100_000])
@pytest.mark.parametrize("commit_seconds", [0.0, 1000.0])
def test_a_stopped_run_goes_on_with_the_same_bytes(memory, commit_seconds, tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "whole", stats_only=KINDS)
    monkeypatch.setattr(state_writer, "COMMIT_SECONDS", commit_seconds)
    monkeypatch.setattr(state_writer, "_COMMIT_SHARE", 0.0)
    run_block = backend_hf.HfSession.run_block
    for stop_at in (4, 3, 5):
        seen = []

        def stops(self, block, *args, seen=seen, stop_at=stop_at, **kwargs):
            seen.append(block)
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            return run_block(self, block, *args, **kwargs)

        monkeypatch.setattr(backend_hf.HfSession, "run_block", stops)
        with pytest.raises(KeyboardInterrupt):
            extract(folder, small_corpus, tmp_path / "s", stats_only=KINDS, fidelity_texts=0, state_bytes=memory)
    monkeypatch.setattr(backend_hf.HfSession, "run_block", run_block)
    there = Store(tmp_path / "s").unfinished["llama"]
    assert there > 0
    summary = extract(folder, small_corpus, tmp_path / "s", stats_only=KINDS, fidelity_texts=0, state_bytes=memory)
    assert summary.checkpoints[0].n_texts == 44 - there
    assert state_files(tmp_path / "s") == state_files(tmp_path / "whole")


def test_several_checkpoints_and_a_second_call(model_writer, small_corpus, tmp_path, monkeypatch):
    for step in (1, 2):
        model_writer(tmp_path / "run" / f"step{step}", "llama", seed=step)
    extract(tmp_path / "run", small_corpus, tmp_path / "s", stats_only=("moments",))
    before = state_files(tmp_path / "s")
    (tmp_path / "s" / "manifests" / "run-step1" / "states" / "slot-0").mkdir(parents=True)
    monkeypatch.setattr(backend_hf, "load_weights", lambda *_: pytest.fail("a complete checkpoint was loaded"))
    summary = extract(tmp_path / "run", small_corpus, tmp_path / "s", stats_only=("moments",))
    assert [result.status for result in summary.checkpoints] == ["there", "there"]
    assert state_files(tmp_path / "s") == before
    assert not (tmp_path / "s" / "manifests" / "run-step1" / "states").exists()
    with pytest.raises(RecipeMismatch, match="states"):
        extract(tmp_path / "run", small_corpus, tmp_path / "s", stats_only=("moments", "histogram"))


def test_kinds_that_are_not_known_and_corpora_without_labels_are_refused(tiny_models, small_corpus, tmp_path):
    refusals = {
        ("moment",): "'moment' is not known; choose one of counts, moments, histogram",
        "moments": "must be True or False or several values",
    }
    for wrong, message in refusals.items():
        with pytest.raises(OptionError, match=f"stats_only {message}"):
            extract(tiny_models("llama"), small_corpus, tmp_path / "s", stats_only=wrong)
    bare = replace(small_corpus, labels=small_corpus.labels.clear())
    with pytest.raises(CorpusError, match="moments are kept per concept"):
        extract(tiny_models("llama"), bare, tmp_path / "s", stats_only=("moments",))
    assert not (tmp_path / "s").exists()
    extract(tiny_models("llama"), bare, tmp_path / "s", stats_only=("counts",))


def test_too_little_memory_is_said_or_refused(tiny_models, small_corpus, tmp_path):
    with pytest.raises(StateTooLarge, match="or allow more"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s", stats_only=KINDS, state_bytes=50_000)
    summary = extract(tiny_models("llama"), small_corpus, tmp_path / "s", stats_only=KINDS, state_bytes=100_000)
    assert any("go through the disk with every block" in line for line in summary.warnings)


def test_the_texts_of_the_range_are_of_every_language_and_do_not_depend_on_the_rest(small_corpus):
    rows = drawn_texts(small_corpus, 10, seed=0)
    assert len(rows) == 10
    assert (rows < 23).sum() == 5
    assert (np.diff(rows) > 0).all()
    assert drawn_texts(small_corpus, 10, seed=1).tolist() != rows.tolist()
    is_kept = np.ones(44, dtype=bool)
    is_kept[np.setdiff1d(np.arange(23), rows)[:3]] = False
    smaller = small_corpus.keep(is_kept)
    ids = small_corpus.texts["text_id"].to_numpy()[rows]
    assert smaller.texts["text_id"].to_numpy()[drawn_texts(smaller, 10, seed=0)].tolist() == ids.tolist()
    assert len(drawn_texts(small_corpus, 1000, seed=0)) == 44
