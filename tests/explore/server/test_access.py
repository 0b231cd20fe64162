"""Who may ask: host, origin, site, method, token; what every answer says to a browser."""

from __future__ import annotations

import socket
from typing import Any

import pytest

access = pytest.importorskip("actlas.explore.server.access", reason="the extra [explore] is not installed")

TOKEN = "a-token-of-a-test"
ONE_LINE = r"[^\n]+\n"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ADDRESSES = ["/", "/store", "/data/store.json", "/data/store/sizes.csv", "/data/schema.json", "/front/actlas.js", "/nothing"]
COOKIE = ("cookie", f"actlas-8765={TOKEN}")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_has_the_headers(ask: Any, address: str) -> None:
    for headers in (None, [("host", "127.0.0.1:8765")], [("host", "evil.example")]):
        reply = ask(address, headers)
        assert reply.headers.items() >= HEADERS.items()
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ([], 403, "not the address that is served; open http://127.0.0.1:8765/"),
        ([("host", "evil.example:8765"), COOKIE], 403, "not the address that is served"),
        ([("host", "127.0.0.1.evil.example"), COOKIE], 403, "not the address that is served"),
        ([("host", "localhost:8765@evil.example"), COOKIE], 403, "not the address that is served"),
        ([("host", "10.0.0.1:8765"), COOKIE], 403, "not the address that is served"),
        ([("host", "[::1"), COOKIE], 403, "not the address that is served"),
        ([("host", ""), COOKIE], 403, "not the address that is served"),
        ([("host", "localhost"), ("host", "evil.example"), COOKIE], 403, "not the address that is served"),
        ([("host", "localhost:8765"), ("origin", "http://evil.example"), COOKIE], 403, "another site"),
        ([("host", "localhost:8765"), ("origin", "http://localhost:8766"), COOKIE], 403, "another site"),
        ([("host", "localhost:8765"), ("origin", "null"), COOKIE], 403, "another site"),
        ([("host", "localhost:8765"), ("sec-fetch-site", "cross-site"), COOKIE], 403, "another site"),
        ([("host", "localhost:8765"), ("sec-fetch-site", "same-site"), COOKIE], 403, "another site"),
        ([("host", "localhost:8765")], 401, "token is missing or not the one"),
        ([("host", "localhost:8765"), ("cookie", "actlas-8765=b-token-of-a-test")], 401, "token is missing or not the one"),
        ([("host", "localhost:8765"), ("cookie", f"actlas-8766={TOKEN}")], 401, "token is missing or not the one"),
        ([("host", "localhost:8765"), ("cookie", f"actlas-8765={TOKEN}\xff")], 401, "token is missing or not the one"),
        ([("host", "localhost:8765"), ("authorization", f"Bearer {TOKEN}")], 401, "token is missing or not the one"),
    ],
)
def test_who_may_not_ask_is_told_so_in_one_line(
    ask: Any, address: str, headers: list[tuple[str, str]], status: int, said: str
) -> None:
    reply = ask(address, headers)
    assert reply.status == status
    assert said in reply.text
    assert reply.text.count("\n") == 1
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "127.0.0.1", "localhost:8765", "LOCALHOST:9000", "[::1]:8765", "127.0.0.2:1"])
def test_this_machine_s_names_for_itself_are_served(ask: Any, host: str) -> None:
    reply = ask("/store", [("host", host), ("sec-fetch-site", "same-origin"), ("origin", f"http://{host}"), COOKIE])
    assert reply.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_but_reading(ask: Any, method: str) -> None:
    for address in ADDRESSES:
        reply = ask(address, method=method)
        assert (reply.status, reply.headers["allow"], reply.text.count("\n")) == (405, "GET, HEAD", 1)
    assert ask("/store", method="HEAD").status == 200


def test_the_token_becomes_a_cookie_and_leaves_the_address(ask: Any) -> None:
    stranger = [("host", "localhost:8765")]
    reply = ask(f"/concept?concept=water&token={TOKEN}&language=en", stranger)
    assert (reply.status, reply.headers["location"], reply.body) == (303, "/concept?concept=water&language=en", b"")
    assert reply.headers["set-cookie"] == f"actlas-8765={TOKEN}; HttpOnly; Path=/; SameSite=strict"
    assert ask(f"/?token={TOKEN}", stranger).headers["location"] == "/"
    for wrong in ("b-token-of-a-test", "", TOKEN[:-1]):
        assert ask(f"/?token={wrong}", stranger).status == 401
    assert ask(f"/?token={TOKEN}&token=wrong", stranger).status == 401
    for path in ("//evil.example", "/%5Cevil.example", "///evil.example/a"):
        assert not ask(f"{path}?token={TOKEN}", stranger).headers["location"].startswith(("//", "/\\"))


def test_other_sites_do_not_get_in_with_the_token_either(ask: Any) -> None:
    reply = ask(f"/?token={TOKEN}", [("host", "localhost:8765"), ("sec-fetch-site", "cross-site")])
    assert (reply.status, "set-cookie" in reply.headers) == (403, False)


def test_where_all_addresses_are_served_a_number_is_one_and_a_name_is_not() -> None:
    everywhere = access.Access("0.0.0.0", 8765, TOKEN)
    assert everywhere.is_host("192.168.1.7:8765")
    assert everywhere.is_host("[fe80::1]:8765")
    assert everywhere.is_host("localhost:8765")
    assert everywhere.url == f"http://{socket.gethostname()}:8765/?token={TOKEN}"
    assert everywhere.is_host(f"{socket.gethostname()}:8765")
    assert not everywhere.is_host("evil.example:8765")
    one = access.Access("192.168.1.7", 8765, TOKEN)
    assert one.is_host("192.168.1.7:8765")
    assert not one.is_host("192.168.1.8:8765")
    assert access.Access("::1", 8765, TOKEN).url == f"http://[::1]:8765/?token={TOKEN}"


def test_a_mistake_of_ours_is_one_line_here_and_there(caplog: pytest.LogCaptureFixture, ask: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/a/folder/of/this/machine")

    reply = type(ask)(access.Guarded(broken, access.Access("127.0.0.1", 8765, TOKEN)))("/a%0Ab")
    assert (reply.status, reply.text) == (500, "this could not be answered, by a mistake of actlas\n")
    assert [record.getMessage() for record in caplog.records] == ["/a\\nb could not be answered: unexpected RuntimeError"]
    assert caplog.records[0].exc_info is None
