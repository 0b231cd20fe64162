import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actlas.demo import train as train_module
from actlas.demo.train import TrainingSettings, is_trained, train

TINY = TrainingSettings(
    checkpoints=(0, 2, 4), width=16, layers=1, heads=2, vocabulary=400, batch=4, warm_up=2, languages=("en", "es", "de")
)


@pytest.fixture(autouse=True)
def few_meanings(monkeypatch):
    split = train_module.split_meanings

    def split_few(seed=0):
        training, held_out = split(seed)
        return training[:300], held_out

    monkeypatch.setattr(train_module, "split_meanings", split_few)


@pytest.fixture
def folder(tmp_path):
    train(tmp_path / "model", TINY)
    return tmp_path / "model"


def weights(folder):
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("step*/model.safetensors"))}


def test_checkpoints_load_with_their_tokenizer(folder):
    assert sorted(path.name for path in folder.glob("step*")) == ["step0", "step2", "step4"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "step4")
    model = AutoModelForCausalLM.from_pretrained(folder / "step4").eval()
    encoded = tokenizer(["El perro tiene miedo.", "The dog is afraid of nothing."], padding=True, return_tensors="pt")
    assert (encoded["input_ids"][:, 0] == tokenizer.bos_token_id).all()
    assert tokenizer.decode(encoded["input_ids"][0], skip_special_tokens=True).strip() == "El perro tiene miedo."
    with torch.no_grad():
        logits = model(**encoded).logits
    assert logits.shape[-1] == len(tokenizer) == model.config.vocab_size
    assert torch.isfinite(logits).all()


def test_embeddings_are_tied(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "step4")
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


def test_weights_change_with_the_step(folder):
    assert len(set(weights(folder).values())) == 3


def test_the_same_settings_give_the_same_weights(folder, tmp_path):
    train(tmp_path / "again", TINY)
    assert weights(tmp_path / "again") == weights(folder)


def test_model_and_control_start_from_the_same_weights(folder, tmp_path):
    train(tmp_path / "mono", replace(TINY, condition="mono"))
    assert weights(tmp_path / "mono")["step0"] == weights(folder)["step0"]
    assert weights(tmp_path / "mono")["step4"] != weights(folder)["step4"]


def test_a_complete_folder_is_reused_and_an_incomplete_one_is_not(folder):
    lines = []
    stamp = (folder / "step4" / "model.safetensors").stat().st_mtime_ns
    train(folder, TINY, lines.append)
    assert lines == [f"multi: already trained in {folder}"]
    assert (folder / "step4" / "model.safetensors").stat().st_mtime_ns == stamp
    assert not is_trained(folder, replace(TINY, seed=1))
    (folder / train_module.SUMMARY_FILE).unlink()
    train(folder, TINY, lines.append)
    assert lines[-1].startswith("multi: step    4 of 4, loss ")
    assert is_trained(folder, TINY)


def test_the_summary_says_what_was_trained(folder):
    summary = json.loads((folder / train_module.SUMMARY_FILE).read_text())
    assert summary["settings"] == TINY.to_json()
    assert summary["mean_loss_before_checkpoint"]["0"] is None
    assert summary["mean_loss_before_checkpoint"]["4"] > 0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="'both' is not known; choose one of multi, mono"):
        TrainingSettings(condition="both")
    with pytest.raises(ValueError, match="rising steps"):
        TrainingSettings(checkpoints=(8, 4))


def test_a_model_is_trained_by_a_module_of_its_own(tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(train_module, "train", lambda folder, settings, progress: trained.append((folder, settings, progress)))
    assert train_module.main(["--condition", "mono", "--out", str(tmp_path), "--seed", "3"]) == 0
    ((folder, settings, progress),) = trained
    assert (folder, settings.condition, settings.seed) == (tmp_path, "mono", 3)
    assert callable(progress)
