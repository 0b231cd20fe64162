"""`actlas explore` as a process: ready soon, many clients at once, gone at Ctrl-C with all that it started."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [explore] is not installed")

from actlas.errors import BackendUnavailable, QueryError
from actlas.explore.server.serve import is_loopback, labels, serve

#: A machine that does much else needs longer.
_SOON = 3.0


def gone(started: Any) -> bool:
    until = time.monotonic() + _SOON
    while started.processes() and time.monotonic() < until:
        started.process.poll()
        time.sleep(0.02)
    return not started.processes()


HEAD = b"Host: localhost\r\nCookie: actlas-%d=a-token-of-a-test\r\n"
MALFORMED = {
    b"\x00\x01\r\n\r\n": {400},
    b"GET /store HTTP/1.1\r\n\r\n": {400},
    b"GET /store HTTP/1.1\r\nHost: localhost\r\n%b\r\n": {400},
    b"GET /st\xf6re HTTP/1.1\r\n%b\r\n": {400},
    b"GET /%%ff%%00 HTTP/1.1\r\n%b\r\n": {404},
    b"GET http://evil.example/store HTTP/1.1\r\n%b\r\n": {404},
    b"GET //evil.example/x HTTP/1.1\r\n%b\r\n": {404},
    b"OPTIONS * HTTP/1.1\r\n%b\r\n": {405},
    b"CONNECT evil.example:80 HTTP/1.1\r\n%b\r\n": {405},
    b"POST /store HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\nzz\r\n": {400, 405},
    b"GET /store HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": {200},
}


def sent(port: int, request: bytes) -> bytes:
    """The first line of what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request.replace(b"%b", HEAD % port).replace(b"%%", b"%"))
        return client.recv(4096).partition(b"\r\n")[0]


def test_ten_clients_at_once_and_an_end_at_ctrl_c(example_store: Path, started: Callable[..., Any]) -> None:
    server = started(str(example_store))
    addresses = [
        "/store",
        "/data/store.json",
        "/data/store/sizes.json",
        "/data/concept.json",
        "/data/sql/answer.json?query=SELECT%201",
    ]

    def client(number: int) -> list[int]:
        return [server.ask(addresses[(number + step) % len(addresses)]).status for step in range(len(addresses))]

    with ThreadPoolExecutor(10) as clients:
        assert [status for statuses in clients.map(client, range(10)) for status in statuses] == [200] * 50
    assert len(server.processes()) == 3
    assert server.ask(f"/data/sql/answer.json?query=SELECT%201%20--{'%F0%9F%98%80' * 20_000}").status == 200
    for request, statuses in MALFORMED.items():
        assert int(sent(server.port, request).split()[1]) in statuses, request[:80]
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        # one that is connected, and a query that would take hours
        idle.sendall(b"GET /data/sql/answer.json?query=SELECT%20count(*)%20FROM%20range(1000000000000)%20AS%20a HTTP/1.1\r\n")
        idle.sendall(f"Host: localhost\r\nCookie: actlas-{server.port}=a-token-of-a-test\r\n\r\n".encode())
        time.sleep(0.3)
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGINT)
        out, err = server.process.communicate(timeout=60)
    assert time.monotonic() - began < _SOON
    assert (server.process.returncode, out, err) == (130, "", "Ctrl-C ends it\n")
    assert gone(server)


def test_one_that_is_killed_leaves_no_process(example_store: Path, started: Callable[..., Any]) -> None:
    server = started(str(example_store))
    assert server.ask("/data/store/sizes.json").status == 200
    os.kill(server.process.pid, signal.SIGKILL)
    assert server.process.wait(60) == -signal.SIGKILL
    assert gone(server)


def test_an_extra_that_is_missing_is_named(example_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlas.explore.server.serve.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"needs starlette, uvicorn: pip install 'actlas\[explore\]'"):
        serve([str(example_store)], ready=print)


def test_a_port_that_is_taken_is_not_taken_again(example_store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(QueryError, match=rf"port {port} of 127\.0\.0\.1 is taken; name another with --port, or leave it out"):
            serve([str(example_store)], port=port, ready=print)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": "short"}, "a token has 16 letters, digits"),
        ({"token": "a b" * 10}, "a token has 16 letters, digits"),
        ({"host": "no.such.host.invalid"}, "no address of this machine"),
        ({"host": "192.0.2.1"}, "cannot be had"),
        ({"port": 70_000}, "ports go from 0 to 65535"),
    ],
)
def test_what_cannot_be_served_is_refused(example_store: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        serve([str(example_store)], ready=print, **options)


def test_stores_have_labels(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.actlas"
    odd.mkdir()
    assert labels(["runs/a.actlas", "b", f"c={tmp_path}", str(odd)]) == {
        "a": Path("runs/a.actlas"),
        "b": Path("b"),
        "c": tmp_path,
        "a=b": odd,
    }
    with pytest.raises(QueryError, match=r"two stores are called a: runs/a\.actlas and a; name them: LABEL=a"):
        labels(["runs/a.actlas", "a"])


def test_loopback_is_known() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.7", "example.org")] == [False] * 4
