"""Messages of the widget: every question is answered as the server answers it, and what goes wrong is one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import actlas
from actlas.errors import NameNotFound, StoreNotFound
from actlas.explore.server.tables import described, schema, table
from actlas.explore.views import VIEWS
from actlas.query import Atlas, open_store, score_neurons, top_experts
from actlas.testing.planted import planted_store

anywidget = pytest.importorskip("anywidget", reason="widgets need anywidget")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    path = planted_store(tmp_path_factory.mktemp("widget") / "run.actlas")
    score_neurons(path, sites=["mlp_pre"], stats=("ap", "median"))
    top_experts(path, k=5, keep=True)
    opened = open_store(path)
    yield opened
    opened.close()


@pytest.fixture
def widget(store: Atlas) -> Any:
    made = actlas.Widget(store, "concept", {"concept": "water"}, height=400, theme="dark")
    made.sent = []
    made.send = made.sent.append
    return made


def asked(widget: Any, content: Any) -> Any:
    """What the widget says to a message of its front end; None if it says nothing."""
    before = len(widget.sent)
    widget._handle_custom_msg(content, [])
    assert len(widget.sent) <= before + 1
    return widget.sent[-1] if len(widget.sent) > before else None


def test_what_is_shown_is_its_state(widget: Any) -> None:
    state = widget.get_state()
    assert (state["view"], state["params"], state["height"], state["theme"]) == ("concept", {"concept": "water"}, 400, "dark")
    assert "export default { render }" in state["_esm"]
    assert ".actlas" in state["_css"]
    # the front end says where the reader went
    widget.set_state({"view": "store", "params": {}})
    assert widget.view == "store"


def test_the_same_answers_as_the_server(widget: Any, store: Atlas) -> None:
    given = {"concept": "water"}
    view = VIEWS["concept"]
    said = asked(widget, {"id": 1, "ask": "describe", "view": "concept", "params": given})
    assert said == {"id": 1, "answer": msgspec.json.decode(described(view, given, store.sql, []))}
    assert said["answer"]["params"]["concept"] == "water"
    for part in view.parts:
        said = asked(widget, {"id": part.name, "ask": "answer", "view": "concept", "part": part.name, "params": given})
        assert said == {"id": part.name, "answer": msgspec.json.decode(table(view, part.name, given, store.sql))}
    assert asked(widget, {"id": 2, "ask": "schema"}) == {"id": 2, "answer": msgspec.json.decode(schema(store.sql))}


def test_parameters_may_be_numbers_or_left_out(widget: Any) -> None:
    params = {"site": "mlp_pre", "layer": 1, "neuron": 5, "checkpoint": None}
    answer = asked(widget, {"id": 1, "ask": "describe", "view": "neuron", "params": params})["answer"]
    assert (answer["params"]["layer"], answer["params"]["neuron"]) == (1, 5)


def test_a_typed_query_is_answered_and_may_not_write(widget: Any, store: Atlas) -> None:
    def typed(query: str) -> Any:
        message = {"id": 3, "ask": "answer", "view": "sql", "part": "answer", "params": {"query": query}}
        return asked(widget, message)["answer"]

    assert typed("SELECT count(*) AS n FROM texts")["values"] == [[store.corpus.n_texts]]
    for query in ("DROP TABLE texts", "CREATE TABLE t AS SELECT 1", "COPY texts TO 'x.csv'", "FROM read_text('/etc/passwd')"):
        answer = typed(query)
        assert answer["error"]["kind"] == "QueryError"
        assert "\n" not in answer["error"]["text"]
    assert store.sql("SELECT count(*) FROM texts").item() == store.corpus.n_texts


def test_tokens_come_from_what_is_kept_or_say_what_keeps_them(widget: Any) -> None:
    answer = asked(widget, {"id": 4, "ask": "heat", "params": {"site": "mlp_pre", "layer": 0, "neuron": 4, "text_id": 77}})[
        "answer"
    ]
    assert answer["error"]["kind"] == "QueryError"
    assert "actlas tokens" in answer["error"]["text"]


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ({"ask": "describe", "view": "concpt"}, "NameNotFound", "did you mean 'concept'"),
        ({"ask": "answer", "view": "concept", "part": "nothing"}, "NameNotFound", "no table"),
        ({"ask": "describe", "view": "concept", "params": {"concept": "watr"}}, "QueryError", "did you mean 'water'"),
        ({"ask": "describe", "view": "concept", "params": {"colour": "red"}}, "QueryError", "colour"),
        ({"ask": "describe", "view": "concept", "params": {"concept": ["water"]}}, "ValidationError", "params"),
        ({"ask": "write", "view": "concept"}, "ValidationError", "ask"),
        ({"ask": "describe", "view": "concept", "more": 1}, "ValidationError", "more"),
        ({}, "ValidationError", "ask"),
    ],
)
def test_what_goes_wrong_is_one_line(widget: Any, message: dict[str, Any], kind: str, words: str) -> None:
    said = asked(widget, {"id": 5, **message})
    assert said["id"] == 5
    assert said["error"]["kind"] == kind
    assert words in said["error"]["text"]
    assert "\n" not in said["error"]["text"]


@pytest.mark.parametrize("content", ["hello", None, [], 7, {}, {"ask": "schema"}, {"id": [1], "ask": "schema"}])
def test_who_cannot_be_told_is_not_answered(widget: Any, content: Any) -> None:
    assert asked(widget, content) is None


def test_a_store_or_view_that_is_not_there_is_refused_at_once(store: Atlas, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        actlas.Widget(tmp_path / "nothing.actlas")
    with pytest.raises(NameNotFound, match="did you mean 'neuron'"):
        actlas.Widget(store, "nueron")
    with pytest.raises(Exception, match="theme"):
        actlas.Widget(store, theme="blue")
    assert actlas.Widget(str(store.path)).view == "store"


def test_without_anywidget_the_rest_works_and_the_widget_says_what_to_install() -> None:
    code = """
import sys
sys.modules["anywidget"] = None
import actlas
actlas.open_store
try:
    actlas.Widget
except actlas.errors.BackendUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", "import actlas.errors" + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "a widget needs anywidget: pip install 'actlas[notebook]'"
