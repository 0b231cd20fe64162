"""Whole tables on their way to a browser: never whole in memory, and never taken for whole where they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actlas.explore.server.served import Asking, Gone, Served


class Streamed(Response):
    """A file whose parts are made as they are taken.

    What goes wrong before the first part is an answer of its own. What goes wrong later breaks the transfer off: its last chunk
    is never sent, which no client takes for a whole file. The query ends with who asked it.

    Args:
        served: The store.
        make: Gives the parts.
        headers: Of the answer.
        threads: Where parts are made.
        one_by_one: Held until the last part is taken.
    """

    def __init__(
        self,
        served: Served,
        make: Callable[[Asking], Iterator[bytes]],
        headers: Mapping[str, str],
        threads: ThreadPoolExecutor,
        one_by_one: asyncio.Semaphore,
    ) -> None:
        super().__init__(headers=headers)
        # its length is not known
        del self.headers["content-length"]
        self._served, self._make, self._threads, self._one_by_one = served, make, threads, one_by_one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        left = asyncio.create_task(until_left(receive))
        seconds = self._served.seconds
        try:
            # who takes nothing keeps no one waiting for longer than a query may take
            async with asyncio.timeout(seconds), self._one_by_one:
                with self._served.asking() as asking:
                    await self._send(asking, left, send, is_asked_for=scope["method"] != "HEAD")
        except TimeoutError as error:
            raise Gone(
                f"the file was not made and taken within {seconds:g} seconds, which is the most that is allowed"
            ) from error
        finally:
            left.cancel()

    async def _send(self, asking: Asking, left: asyncio.Task[None], send: Send, *, is_asked_for: bool) -> None:
        parts = self._make(asking)
        making: asyncio.Future[bytes | None] | None = None
        has_begun = False
        try:
            while not left.done():
                making = asyncio.get_running_loop().run_in_executor(self._threads, lambda: next(parts, None))
                waiting: tuple[asyncio.Future[Any], ...] = (making, left)
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not making.done():
                    return
                part = await making
                if not has_begun:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    has_begun = True
                is_more = part is not None and is_asked_for
                await send({"type": "http.response.body", "body": part or b"" if is_asked_for else b"", "more_body": is_more})
                if not is_more:
                    return
        finally:
            await self._end(asking, parts, making)

    async def _end(self, asking: Asking, parts: Iterator[bytes], making: asyncio.Future[Any] | None) -> None:
        """Let nothing go on, whatever came before."""
        asking.leave()
        if making is not None:
            with suppress(Exception):
                await asyncio.shield(making)
        parts.close()  # type: ignore[attr-defined]


async def until_left(receive: Receive) -> None:
    """Return when who asked has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
