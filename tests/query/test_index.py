"""Every question has its three forms, and all of them give the same rows."""

from __future__ import annotations

import ast
import inspect
import io
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import actlas.query
from actlas.cli import parser, run
from actlas.query import Atlas, open_store
from actlas.query.index import QUESTIONS, Question
from actlas.query.measures.registry import MEASURES
from actlas.query.schema import TABLES
from actlas.query.sql.macro import macro_call, macros

BY_NAME = {question.name: question for question in QUESTIONS}
CK, EN, SALT = "planted-step64", "en", "salt"
#: Macro -> its arguments, by the words of its description.
GIVEN: dict[str, dict[str, Any]] = {
    "best_experts": {"checkpoint": CK, "language": EN, "concept": SALT, "n": 3},
    "experts_by_layer": {"checkpoint": CK, "k": 4},
    "anti_experts": {"checkpoint": CK, "language": EN, "concept": SALT, "n": 4},
    "random_experts": {"checkpoint": CK, "language": EN, "concept": SALT, "k": 5, "seed": 3},
    "next_experts": {"checkpoint": CK, "language": EN, "concept": SALT, "k": 2, "skip": 3},
    "steering_mask": {"checkpoint": CK, "language": EN, "concept": SALT, "n": 3},
    "neuron_scores": {"site": "mlp_pre", "layer": 1, "neuron": 3, "concept": SALT},
    "neuron_trajectory": {"site": "mlp_pre", "layer": 1, "neuron": 3},
    "alike_neurons": {"checkpoint": CK, "site": "mlp_pre", "layer": 0, "neuron": 36, "n": 5},
    "neurons_above": {"checkpoint": CK, "concept": SALT, "x": 0.6, "m": 2},
    "first_above": {"concept": SALT, "x": 0.6, "m": 2},
    "overlap_at": {"checkpoint": CK, "concept": "yeast", "k": 4},
    "overlap_evidence": {"checkpoint": CK},
    "shared_experts": {"checkpoint": "planted-step128", "concept": SALT, "m": 2, "k": 5},
    "shared_by_layer": {"checkpoint": CK, "m": 2},
    "first_shared_by_concept": {"m": 2},
    "first_shared": {"concept": SALT, "m": 2},
    "stability_at": {"k": 5},
    "language_mask": {"checkpoint": CK, "language": "es"},
    "lape_overlap": {"checkpoint_a": "planted-step0", "checkpoint_b": CK},
    "language_experts": {"checkpoint": CK},
    "experts_in_sets": {"checkpoint": CK},
    "neuron_activity": {"site": "mlp_hidden", "layer": 0, "neuron": 16},
    "text_activity": {"checkpoint": CK, "site": "mlp_pre", "layer": 0, "threshold": 1.5},
    "language_effects": {"checkpoint": CK, "intervention": "zero"},
    "set_effects": {"checkpoint": CK},
    "probe_intervals": {},
    "probe_onset": {"percent": 80},
    "probe_class_accuracy": {},
    "probe_by_checkpoint": {},
    "probe_sharing": {"m": 2},
    "neuron_texts": {"checkpoint": CK, "site": "mlp_pre", "layer": 0, "neuron": 4, "n": 3},
    "neuron_token_values": {"checkpoint": CK, "site": "mlp_pre", "layer": 0, "neuron": 4, "n": 2},
    "group_texts": {"checkpoint": CK, "language": EN, "concept": SALT, "k": 5, "n": 7, "combine": "l2"},
    "nearest_texts": {"checkpoint": CK, "text_id": 77, "language": EN, "concept": SALT, "k": 5, "n": 7, "metric": "l1"},
    "steering_languages": {},
    "language_shift": {},
    "concept_rate": {},
    "patching_by_layer": {},
    "patching_onset": {},
    "checkpoint_flags": {"rise": 1},
    "same_weights": {},
}
#: Questions that have no rows on the planted store.
EMPTY = {"same_weights", "language_experts", "experts_in_sets"}


def _patches(store: Atlas) -> pl.DataFrame:
    return store.scan("patches").collect()


def _one(**given: Any) -> dict[str, Any]:
    """One checkpoint, language and concept as functions that take several want them."""
    return {"languages": [EN], "concepts": [SALT], **given}


def _five(store: Atlas) -> pl.DataFrame:
    return actlas.query.top_experts(store, **_one(k=5, checkpoints=[CK]))


#: Questions whose function has parameters of its own -> the call.
CALLS: dict[str, Callable[[Atlas], pl.DataFrame]] = {
    "best_experts": lambda store: actlas.query.top_experts(store, **_one(k=3, checkpoints=[CK])),
    "next_experts": lambda store: actlas.query.control_experts(store, CK, **_one(kind="next", k=2, skip=3)),
    "first_shared": lambda store: actlas.query.first_shared(actlas.query.shared_trajectory(store, k=6, concepts=[SALT]), 2),
    "stability_at": lambda store: actlas.query.rank_stability(store, k=5),
    "patching_by_layer": lambda store: actlas.query.patching_by_layer(_patches(store)),
    "patching_onset": lambda store: actlas.query.patching_onset(_patches(store)),
    "overlap": lambda store: actlas.query.expert_overlap(store, k=6),
    "overlap_by_layer": lambda store: actlas.query.expert_overlap(store, k=6, by_layer=True),
    "overlap_tests_by_layer": lambda store: actlas.query.overlap_tests(store, k=6, n_repeats=19, by="layer"),
    "overlap_tests_by_concept": lambda store: actlas.query.overlap_tests(store, k=6, n_repeats=19, by="concept"),
    "overlap_controls_by_layer": lambda store: actlas.query.overlap_controls(store, k=6, by_layer=True),
    "overlap_tests": lambda store: actlas.query.overlap_tests(store, k=6, n_repeats=19),
    "overlap_controls": lambda store: actlas.query.overlap_controls(store, k=6),
    "trajectory": lambda store: actlas.query.shared_trajectory(store, k=6),
    "rank_stability": lambda store: actlas.query.rank_stability(store, k=6),
    "lape": lambda store: actlas.query.language_neurons(store, share=0.05),
    "probe": lambda store: actlas.query.train_probes(store, seeds=(0, 1)),
    "probe_classes": lambda store: actlas.query.probe_classes(store, seeds=(0, 1)),
    "probe_controls": lambda store: actlas.query.probe_controls(store, sites=["embed"], seeds=(0,), c=1.0),
    "probe_transfer": lambda store: actlas.query.probe_transfer(store, "concept:salt", sites=["embed"], seeds=(0,), c=1.0),
    "effective_rank": lambda store: actlas.query.effective_rank(store, n_splits=1),
    "top_texts": lambda store: actlas.query.top_texts(store, sites=["mlp_pre"], n=5),
    "group_texts": lambda store: actlas.query.group_texts(store, CK, _five(store), n=7, combine="l2"),
    "nearest_texts": lambda store: actlas.query.nearest_texts(store, CK, 77, _five(store), n=7, metric="l1"),
    "parameter_space": actlas.query.parameter_space,
}
#: Questions that the command line asks by a verb of their own -> what stands behind the store.
OPTIONS = {
    "best_experts": f"--k 3 --checkpoint {CK} --language {EN} --concept {SALT} --no-keep",
    "neuron_trajectory": "--neuron mlp_pre/1/3",
    "overlap": "--k 6 --no-keep",
    "overlap_by_layer": "--by layer --k 6 --no-keep",
    "overlap_tests_by_layer": "--tests --by layer --k 6 --repeats 19 --no-keep",
    "overlap_tests_by_concept": "--tests --by concept --k 6 --repeats 19 --no-keep",
    "overlap_controls_by_layer": "--controls --by layer --k 6 --no-keep",
    "overlap_tests": "--tests --k 6 --repeats 19 --no-keep",
    "overlap_controls": "--controls --k 6 --no-keep",
    "trajectory": "--k 6 --no-keep",
    "rank_stability": "--stability --k 6 --no-keep",
    "lape": "--share 0.05 --no-keep",
    "probe": "--seeds 2 --no-keep",
    "probe_classes": "--of classes --seeds 2 --no-keep",
    "probe_controls": "--of controls --site embed --seeds 1 --c 1 --no-keep",
    "probe_transfer": "--of transfer --label concept:salt --site embed --seeds 1 --c 1 --no-keep",
    **{measure.function: "--no-keep" for measure in MEASURES},
    "effective_rank": "--splits 1 --no-keep",
    "top_texts": "--site mlp_pre --n 5 --no-keep",
    "parameter_space": "",
}


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows in an order of their own: by what names them."""
    names = [name for name, dtype in frame.schema.items() if not dtype.is_float() and not dtype.is_nested()]
    return frame.sort(names, nulls_last=True, maintain_order=True)


def _assert_same(answer: pl.DataFrame, in_sql: pl.DataFrame) -> None:
    # threads add up means in any order, so their last digits differ from call to call
    assert_frame_equal(_in_order(answer), _in_order(in_sql), rel_tol=1e-12)


def _command(question: Question, store: Atlas) -> list[str]:
    verb, *rest = question.verb.split()
    if verb == "ask":
        given = GIVEN[question.name]
        return ["ask", str(store.path), question.name, *[f"{word}={value}" for word, value in given.items()]]
    words = [verb, *rest[: rest.index("STORE")]]
    return [*words, str(store.path), *OPTIONS[question.name].split()]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_sql_the_function_and_the_command_line_give_the_same_rows(
    asked: Atlas, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    store, question = open_store(asked.path), BY_NAME[name]
    given = GIVEN.get(name, {})
    in_sql = store.sql(macro_call(name, given) if question.is_macro else question.sql, given)
    assert in_sql.height > 0 or name in EMPTY
    if question.is_macro:
        _assert_same(store.ask(name, **given), in_sql)
    function = getattr(actlas.query, question.function)
    _assert_same(CALLS[name](store) if name in CALLS else function(store, **given), in_sql)
    assert run(["--quiet", *_command(question, store), "--format", "arrow"]) == 0
    _assert_same(pl.read_ipc_stream(io.BytesIO(capfdbinary.readouterr().out)), in_sql)


def test_every_macro_and_function_is_a_question() -> None:
    assert {question.name for question in QUESTIONS if question.is_macro} == set(macros())
    assert {question.name for question in QUESTIONS} - set(macros()) <= set(TABLES)
    for question in QUESTIONS:
        assert inspect.isfunction(getattr(actlas.query, question.function)), question.name


def test_every_verb_is_there() -> None:
    top = parser()
    for question in QUESTIONS:
        words = question.verb.replace("STORE", "run.actlas").replace("SITE/LAYER/NEURON", "mlp_pre/0/1").split()
        assert top.parse_args(words).verb == words[0]


def test_every_macro_is_called_as_it_is_described() -> None:
    """What can be left out has the same name in SQL, where it is written with it."""
    for macro in macros().values():
        for parameter in macro.parameters:
            assert not parameter.is_optional or parameter.name == parameter.word, macro.name
        assert set(GIVEN[macro.name]) <= {parameter.word for parameter in macro.parameters}
        assert ast.literal_eval(repr(GIVEN[macro.name])) == GIVEN[macro.name]
