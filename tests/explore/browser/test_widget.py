"""The widget in a notebook of marimo, in a browser: it draws, it is walked through, and the notebook knows where it is."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.testing.planted import planted_store

pytest.importorskip("marimo", reason="the widget is tested in a notebook of marimo")
pytest.importorskip("anywidget", reason="the widget needs anywidget")

NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    import actlas

    shown = mo.ui.anywidget(actlas.Widget({path!r}, "neuron", {{"site": "mlp_pre", "layer": 1, "neuron": 5}}, height=600))
    shown
    return mo, shown


@app.cell
def _(mo, shown):
    def lead(_):
        with shown.widget.hold_sync():
            shown.widget.params = {{"concept": "water"}}
            shown.widget.view = "concept"

    mo.ui.button(label="lead the reader", on_click=lead)
    return


@app.cell
def _(mo, shown):
    mo.md(f"shown: {{shown.value['view']}} {{shown.value['params'].get('neuron')}}")
    return
"""


@pytest.fixture(scope="module")
def notebook(chromium: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a notebook that runs, with a widget over a planted store."""
    folder = tmp_path_factory.mktemp("widget")
    store = open_store(planted_store(folder / "run.actlas"), mode="a")
    score_neurons(store, sites=["mlp_pre"], stats=("ap", "median"))
    top_experts(store, k=5)
    store.close()
    (folder / "shown.py").write_text(NOTEBOOK.format(path=str(store.path)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "marimo",
        "run",
        "shown.py",
        "--headless",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-token",
    ]
    # its settings and caches stay in the folder of the test
    paths = {"PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **paths}, stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"marimo did not start: {log.read_text()}")


def test_the_widget_draws_a_view_and_says_where_the_reader_is(window: Callable, notebook: str) -> None:
    reader = window(site=notebook)
    page = reader.page
    page.set_default_timeout(30_000)
    page.goto(notebook)
    page.locator("[data-part] .chart svg").first.wait_for()
    page.get_by_text("shown: neuron 5").wait_for()
    assert page.get_by_role("heading", name="Neuron", exact=True).count() == 1
    box = page.locator(".actlas").first.bounding_box()
    assert box["height"] <= 601
    with page.expect_download() as download:
        page.locator("[data-part]").get_by_role("link", name=".csv").first.click()
    assert len(Path(download.value.path()).read_text().splitlines()) > 1
    # a step of the reader is seen by the notebook, without a message that was lost
    page.get_by_role("button", name=re.compile("^store$", re.IGNORECASE)).click()
    page.get_by_text("shown: store None").wait_for()
    page.locator("[data-part][data-done]").first.wait_for()
    # and where the notebook leads, the reader is taken
    page.get_by_role("button", name="lead the reader").click()
    page.get_by_role("heading", name="Concept", exact=True).wait_for()
    assert page.get_by_label("Concept", exact=True).input_value() == "water"
    assert page.get_by_role("alert").count() == 0
    # pictures that marimo loads ahead and does not show
    reader.faults = [fault for fault in reader.faults if "was preloaded using link preload" not in fault]
