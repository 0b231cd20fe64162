"""Arguments of macros: what is not there is refused with what is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from actlas.errors import CheckpointNotFound, QueryError, TableNotFound
from actlas.query import Atlas, language_neurons, open_store, top_experts
from actlas.query.sql.arguments import Parameter, parameters
from actlas.query.sql.macro import macros

CK = "'planted-step64'"


@pytest.fixture(scope="module")
def store(scored_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    path = tmp_path_factory.mktemp("arguments") / "s.actlas"
    shutil.copytree(scored_path, path)
    top_experts(path, k=20, keep=True, checkpoints=["planted-step0", "planted-step64"])
    language_neurons(path, keep=True)
    return open_store(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (f"best_experts({CK}, 'xx', 'water')", "no language 'xx' in .*; it has fr, en, es"),
        (f"best_experts({CK}, 'en', 'watr')", "no concept 'watr' in .*; did you mean 'water'\\? it has fire, salt, water, yeast"),
        ("best_experts('planted-step46', 'en', 'water')", "no checkpoint 'planted-step46' .*did you mean 'planted-step64'"),
        ("shared_by_layer('planted-step128')", "expert_mask was not computed for planted-step128, only for planted-step0, pl"),
        ("best_experts(NULL, 'en', 'water')", "checkpoint must be a string, not None"),
        ("best_experts(getvariable('typo'), 'en', 'water')", "no checkpoint 'planted-step6x'"),
        (f"best_experts(con := 'watr', ck := {CK}, lang := 'en')", "no concept 'watr'"),
        (f"best_experts({CK}, 'en', 'water', n := 0)", "n must be at least 1, not 0"),
        (f"best_experts({CK}, 'en', 'water', n := 21)", "holds the 20 best neurons of planted-step64, not 21: ask for fewer, or"),
        (f"steering_mask({CK}, 'en', 'water')", "holds the 20 best neurons of planted-step64, not 500"),
        (f"steering_mask({CK}, 'en', 'water', n := 500)", "actlas experts .* --k 500"),
        (f"overlap_at({CK}, 'water', 10 + 11)", "holds the 20 best neurons of planted-step64, not 21"),
        ("first_shared('water', m := 9)", r"m = 9, but the corpus .* has 3 languages \(fr, en, es\); ask for 3 or fewer"),
        (f"shared_experts({CK}, 'water', m := -1)", "m must be at least 1, not -1"),
        ("neuron_scores('mlp_per', 0, 0, 'water')", "no site 'mlp_per' in .*; did you mean 'mlp_pre'\\?"),
        ("neuron_scores('mlp_pre', 0, 400, 'water')", "has 2 layers of 40 neurons, no neuron 400 in layer 0"),
        ("neuron_scores('mlp_pre', 0, -1, 'water')", "neuron must be at least 0, not -1"),
        (f"neuron_texts({CK}, 'resid', 0, 0)", "no site 'resid' in planted-step64; it has attn_out, mlp_hidden, mlp_pre"),
        (f"neuron_texts({CK}, 'mlp_pre', 0, 0, n := 145)", "n = 145, but the corpus of .* has 144 texts"),
        (f"group_texts({CK}, 'en', 'water', k := 21)", "holds the 20 best neurons of planted-step64, not 21"),
        (f"group_texts({CK}, 'en', 'water', n := 145)", "n = 145, but the corpus of .* has 144 texts"),
        (
            f"group_texts({CK}, 'en', 'water', combine := 'most')",
            "combine 'most' is not known; choose one of mean, sum, min, max",
        ),
        (f"nearest_texts({CK}, 144, 'en', 'water')", "no text 144 in .*, whose text_id go from 0 to 143"),
        (f"nearest_texts({CK}, 3, 'en', 'water', metric := 'l3')", "metric 'l3' is not known; choose one of l1, l2, cosine"),
        (f"neurons_above({CK}, 'water', 1.5)", "x must be at least 0 and at most 1, not 1.5"),
        (f"neurons_above({CK}, 'water', 'half')", "x must be a number, not 'half'"),
        (f"experts_by_layer({CK}, k := 21)", "holds the 20 best neurons of planted-step64, not 21"),
        (f"next_experts({CK}, 'en', 'water', 11, 10)", "holds the 20 best neurons of planted-step64, not 21"),
        ("stability_at(21)", "holds the 20 best neurons of planted-step0, not 21"),
        (f"random_experts({CK}, 'en', 'water', 3, seed := -1)", "seed must be at least 0, not -1"),
        ("checkpoint_flags(rise := 0)", "rise must be above 0, not 0"),
        ("neuron_activity('mlp_pre', 0, 0)", "no site 'mlp_pre' in .*; it has mlp_hidden"),
        (f"text_activity({CK}, 'mlp_pre', 0, 'low')", "threshold must be a number, not 'low'"),
        (f"language_mask({CK}, 'ens')", "no language 'ens' in .*; did you mean 'e[ns]'"),
        (f"best_experts({CK}, 'en', 'water', nn := 3)", "no argument nn; did you mean 'n'"),
        (f"best_experts({CK}, 'en')", "concept has no value; it is asked as best_experts.checkpoint, language, concept, n := 10"),
        (f"best_experts({CK}, 'en', 'water', 3, 4)", "best_experts takes 4 arguments, not 5"),
        (f"lape_overlap({CK}, 'nope')", "no checkpoint 'nope'"),
        ("language_experts('nope')", "no checkpoint 'nope'"),
    ],
)
def test_a_call_for_what_is_not_there_is_refused(store: Atlas, call: str, message: str) -> None:
    with pytest.raises((QueryError, CheckpointNotFound)) as caught:
        store.sql(f"SET VARIABLE typo = 'planted-step6x'; SELECT count(*) FROM {call}")
    assert re.search(message, str(caught.value)), str(caught.value)
    # inside of a variable, too
    with pytest.raises((QueryError, CheckpointNotFound), match=message):
        store.sql(f"SET VARIABLE typo = 'planted-step6x'; SET VARIABLE n = (SELECT count(*) FROM {call}); SELECT 1")


def test_a_call_for_what_is_there_answers(store: Atlas) -> None:
    assert store.sql(f"FROM best_experts({CK}, 'en', 'water', n := 20)").height == 20
    assert store.sql(f"FROM steering_mask({CK}, 'en', 'wa' || 'ter', n := 20)").height == 20
    assert store.sql(f"FROM overlap_at({CK}, 'water', 20)").height == 3
    assert store.sql(f"FROM neuron_texts({CK}, 'mlp_pre', 1, 39, n := 144)").height == 144
    # an argument that differs from row to row has no one value to check
    checkpoint = "(SELECT 'planted-step0' AS name) AS c"
    rows = store.sql(f"SELECT c.name, b.* FROM {checkpoint}, best_experts(c.name, 'en', 'water') AS b")
    assert rows.height == 10


def test_every_macro_says_what_its_parameters_are() -> None:
    known = {"checkpoint", "checkpoint_a", "checkpoint_b", "language", "concept", "site", "layer", "neuron", "n", "k", "m", "x"}
    known |= {"combine", "intervention", "metric", "percent", "rise", "seed", "skip", "text_id", "threshold"}
    assert {each.word for macro in macros().values() for each in macro.parameters} == known
    assert parameters("f()", "CREATE MACRO f() AS TABLE SELECT 1") == ()
    assert parameters("f(k := NULL)", "CREATE MACRO f(k := NULL) AS TABLE SELECT 1") == (Parameter("k", "k", True, None),)
    assert parameters("f(n := 2)", "CREATE MACRO f(n := 2) AS TABLE SELECT 1") == (Parameter("n", "n", True, 2),)


def test_what_a_macro_reads_has_to_be_computed(store: Atlas, tmp_path: Path) -> None:
    with pytest.raises(TableNotFound, match="table probe was not computed yet"):
        store.sql("FROM probe_by_checkpoint()")
