"""`actlas explore`: what it prints before anything is asked, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actlas.cli import run

pytest.importorskip("starlette", reason="the extra [explore] is not installed")

from actlas.explore.server import serve as served


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be served; each is interrupted at once."""
    from actlas.explore.server.access import Access

    found: list[dict[str, Any]] = []

    def serve(stores: list[str], **options: Any) -> None:
        found.append({"stores": stores, **options})
        options["ready"](Access(options["host"], 8765, options["token"] or "random"))
        raise KeyboardInterrupt

    monkeypatch.setattr(served, "serve", serve)
    return found


def test_the_address_is_the_answer(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["a", "twin=b", "--timeout", "5", "--memory", "2", "--max-rows", "100", "--port", "9000"]
    assert run(["explore", *arguments]) == 130
    assert capsys.readouterr() == ("http://127.0.0.1:8765/?token=random\n", "Ctrl-C ends it\n")
    limits = calls[0]["limits"]
    assert (calls[0]["stores"], calls[0]["host"], calls[0]["port"]) == (["a", "twin=b"], "127.0.0.1", 9000)
    assert (limits.seconds, limits.memory, limits.rows) == (5, 1_000_000_000, 100)


def test_another_address_is_warned_of(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--quiet", "explore", "a", "--host", "0.0.0.0"]) == 130
    warned = capsys.readouterr().err
    assert warned.startswith("actlas: 0.0.0.0 is reached from other machines")
    assert warned.count("\n") == 1


def test_a_browser_is_opened_when_asked_for(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread.run())
    run(["explore", "a", "--open", "--token", "given"])
    assert opened == ["http://127.0.0.1:8765/?token=given"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nowhere"], 1, "no actlas store at nowhere"),
        ([], 2, "the following arguments are required: STORE"),
        (["nowhere", "--port", "-1"], 2, "--port"),
        (["nowhere", "--port", "many"], 2, "--port"),
        (["nowhere", "--timeout", "0"], 2, "--timeout"),
        (["a/x", "b/x"], 1, "two stores are called x"),
    ],
)
def test_what_is_refused(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["explore", *arguments]) == status
    said_here = capsys.readouterr().err
    assert said in said_here
    assert said_here.count("\n") == 1
