"""Who may ask: the address that is served, asked from its own pages, by someone who knows the token.

A page of another site that a browser has open can send requests to this machine. It is told from others by three things: the
``Host`` that it asks for when a name of its own leads here, the ``Origin`` or ``Sec-Fetch-Site`` that a browser adds, and the
cookie that a browser does not send from there.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actlas.words import printable

#: On every answer: scripts, styles and data from here alone, shown in no frame, read by no other site, told to no other site.
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: Of answers that say nothing about it themselves.
NOT_KEPT = "no-store"
_METHODS = ("GET", "HEAD")
#: What `Sec-Fetch-Site` says of a request that no other site made.
_OWN = ("same-origin", "none")

#: Letters of a line that says why not: an address that it names may be as long as it likes.
_LONGEST_LINE = 2_000

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """What a request must show.

    Attributes:
        host: The address that is served, as it was asked for.
        port: Its port.
        token: What only those know who may ask.
    """

    host: str
    port: int
    token: str

    @property
    def url(self) -> str:
        """Where the first page is, with the token in it."""
        # where all addresses are served, the name of the machine is one that others can reach
        host = socket.gethostname() if self._is_everywhere else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/?{urlencode({'token': self.token})}"

    @property
    def cookie(self) -> str:
        """Its name: browsers send cookies to every port of a host."""
        return f"actlas-{self.port}"

    def is_host(self, header: str) -> bool:
        """Whether a ``Host`` is the address that is served, or this machine's own name for itself.

        The port is not looked at: it may be another one at the other end of a tunnel, and what must not be here is a name.

        Example:
            >>> access = Access("127.0.0.1", 8765, "secret")
            >>> [access.is_host(host) for host in ("127.0.0.1:8765", "localhost:9000", "[::1]:8765", "evil.example:8765")]
            [True, True, True, False]
        """
        name = _hostname(header)
        if name is None:
            return False
        if name in (self.host.lower(), "localhost"):
            return True
        address = _address(name)
        if address is not None and address.is_loopback:
            return True
        if not self._is_everywhere:
            return False
        # a number leads nowhere else than it says, a name may
        return address is not None or name == socket.gethostname().lower()

    @property
    def _is_everywhere(self) -> bool:
        """Whether every address of this machine is served."""
        own = _address(self.host)
        return own is not None and own.is_unspecified

    def knows(self, headers: Headers) -> bool:
        """Whether the cookie of a request holds the token."""
        cookies = SimpleCookie()
        for header in headers.getlist("cookie"):
            try:
                cookies.load(header)
            except CookieError:
                continue
        return self.cookie in cookies and self.is_token(cookies[self.cookie].value)

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes as long for a wrong one."""
        return secrets.compare_digest(given.encode(), self.token.encode())


class Guarded:
    """An application that is asked by those alone who may, and whose answers say how browsers treat them.

    Args:
        app: What answers.
        access: Who may ask.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        has_begun = is_lost = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun, is_lost
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", NOT_KEPT)
            try:
                await send(message)
            except Exception:
                is_lost = True
                raise

        try:
            answer = self._refusal(scope) or self._welcome(scope) or self._app
            await answer(scope, receive, send_with_headers)
        except Exception as error:
            if is_lost:
                return  # what was sent is no request, or who sent it has left
            # a mistake of ours: nothing of it is shown, and the next request is answered
            _LOG.warning("%s could not be answered: unexpected %s", printable(scope["path"]), type(error).__name__)
            if not has_begun:
                await refused(500, "this could not be answered, by a mistake of actlas")(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is not answered; None if it is."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._access.is_host(hosts[0]):
            return refused(403, f"this is not the address that is served; open {_without_token(self._access)}")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return refused(403, "pages of another site may not ask here")
        if any(site not in _OWN for site in headers.getlist("sec-fetch-site")):
            return refused(403, "pages of another site may not ask here; put the address into the address bar yourself")
        if scope["method"] not in _METHODS:
            return refused(405, "everything here is read: ask with GET or HEAD", allow=", ".join(_METHODS))
        return None

    def _welcome(self, scope: Scope) -> Response | None:
        """What is said to who comes with the token, or without anything; None to those who are known."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and all(map(self._access.is_token, given)):
            # the token leaves the address, which is shown, kept in a history and copied to others
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # a path of two slashes would be the name of a host
            path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
            response = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
            response.set_cookie(self._access.cookie, self._access.token, httponly=True, samesite="strict", path="/")
            return response
        if not self._access.knows(Headers(scope=scope)):
            return refused(401, "the token is missing or not the one: open the address that actlas explore printed when it began")
        return None


def refused(status: int, line: str, **headers: str) -> Response:
    """An answer of one line that says why there is no other."""
    return PlainTextResponse(printable(line)[:_LONGEST_LINE] + "\n", status, headers)


def _without_token(access: Access) -> str:
    return access.url.partition("?")[0]


def _hostname(header: str) -> str | None:
    """The host of a ``Host`` header; None if it is none."""
    if header.startswith("["):
        name, bracket, port = header[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = header.partition(":")
    return name.lower() if name and (not port or (port.isascii() and port.isdecimal())) else None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
