"""The widget in JupyterLab, in a browser; ACTLAS_JUPYTER names the Python that JupyterLab is installed for, and starts it.

JupyterLab brings many packages along, so it is in no extra: make it an environment of its own, with actlas and anywidget in it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.testing.planted import planted_store

PYTHON = os.environ.get("ACTLAS_JUPYTER", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="ACTLAS_JUPYTER names no Python with JupyterLab")
#: A store that is shown in place of a planted one, such as that of the demo.
STORE = os.environ.get("ACTLAS_JUPYTER_STORE", "")
CELLS = (
    "import actlas\nshown = actlas.Widget({path!r}, 'concept', height=600)\nshown",
    "print('shown:', shown.view)",
)


@pytest.fixture(scope="module")
def lab(chromium: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a notebook in JupyterLab, with a widget over a store."""
    folder = tmp_path_factory.mktemp("jupyter")
    path = Path(STORE) if STORE else planted_store(folder / "run.actlas")
    if not STORE:
        store = open_store(path, mode="a")
        score_neurons(store, sites=["mlp_pre"], stats=("ap", "median"))
        top_experts(store, k=5)
        store.close()
    cells = [
        {"cell_type": "code", "id": str(number), "metadata": {}, "outputs": [], "execution_count": None,
         "source": cell.format(path=str(path.resolve()))}
        for number, cell in enumerate(CELLS)
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (folder / "shown.ipynb").write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    # its settings and caches stay in the folder of the test
    paths = {"PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "jupyterlab", *options], cwd=folder, env={**os.environ, **paths}, stdout=log, stderr=log
        )
        try:
            _wait_for(port, process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()}")


def test_the_widget_is_drawn_walked_through_and_followed(window: Callable, lab: str) -> None:
    page = window(site=lab).page
    page.set_default_timeout(40_000)
    page.goto(f"{lab}/lab/tree/shown.ipynb")
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".actlas [data-part] .chart svg").first.wait_for()
    widget = page.locator(".actlas").first
    assert widget.get_by_role("heading", name="Concept", exact=True).count() == 1
    assert widget.bounding_box()["height"] <= 601
    with page.expect_download() as download:
        widget.locator("[data-part]").get_by_role("link", name=".csv").first.click()
    assert len(Path(download.value.path()).read_text().splitlines()) > 1
    # a step of the reader is seen by the kernel
    widget.get_by_role("button", name=re.compile("^neuron$", re.IGNORECASE)).first.click()
    widget.get_by_role("heading", name="Neuron", exact=True).wait_for()
    page.get_by_text("print('shown:'").first.click()
    page.keyboard.press("Control+Enter")
    page.get_by_text("shown: neuron").wait_for()
