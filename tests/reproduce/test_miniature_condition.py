"""One condition of the miniature, with a model that was hardly trained: every table of both papers is there afterwards."""

from __future__ import annotations

import pytest

from actlas.demo import train as train_module
from actlas.demo.settings import STORES
from actlas.demo.train import TrainingSettings
from actlas.query import open_store
from actlas.reproduce.compression import FIGURES
from actlas.reproduce.gather import gather
from actlas.reproduce.miniature import PROMPT_STORES
from actlas.reproduce.miniature_condition import Amounts, build, training
from actlas.reproduce.spaces import FIGURES as SPACES

TINY = TrainingSettings(
    checkpoints=(0, 2), width=16, layers=1, heads=2, vocabulary=400, batch=4, warm_up=2, languages=("en", "es", "de", "fr")
)
FEW = Amounts(
    forced=(2,), concepts=("cow", "bread"), languages=("es",), texts=2, patched=(0, 2), pairs=3, translations=("es-de",)
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("miniature")
    with pytest.MonkeyPatch.context() as patch:
        split = train_module.split_meanings
        patch.setattr(train_module, "split_meanings", lambda seed=0: (split(seed)[0][:300], split(seed)[1]))
        lines = []
        build("multi", out, lines.append, TINY, FEW)
        yield out, lines


def test_both_papers_find_their_tables(built):
    out, lines = built
    assert lines[-1] == "multi: complete"
    store, prompts = open_store(out / STORES["multi"]), open_store(out / PROMPT_STORES["multi"])
    missing = [gather(figure, [one], []).missing for one, figures in ((store, FIGURES), (prompts, SPACES)) for figure in figures]
    assert not [text for text in missing if "not computed" in text]


def test_what_was_asked_for_was_written(built):
    out, _ = built
    texts = open_store(out / STORES["multi"]).sql("SELECT DISTINCT checkpoint, concept, language FROM generations ORDER BY ALL")
    assert texts.rows() == [("multi-step2", "bread", "es"), ("multi-step2", "cow", "es")]
    pairs = open_store(out / PROMPT_STORES["multi"]).sql(
        "SELECT count(DISTINCT pair) AS n, count(DISTINCT checkpoint) FROM patches"
    )
    assert pairs.row(0) == (3, 2)


def test_model_and_control_differ_in_their_documents_alone():
    model, control = (training(condition, 1) for condition in ("multi", "mono"))
    assert model.document_shares != control.document_shares
    assert {**model.to_json(), "condition": "", "shares": ""} == {**control.to_json(), "condition": "", "shares": ""}
