"""A server of planted answers: every kind of picture, texts that are hard to draw, and texts that mean harm."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import duckdb
import polars as pl

import actlas.explore
from actlas.errors import TableNotFound
from actlas.explore.view import Choice, Part, View, answer, describe, picture
from actlas.explore.views.pieces import boxes

FRONT = Path(actlas.explore.__file__).parent / "front"
#: As the server of `actlas explore` has it: a script or a style that the page does not serve itself is refused.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}

MARKUP = "<img src=x onerror=alert(1)><script>document.title='taken'</script>"
OVERRIDE = "user\u202egnp.exe"
CONTROL = "red \x1b[31m alert\x07 and a nul \x00"
FORMULA = '=HYPERLINK("http://evil.example","here")'
ARABIC = "الماء في النهر بارد"
DEVANAGARI = "नदी का पानी ठंडा है"
CHINESE = "河里的水很冷。"
FAMILY = "👩‍👩‍👧 drinks water"
COMBINED = "cafe\u0301 and n\u0303"
TEXTS = (MARKUP, OVERRIDE, CONTROL, FORMULA, ARABIC, DEVANAGARI, CHINESE, FAMILY, COMBINED, "line one\nline two\tend")

#: A concept whose page is late.
SLOW = "fire"

_MANY = "SELECT i::VARCHAR FROM range(3000) AS r(i)"
_STEPS = "SELECT unnest([0, 64, 512, 1000, 100000]) AS step"
_LANGUAGES = "SELECT unnest(['en', 'fr', 'hi', 'العربية']) AS language"

_PICTURES = View(
    "store",
    "All kinds of pictures",
    (
        Choice("checkpoint", "checkpoint", "SELECT unnest(['last', 'first'])"),
        Choice("neuron", "neuron", _MANY),
        Choice("sentence", "sentence", ""),
    ),
    (
        Part("facts", "Facts", "SELECT 'tiny' AS model, 325e-2 AS loss, 12 AS n_layers, NULL AS missing", picture("facts")),
        Part(
            "lines",
            "Lines over steps",
            f"""SELECT step, language, 0.1 * log(step + 2) + length(language) / 100 AS overlap,
    overlap - 0.05 AS low, overlap + 0.05 AS high, 1e-1 AS chance FROM ({_STEPS}), ({_LANGUAGES}) ORDER BY ALL""",
            picture("lines", x="step", y="overlap", series=["language"], low="low", high="high", dashed=["chance"]),
            "Bands: intervals.",
        ),
        Part(
            "matrix",
            "Languages by language",
            f"""SELECT a.language AS language_a, b.language AS language_b,
    CASE WHEN a.language <> b.language THEN (length(a.language) + 2 * length(b.language)) / 40 END AS overlap
FROM ({_LANGUAGES}) AS a, ({_LANGUAGES}) AS b""",
            picture("matrix", x="language_a", y="language_b", value="overlap"),
            links={"language_a": "concept?concept={language_a}"},
        ),
        Part(
            "panels",
            "Layers by step and site",
            f"""SELECT step, layer, site, step % 7 + layer AS share
FROM ({_STEPS}), range(12) AS l(layer), unnest(['mlp', 'attn']) AS s(site)""",
            picture("matrix", x="step", y="layer", value="share", facet="site"),
        ),
        Part(
            "bars",
            "Bars",
            f"""SELECT language, label, length(language) * (1 + (label = 'b')::INTEGER) AS n_experts
FROM ({_LANGUAGES}), unnest(['a', 'b']) AS l(label)""",
            picture("bars", x="language", y="n_experts", series=["label"]),
        ),
        Part(
            "layers",
            "Bars over numbers",
            "SELECT i AS layer, i * i - 20 AS share, share - 9 AS low, share + 9 AS high, 30 AS chance FROM range(12) AS r(i)",
            picture("bars", x="layer", y="share", low="low", high="high", dashed=["chance"]),
        ),
        Part(
            "ranges",
            "Ranges",
            f"""SELECT language, label, 0e0 AS lowest, 1e0 AS q25, 2 + length(language) / 4 AS middle, 45e-1 AS q75,
    9e0 AS highest, 75e-1 AS chance FROM ({_LANGUAGES}), unnest(['positive', 'negative']) AS l(label)""",
            boxes("language", "label", x_label="value", dashed=["chance"]),
        ),
        Part(
            "histogram",
            "Histogram",
            """SELECT label, i / 10 AS low, (i + 1) / 10 AS high, (i * 7 + length(label)) % 13 AS n_texts
FROM range(20) AS r(i), unnest(['positive', 'negative']) AS l(label)""",
            picture("histogram", low="low", high="high", count="n_texts", series=["label"]),
        ),
        Part(
            "rows",
            "Many rows",
            "SELECT i AS n, 'row ' || i AS name, i % 17 AS rest FROM range(6000) AS r(i)",
            about="More than are shown.",
        ),
        Part("none", "No row", "SELECT 1 AS one WHERE false"),
        Part("missing", "Not computed", "FROM not_there"),
    ),
    "Drawn from a few planted queries.",
)

_TEXTS = View(
    "neuron",
    "Texts that are hard to draw",
    (Choice("neuron", "neuron", "SELECT 7", kind=int),),
    (
        Part(
            "texts",
            "Texts",
            "SELECT row_number() OVER () - 1 AS text_id, text, 'xx' AS language, 5.0 - text_id / 2 AS value FROM planted_texts",
            picture("texts", text="text", language="language", value="value", text_id="text_id"),
        ),
    ),
)

_CONCEPT = View(
    "concept",
    "Concept",
    (
        Choice("concept", "concept", "SELECT unnest(['water', 'fire', 'en', 'fr', 'hi', 'العربية'])"),
        Choice("word", "word", "SELECT $concept || n FROM unnest(['1', '2']) AS w(n)", needs=("concept",)),
    ),
    (Part("chosen", "What was chosen", "SELECT $concept AS concept, $word AS word", links={"concept": "neuron"}),),
)

_SQL = View(
    "sql",
    "SQL",
    (Choice("query", "Query", ""),),
    (Part("saved", "To begin with", "SELECT 'one' AS asked", links={"asked": "sql"}),),
)

VIEWS: Mapping[str, View] = {view.name: view for view in (_PICTURES, _CONCEPT, _TEXTS, _SQL)}
#: A report whose figure carries its answer, and a table without one.
REPORT = """<!doctype html><html lang="en"><head><title>Report</title><link rel="stylesheet" href="/front/style.css"></head>
<body><main><h1>Report</h1><figure data-actlas="languages"><svg class="fallback"></svg>
<script type="application/json">%s</script><figcaption>Bars.</figcaption></figure>
<table><thead><tr><th>name</th><th>value</th></tr></thead>
<tbody><tr><td>b</td><td>9</td></tr><tr><td>a</td><td>10</td></tr><tr><td>c</td><td>–</td></tr></tbody></table>
</main><script type="module" src="/enhanced.js"></script></body></html>"""
ENHANCED = "import { enhance } from '/front/actlas.js'; enhance(document);"

SCHEMA = {
    "tables": [
        {"name": "planted_texts", "about": "hard texts", "columns": [{"name": "text", "type": "VARCHAR", "about": "a text"}]}
    ],
    "macros": [{"name": "neuron_texts", "call": "neuron_texts(checkpoint, n := 5)", "about": "texts of a neuron"}],
}


class Answers:
    """Asks DuckDB, one query at a time."""

    def __init__(self) -> None:
        self._connection = duckdb.connect()
        self._lock = threading.Lock()
        self._connection.register("planted_texts", pl.DataFrame({"text": TEXTS}).to_arrow())

    def __call__(self, sql: str, params: Mapping[str, Any]) -> pl.DataFrame:
        with self._lock:
            try:
                return pl.DataFrame(self._connection.sql(sql, params=dict(params) or None).to_arrow_table())
            except duckdb.CatalogException as error:
                raise TableNotFound(f"no table of this name; compute it: actlas overlap STORE\n{error}") from error

    def data(self, path: str, given: dict[str, str]) -> Any:
        """What an address below /data/ is answered with."""
        given.pop("store", None)
        if path == "schema":
            return SCHEMA
        name, _, table = path.partition("/")
        if given.get("concept") == SLOW:
            time.sleep(0.15)
        view = VIEWS[name]
        if not table:
            return {**describe(view, given, self), "stores": ["planted", "twin"]}
        if (name, table) == ("sql", "answer"):
            return answer(Part("answer", "", given.get("query", "")), {}, self)
        return answer(view.part(table), describe(view, given, self)["params"], self)

    def report(self) -> str:
        part = _PICTURES.part("bars")
        inlined = {"title": part.title, "picture": part.picture and part.picture.to_json(), "answer": answer(part, {}, self)}
        return REPORT % json.dumps(inlined).replace("<", "\\u003c")

    def heat(self, given: Mapping[str, str]) -> Any:
        """A token per character, but for those of three bytes, which come in two pieces; what is typed is not read."""
        nothing = {"language": None, "low": -1.0, "high": 5.0, "source": "planted", "experts": None, "error": None}
        if "text" in given:
            return {"text": "", "tokens": [], **nothing, "error": {"kind": "QueryError", "text": "a typed text has to be read"}}
        text = TEXTS[int(given["text_id"])]
        tokens = [{"start": 0, "end": 0, "piece": "<s>", "value": 0.5}]
        for place, letter in enumerate(text):
            for part in range(2 if ord(letter) > 0x7FF else 1):
                tokens.append({"start": place, "end": place + 1, "piece": f"<{part}>", "value": (place * 7 + part) % 11 / 2 - 1})
        return {"text": text, "tokens": tokens, **nothing}


def _handler(answers: Answers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            given = dict(parse_qsl(url.query))
            try:
                if url.path.startswith("/front/"):
                    file = FRONT / url.path.removeprefix("/front/")
                    self.reply(file.read_bytes(), KINDS[file.suffix])
                elif url.path.startswith("/data/") and url.path.endswith(".json"):
                    self.reply(json.dumps(answers.data(url.path.removeprefix("/data/").removesuffix(".json"), given)).encode())
                elif url.path == "/report":
                    self.reply(answers.report().encode(), KINDS[".html"])
                elif url.path == "/enhanced.js":
                    self.reply(ENHANCED.encode(), KINDS[".js"])
                elif url.path == "/heat.json":
                    self.reply(json.dumps(answers.heat(given)).encode())
                else:
                    self.reply((FRONT / "page.html").read_bytes(), KINDS[".html"])
            except ConnectionError:
                raise
            except Exception as error:
                self.reply(f"{error}\n".encode(), "text/plain", 400)

        def handle(self) -> None:
            # a page that has gone on hears no more
            with suppress(ConnectionError):
                super().handle()

        def reply(self, content: bytes, kind: str = "application/json", status: int = 200) -> None:
            self.send_response(status)
            for name, value in {
                "content-type": kind,
                "content-length": str(len(content)),
                "content-security-policy": POLICY,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def planted_site() -> Iterator[str]:
    """Its address, while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Answers()))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
