"""Every address: what it answers, in which formats, and that nothing gets in or out that should not."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra [explore] is not installed")

from actlas.explore.server.access import Access
from actlas.explore.server.app import Explorer
from actlas.explore.server.served import Limits, Served
from actlas.explore.view import parts_of
from actlas.explore.views import VIEWS
from actlas.intervene.tokens.elsewhere import ModelElsewhere
from actlas.query import open_store, top_experts

TOKEN = "a-token-of-a-test"
#: How many addresses are made up; thousands where somebody asks for them.
N_FUZZED = int(os.environ.get("ACTLAS_FUZZED_ADDRESSES", "60"))
HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07",
    "\u202egpj.exe",
    "=HYPERLINK(1)",
    "a\r\n@SUM(1)",
    "\ufeff+1",
    "'; DROP",
]


def query_of(texts: list[str]) -> str:
    values = ", ".join(f"({number}, '{text.replace(chr(39), chr(39) * 2)}')" for number, text in enumerate(texts))
    return f"SELECT n, text FROM (VALUES {values}) AS hostile (n, text) ORDER BY n"


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_first_page_is_the_store(ask: Any) -> None:
    reply = ask("/?store=second")
    assert (reply.status, reply.headers["location"]) == (303, "/store?store=second")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_one_page_and_says_what_it_is(ask: Any, view: str) -> None:
    page = ask(f"/{view}")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    described = ask(f"/data/{view}.json")
    assert described.headers["content-type"] == "application/json"
    assert described.json["view"] == view
    assert described.json["stores"] == ["first", "second"]
    assert {"name": "concept", "title": "Concept"} in described.json["views"]
    # where there are several stores, one can be set beside another
    names = [name for name in described.json["params"] if (view, name) != ("compare", "beside")]
    assert names == [choice.name for choice in VIEWS[view].choices]
    if view != "compare":
        assert ask(f"/data/{view}.json?store=second").json == described.json


@pytest.mark.parametrize(("view", "part"), [(view.name, part.name) for view, part in parts_of(VIEWS)])
def test_every_table_is_the_same_in_every_format(ask: Any, view: str, part: str) -> None:
    answer = ask(f"/data/{view}/{part}.json").json
    whole = ask(f"/data/{view}/{part}.parquet")
    if answer["error"]:
        # which leaves out the names of all other tables
        assert whole.text.startswith(answer["error"]["text"])
        assert whole.text.count("\n") == 1
        assert whole.status in (400, 404)
        assert ask(f"/data/{view}/{part}.csv").body == ask(f"/data/{view}/{part}.arrow").body == whole.body
        return
    frame = pl.read_parquet(io.BytesIO(whole.body))
    assert whole.headers["content-disposition"] == f'attachment; filename="first-{view}-{part}.parquet"'
    assert frame.equals(pl.read_ipc_stream(ask(f"/data/{view}/{part}.arrow").body))
    assert [column["name"] for column in answer["columns"]] == frame.columns
    assert (answer["n_rows"], answer["is_whole"]) == (frame.height, True)
    csv = pl.read_csv(ask(f"/data/{view}/{part}.csv").body, infer_schema=False)
    assert (csv.columns, csv.height) == (frame.columns, frame.height)
    for name, column in zip(frame.columns, answer["values"], strict=True):
        plain = frame[name].fill_nan(None) if frame[name].dtype.is_float() else frame[name]
        if not plain.dtype.is_nested():
            assert plain.to_list() == column, name
        if plain.dtype.is_integer():
            assert [int(cell) if cell else None for cell in csv[name]] == column, name


def test_a_query_that_is_typed_is_asked_as_it_is(ask: Any) -> None:
    assert ask("/data/sql/answer.json", query="SELECT 7 AS n, '$x' AS x").json["values"] == [[7], ["$x"]]
    refused = ask("/data/sql/answer.json", query="SELECT $x").json["error"]
    assert (refused["kind"], "$x, which has no value" in refused["text"]) == ("QueryError", True)
    assert ask("/data/sql/answer.csv", query="SELECT").status == 400
    cut = ask("/data/sql/answer.json", query="SELECT range FROM range(6000)").json
    assert (len(cut["values"][0]), cut["n_rows"], cut["is_whole"]) == (5000, 6000, False)
    assert ask("/data/sql/answer.csv", query="SELECT range FROM range(6000)").text.count("\n") == 6001


def test_the_schema_names_tables_columns_and_macros(ask: Any) -> None:
    schema = ask("/data/schema.json").json
    experts = next(table for table in schema["tables"] if table["name"] == "experts")
    assert {"name": "rank", "type": "INTEGER", "about": "place among the best, from 1"} in experts["columns"]
    assert "best_experts" in {macro["name"] for macro in schema["macros"]}


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/nothing", 404, "no view 'nothing' in actlas explore; it has store, concept"),
        ("/data/concpt.json", 404, "did you mean 'concept'?"),
        ("/data/concept/nothing.json", 404, "no table 'nothing' in view concept"),
        ("/data/store/sizes.xlsx", 404, "no format 'xlsx' in actlas explore; it has json, csv, jsonl, parquet, arrow"),
        ("/data/store.json?store=third", 404, "no store 'third' in actlas explore; it has first, second"),
        ("/data/store.json?nothing=1", 400, "no choice 'nothing' in view store"),
        ("/data/concept.json?concept=a&concept=b", 400, "the address says concept more than once"),
        ("/data/concept.json?k=many", 400, "experts per language must be a whole number, not 'many'"),
        ("/data/concept.json?concept=nothing", 400, "no concept 'nothing' in the store"),
        ("/a/b/c/d", 404, "/a/b/c/d: nothing is there"),
        ("/store/", 404, "nothing is there"),
        ("/front/page.html", 404, "no file 'page.html'"),
        ("/front/../app.py", 404, "nothing is there"),
        ("/front/..%2Fview.py", 404, "nothing is there"),
        ("/front/%2e%2e%2f%2e%2e%2fview.py", 404, "nothing is there"),
        ("/a%0D%0AX:%20b/c", 404, "/a\\r\\nX: b/c: nothing is there"),
    ],
)
def test_what_is_not_there_is_one_line(ask: Any, address: str, status: int, said: str) -> None:
    reply = ask(address)
    assert (reply.status, said in reply.text, reply.text.count("\n")) == (status, True, 1), reply.text


def test_scripts_and_styles_are_kept_under_the_name_of_what_is_in_them(ask: Any) -> None:
    page = ask("/store").text
    for name, media_type in (("actlas.js", "text/javascript; charset=utf-8"), ("style.css", "text/css; charset=utf-8")):
        address = page[page.index(f"/front/{name}?v=") :].partition('"')[0]
        reply = ask(address)
        assert (reply.status, reply.headers["content-type"]) == (200, media_type)
        assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert ask(f"/front/{name}?v=other").headers["cache-control"] == "no-store"


def test_tokens_of_a_text_are_told_or_why_not(ask: Any, example_store: Path) -> None:
    known = "/heat.json?checkpoint=planted-step64&site=mlp_pre&layer=0&neuron=4&store=second"
    for more, said in (
        ("&text_id=7&concept=salt", "table token_values was not computed|are not kept"),
        ("&text=typed", "no model|none is given"),
        ("&text_id=many", "whole number"),
        (f"&text_id={'9' * 40}", "must be from 0 to"),
        ("", "name a text"),
    ):
        reply = ask(known + more)
        assert (reply.status, bool(re.search(said, reply.json["error"]["text"]))) == (200, True), reply.text
        assert str(example_store.parent) not in reply.text


def test_a_model_reads_what_is_typed(ask: Any, example_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def heat(store: Any, params: Mapping[str, str], model: ModelElsewhere | None) -> dict[str, Any]:
        asked.append((store.path, dict(params), model))
        return {"text": params["text"], "error": {"kind": "QueryError", "text": f"{store.path} is\nnot there"}}

    monkeypatch.setattr("actlas.explore.heat.heat", heat)
    begun: list[Any] = []
    monkeypatch.setattr(ModelElsewhere, "load", lambda self, *what: begun.append(what))
    explorer = Explorer({"own": Served("own", example_store, Limits())}, model="a/model")
    browser = type(ask)(explorer.app(Access("127.0.0.1", 8765, TOKEN)))
    # as long as a text may be, in letters of three bytes
    text = "\u202e東" * 10_000
    found = browser("/heat.json", layer=1, text=text, store="own")
    (told,) = asked
    assert told[:2] == (example_store, {"layer": "1", "text": text})
    assert isinstance(told[2], ModelElsewhere)
    assert begun == [(example_store, "planted-step128")]
    assert (found.json["text"], found.json["error"]["text"]) == (text, "run.actlas is not there")
    assert "\u202e" not in found.text
    explorer.close()


def test_hostile_texts_are_harmless_in_every_format(ask: Any) -> None:
    query = query_of(HOSTILE)
    obeyed = {"\x1b", "\x07", "\u202e", "\r", "\ufeff"}
    answer = ask("/data/sql/answer.json", query=query)
    assert answer.json["values"][1] == HOSTILE
    assert not obeyed & set(answer.text)
    csv = ask("/data/sql/answer.csv", query=query)
    assert csv.headers["content-disposition"].startswith("attachment")
    assert not obeyed & set(csv.text)
    cells = pl.read_csv(csv.body)["text"].to_list()
    assert not [cell for cell in cells if cell[0] in "=+-@"]
    assert cells[0] == HOSTILE[0]
    for kind, read in (("parquet", pl.read_parquet), ("arrow", pl.read_ipc_stream)):
        assert read(io.BytesIO(ask(f"/data/sql/answer.{kind}", query=query).body))["text"].to_list() == HOSTILE
    # nothing that is asked for stands in the page
    assert ask("/sql", query=query).body == ask("/sql").body
    for text in HOSTILE:
        refused = ask(f"/data/concept.json?concept={quote(text)}")
        assert (refused.status, refused.text.count("\n"), obeyed & set(refused.text)) == (400, 1, set())


ODD = st.text(st.characters(codec="utf-8"), max_size=12)
WORDS = st.sampled_from(
    ["..", "", "data", "store", "concept", "sql", "front", "heat.json", "answer.json", "sizes.csv", "schema.json", "%00"]
)
NAMES = st.sampled_from(["store", "concept", "language", "checkpoint", "k", "layer", "neuron", "site", "query", "token", "v"])
VALUES = ODD | st.sampled_from(
    ["first", "water", "1", "-1", "1e9", "9" * 30, "SELECT", "FROM range(3)", "NULL", "water' --", "\x00"]
)


@settings(max_examples=N_FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS | ODD.map(quote), max_size=4), st.lists(st.tuples(NAMES | ODD, VALUES), max_size=4))
def test_any_address_is_answered_or_refused_in_one_line(
    ask: Any, example_store: Path, path: list[str], params: list[tuple[str, str]]
) -> None:
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in params)
    reply = ask(f"/{'/'.join(path)}?{query}")
    assert reply.status in (200, 303, 400, 404, 409), (path, params, reply.text)
    if reply.status >= 400:
        assert reply.text.count("\n") == 1
    assert str(example_store.parent).encode() not in reply.body
    assert b"Traceback" not in reply.body


@settings(max_examples=N_FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([(view.name, part.name) for view, part in parts_of(VIEWS)]), st.sampled_from(["json", "csv"]), st.data())
def test_any_choice_of_any_view_is_answered_or_refused(
    ask: Any, example_store: Path, table: tuple[str, str], kind: str, data: st.DataObject
) -> None:
    view, part = table
    names = [choice.name for choice in VIEWS[view].choices]
    params = {name: data.draw(VALUES, label=name) for name in names if data.draw(st.booleans())}
    reply = ask(f"/data/{view}/{part}.{kind}", **params)
    assert reply.status in (200, 400, 404, 409), (table, params, reply.text)
    assert str(example_store.parent).encode() not in reply.body


def test_no_address_writes_and_none_says_where_the_store_lies(ask: Any, example_store: Path) -> None:
    before = digest(example_store)
    writes = ["COPY (SELECT 1) TO '/tmp/x.csv'", "CREATE TABLE t AS SELECT 1", "ATTACH 'x.db'", "FROM read_csv('/etc/passwd')"]
    addresses = ["/", "/data/schema.json", *(f"/{view}" for view in VIEWS), *(f"/data/{view}.json" for view in VIEWS)]
    addresses += [f"/data/{view.name}/{part.name}.{kind}" for view, part in parts_of(VIEWS) for kind in ("json", "csv")]
    addresses += [f"/data/sql/answer.json?query={quote(query)}" for query in (*writes, "EXPLAIN FROM experts", "FROM nothing")]
    addresses += [f"/data/sql/answer.csv?query={quote(query)}" for query in (*writes, "FROM token_values", "FROM probe")]
    for address in addresses:
        reply = ask(address)
        assert reply.status < 500, address
        assert str(example_store.parent) not in reply.body.decode(errors="replace"), address
    for query in writes:
        assert ask("/data/sql/answer.csv", query=query).status == 400
    assert digest(example_store) == before


def test_a_store_is_set_beside_another(ask: Any, example_store: Path, tmp_path: Path) -> None:
    described = ask("/data/compare.json?beside=second").json
    assert [choice["name"] for choice in described["choices"]] == ["checkpoint", "beside", "other"]
    assert described["choices"][1]["values"] == ["first", "second"]
    overlap = ask("/data/compare/overlap.json?beside=second").json
    assert [column["name"] for column in overlap["columns"]][:3] == ["concept", "store", "checkpoint"]
    (sql,) = [part["sql"] for part in described["parts"] if part["name"] == "overlap"]
    assert 'FROM "second".overlap' in sql
    # the query can be gone on with
    assert ask("/data/sql/answer.json", query=sql).json["values"] == overlap["values"]
    assert ask("/data/compare.json?beside=third").text.startswith("no store 'third' in actlas explore; it has first, second")
    for name, address in {"missing": "FROM second.probe", "whole": "FROM second.languages"}.items():
        reply = ask("/data/sql/answer.json", query=address)
        assert (reply.json["error"] is None) == (name == "whole")
        assert str(example_store.parent) not in reply.text
    gone = Path(shutil.copytree(example_store, tmp_path / "gone"))
    paths = {"here": example_store, "gone": gone}
    served = {label: Served(label, path, Limits(at_once=1), paths) for label, path in paths.items()}
    explorer = Explorer(served)
    browser = type(ask)(explorer.app(Access("127.0.0.1", 8765, TOKEN)))
    shutil.rmtree(gone)
    reply = browser("/data/compare.json?beside=gone")
    assert (reply.status, reply.text) == (503, "store gone is not there any more\n")
    explorer.close()


def test_a_store_that_changes_is_answered_anew_and_one_that_goes_is_told_of(
    ask: Any, example_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "moving.actlas"
    shutil.copytree(example_store, path)
    explorer = Explorer({"moving": (served := Served("moving", path, Limits(at_once=1)))})
    browser = type(ask)(explorer.app(Access("127.0.0.1", 8765, TOKEN)))
    count = "/data/sql/answer.json?query=SELECT%20count(*)%20AS%20n%20FROM%20experts"
    before = browser(count).json["values"][0][0]
    top_experts(open_store(path, "a"), k=12)
    assert browser(count).json["values"] == [[2 * before]]
    shutil.rmtree(path)
    for address in ("/data/store.json", count, count.replace(".json", ".csv"), "/data/store/sizes.csv", "/data/schema.json"):
        reply = browser(address)
        assert (reply.status, reply.text) == (503, "store moving is not there any more\n"), address
    explorer.close()
    served.close()


class Blocked(Served):
    """A store whose queries take until they are cancelled."""

    def __init__(self) -> None:
        self.label = "blocked"
        self.begun, self.cancelled = threading.Event(), threading.Event()
        self.n_asked = 0
        self._numbers = itertools.count()
        self._path = Path()
        self._others = {}

    def start(self) -> Any:
        return self

    def ask(self, sql: str, params: Mapping[str, Any], *, stores: Any, name: str) -> pl.DataFrame:
        self.n_asked += 1
        self.begun.set()
        assert self.cancelled.wait(10)
        return pl.DataFrame({"n": [1]})

    def cancel(self, name: str) -> None:
        self.cancelled.set()

    def close(self) -> None:
        pass


def test_who_leaves_takes_the_query_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlas.explore.server.app._SECONDS_TO_FINISH", 0.05)
    blocked = Blocked()
    explorer = Explorer({"blocked": blocked})
    app = explorer.app(Access("127.0.0.1", 8765, TOKEN))
    headers = [(b"host", b"localhost"), (b"cookie", f"actlas-8765={TOKEN}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/data/concept.json", "query_string": b"", "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.get_running_loop().run_in_executor(None, blocked.begun.wait, 10)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert blocked.cancelled.is_set()
    # of the queries of a description only the first was asked
    assert (sent[0]["status"], blocked.n_asked) == (499, 1)
    explorer.close()


def test_one_typed_query_runs_at_a_time(ask: Any, explored: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0

    def slow(view: Any, name: str, given: Any, asking: Any) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        threading.Event().wait(0.05)
        at_once -= 1
        return b""

    monkeypatch.setattr("actlas.explore.server.tables.table", slow)

    async def both() -> list[Any]:
        return await asyncio.gather(*(ask.answer("/data/sql/answer.json?query=SELECT%201") for _ in range(2)))

    assert [reply.status for reply in asyncio.run(both())] == [200, 200]
    assert most == 1


def test_answers_of_json_are_one_line(ask: Callable[..., Any]) -> None:
    body = ask("/data/store/checkpoints.json").body
    assert body.count(b"\n") == 1
    assert json.loads(body)["n_rows"] == 3
