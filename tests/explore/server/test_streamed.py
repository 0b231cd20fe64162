"""Whole tables on their way to a browser: part by part, broken off where they fail, and ended with who asked."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

pytest.importorskip("starlette", reason="the extra [explore] is not installed")

TOKEN = "a-token-of-a-test"
#: Rows of a table that is streamed in whole; 5,000,000 where somebody asks for them.
N_ROWS = int(os.environ.get("ACTLAS_STREAMED_ROWS", "300000"))
MOST_BYTES = 500_000_000
#: Fails when some of it has been sent.
LATE = "SELECT CASE WHEN range < 1000000 THEN range ELSE error('too late') END AS n FROM range(100000000)"
ENDLESS = "SELECT range AS n FROM range(100000000000)"


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def request(server: Any, query: str, kind: str = "csv") -> bytes:
    address = f"/data/sql/answer.{kind}?query={quote(query)}"
    cookie = f"Cookie: actlas-{server.port}={TOKEN}"
    return f"GET {address} HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n".encode()


def read(server: Any, query: str, kind: str) -> bytes:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        address = f"/data/sql/answer.{kind}?query={quote(query)}"
        connection.request("GET", address, headers={"Cookie": f"actlas-{server.port}={TOKEN}"})
        response = connection.getresponse()
        assert (response.status, response.getheader("transfer-encoding")) == (200, "chunked")
        return response.read()


def test_tables_come_in_parts_are_broken_off_where_they_fail_and_end_with_who_asked(
    example_store: Path, started: Callable[..., Any]
) -> None:
    server = started(str(example_store))
    whole = read(server, f"SELECT range AS n, 'text ' || range AS text FROM range({N_ROWS})", "parquet")
    assert pl.read_parquet(io.BytesIO(whole))["n"].sum() == N_ROWS * (N_ROWS - 1) // 2
    assert resident(server.process.pid) < MOST_BYTES
    with pytest.raises(IncompleteRead) as broken:
        read(server, LATE, "arrow")
    assert len(broken.value.partial) > 1_000_000
    # what fails before the first part is a line
    refused = server.ask(f"/data/sql/answer.csv?query={quote('SELECT error(1::VARCHAR) AS n')}")
    assert (refused.status, refused.text) == (400, "1\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(request(server, ENDLESS))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        # it takes no more; views are answered, and another file waits until it has left
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as second:
            second.sendall(request(server, "SELECT 1 AS n"))
            assert server.ask("/data/store/sizes.json").status == 200
            second.settimeout(0.1)
            with pytest.raises(TimeoutError):
                second.recv(1)
            client.close()
            second.settimeout(30)
            assert second.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(server.processes()) <= 3
