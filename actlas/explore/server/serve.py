"""Serving: a socket, the stores behind labels, and an end at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actlas.errors import BackendUnavailable, QueryError
from actlas.explore.server.served import Limits, Served
from actlas.words import listed, printable

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from actlas.explore.server.access import Access

#: The port that is taken if it is free, and how many after it are tried.
PORT, _PORTS = 8765, 20
#: A token that is shorter could be guessed.
_SHORTEST = 16
#: Seconds that a connection without a request is kept.
_SECONDS_IDLE = 30
#: Bytes of a request: a text that is typed may have 20,000 characters, each of which an address writes in up to twelve.
_LONGEST = 300_000
#: What the server has to end by itself.
_SECONDS_TO_END = 0.2


def serve(
    stores: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    limits: Limits | None = None,
    model: str | None = None,
    ready: Callable[[Access], None],
) -> None:
    """Serve stores until this is interrupted.

    Args:
        stores: Folders, each as ``FOLDER`` or ``LABEL=FOLDER``.
        host: The address to listen on.
        port: Its port; None for a free one near `PORT`.
        token: What those must know who ask; None for a random one.
        limits: What one query may take.
        model: Folder or hub id of a model that may read texts, or "auto" for the one that a store names; None: none.
        ready: Is called when requests are taken, with what they must show.

    Raises:
        BackendUnavailable: If the extra is not installed.
        StoreNotFound: If there is no store in one of the folders.
        QueryError: If two stores have one label, the token could be guessed, or the address cannot be had.
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise BackendUnavailable(f"serving stores needs {listed(missing)}: pip install 'actlas[explore]'")
    if token is not None and not re.fullmatch(rf"[\w-]{{{_SHORTEST},}}", token, re.ASCII):
        raise QueryError(f"a token has {_SHORTEST} letters, digits, - and _ at least, so that it is not guessed")
    labelled = labels(stores)
    with _listening(host, port) as listening, contextlib.ExitStack() as opened:
        served = {
            label: opened.enter_context(contextlib.closing(Served(label, path, limits or Limits(), labelled)))
            for label, path in labelled.items()
        }
        # its processes begin while the libraries of the web are loaded
        next(iter(served.values())).start()
        from actlas.explore.server.access import Access
        from actlas.explore.server.app import Explorer

        access = Access(host, listening.getsockname()[1], token or secrets.token_urlsafe(32))
        explorer = opened.enter_context(contextlib.closing(Explorer(served, model)))
        ready(access)
        _run(explorer.app(access), listening)


def _run(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until the main thread is interrupted, which hears that at once: it does nothing else."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            # what others send is no news for the terminal
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_SECONDS_IDLE,
            h11_max_incomplete_event_size=_LONGEST,
        )
    )
    ended: Future[None] = Future()

    def run() -> None:
        try:
            server.run(sockets=[listening])
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    thread = threading.Thread(target=run, name="actlas-explore", daemon=True)
    thread.start()
    try:
        ended.result()
    finally:
        server.should_exit = server.force_exit = True
        thread.join(_SECONDS_TO_END)


def labels(stores: Sequence[str]) -> dict[str, Path]:
    """Label -> folder.

    Raises:
        QueryError: If two have one label.

    Example:
        >>> labels(["runs/a.actlas", "twin=runs/b.actlas"])
        {'a': PosixPath('runs/a.actlas'), 'twin': PosixPath('runs/b.actlas')}
    """
    found: dict[str, Path] = {}
    for store in stores:
        label, equals, folder = store.partition("=")
        is_labelled = bool(label and equals and folder) and not Path(store).exists()
        path = Path(folder if is_labelled else store)
        label = printable(label if is_labelled else path.resolve().name.removesuffix(".actlas"))
        if label in found:
            raise QueryError(f"two stores are called {label}: {found[label]} and {path}; name them: LABEL={path}")
        found[label] = path
    return found


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.contextmanager
def _listening(host: str, port: int | None) -> Iterator[socket.socket]:
    """A socket that listens; where no port is asked for, on one that is free."""
    ports = [port] if port is not None else [*range(PORT, PORT + _PORTS), 0]
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        raise QueryError(f"--host {host} is no address of this machine") from error
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in ports:
            try:
                listening.bind((host, one))
                listening.listen(128)
            except OverflowError:
                raise QueryError(f"--port {one} is none: ports go from 0 to 65535") from None
            except OSError as error:
                if error.errno == errno.EADDRINUSE and one != ports[-1]:
                    continue
                what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
                raise QueryError(f"port {one} of {host} {what}; name another with --port, or leave it out") from error
            break
        yield listening
