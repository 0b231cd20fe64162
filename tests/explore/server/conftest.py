"""The server's application, asked as a browser would ask it, and a real one in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

import pytest

if TYPE_CHECKING:
    from actlas.explore.server.app import Explorer

TOKEN = "a-token-of-a-test"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Asks an application without a network. It knows the token, unless told otherwise."""

    def __init__(self, app: Any, port: int = 8765) -> None:
        self._app = app
        self.own = [("host", f"127.0.0.1:{port}"), ("cookie", f"other=1; actlas-{port}={TOKEN}")]

    def __call__(self, address: str, headers: Sequence[tuple[str, str]] | None = None, **asked: Any) -> Reply:
        return asyncio.run(self.answer(address, headers, **asked))

    async def answer(
        self, address: str, headers: Sequence[tuple[str, str]] | None = None, *, method: str = "GET", **params: object
    ) -> Reply:
        path, _, query = address.partition("?")
        query = urlencode(params) if params else query
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (self.own if headers is None else headers)],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            if len(asked) == 0:
                asked.append(True)
                return {"type": "http.request", "body": b"", "more_body": False}
            return await asyncio.Event().wait()  # goes on listening

        async def send(message: Any) -> None:
            sent.append(message)

        asked: list[bool] = []
        await self._app(scope, receive, send)
        headers_sent = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], headers_sent, b"".join(message["body"] for message in sent[1:]))


@pytest.fixture(scope="session")
def explored(example_store: Path) -> Iterator[Explorer]:
    """Two stores behind labels: the second is the first again."""
    from actlas.explore.server.app import Explorer
    from actlas.explore.server.served import Limits, Served

    paths = {"first": example_store, "second": example_store}
    served = {label: Served(label, path, Limits(at_once=1), paths) for label, path in paths.items()}
    explorer = Explorer(served)
    yield explorer
    explorer.close()
    for each in served.values():
        each.close()


@pytest.fixture(scope="session")
def ask(explored: Explorer) -> Browser:
    from actlas.explore.server.access import Access

    return Browser(explored.app(Access("127.0.0.1", 8765, TOKEN)))


class Started:
    """`actlas explore` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        # a shell's background jobs ignore Ctrl-C, and so would what they start
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "actlas", "explore", "--token", TOKEN, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                cwd=Path(__file__).parents[3],
            )
        finally:
            signal.signal(signal.SIGINT, before)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.partition("?")[0].strip("/").rpartition(":")[2]) if self.url else 0

    def ask(self, address: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", address, headers={"Cookie": f"actlas-{self.port}={TOKEN}"})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def processes(self) -> list[int]:
        """It, and all that it started."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            try:
                session = int((each / "stat").read_text().rpartition(")")[2].split()[3])
            except (OSError, ValueError):
                continue
            if session == self.process.pid:
                found.append(int(each.name))
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def started() -> Iterator[Callable[..., Started]]:
    all_of_them: list[Started] = []

    def start(*arguments: str) -> Started:
        all_of_them.append(Started(*arguments))
        return all_of_them[-1]

    yield start
    for each in all_of_them:
        each.end()
