"""The application: which address is answered with what."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from actlas.errors import ActlasError, NameNotFound, QueryError, StaleTable
from actlas.explore.server import front
from actlas.explore.server.access import Access, Guarded, refused
from actlas.explore.server.served import Asking, Gone, Left, Served
from actlas.explore.server.streamed import Streamed, until_left
from actlas.words import listed, no_such

if TYPE_CHECKING:
    from actlas.explore.view import View
    from actlas.intervene.tokens.elsewhere import ModelElsewhere

#: Errors that say what is wrong to who asked.
_TOLD = (ActlasError, Gone, Left)
#: Seconds that a query may go on when who asked it has left: ending it ends what other queries would be asked of.
_SECONDS_TO_FINISH = 2.0
#: Requests that are worked on at once; the others wait, in the order in which they came.
_AT_ONCE = 16


class Explorer:
    """The routes over some stores.

    Args:
        stores: Label -> store; the first is shown unless another one is asked for.
        model: What may read texts: a folder, a hub id, or "auto" for what the records of stores name. None: none. It runs in a
            process of its own, and is loaded from now on.
    """

    def __init__(self, stores: Mapping[str, Served], model: str | None = None) -> None:
        self._stores = stores
        self._model: ModelElsewhere | None = None
        if model is not None:
            from actlas.explore.heat import RECORDED
            from actlas.intervene.tokens.elsewhere import ModelElsewhere

            self._model = ModelElsewhere(None if model == RECORDED else model)
            next(iter(stores.values())).load(self._model)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "actlas-explore")
        #: Of queries that a person typed, and whole tables, one runs at a time: however long it takes, the views are answered.
        self._long = {label: asyncio.Semaphore() for label in stores}

    def app(self, access: Access) -> ASGIApp:
        """What a server runs."""
        routes = [
            Route("/", self._first),
            Route("/front/{name}", self._front),
            Route("/data/schema.json", self._schema),
            Route("/heat.json", self._heat),
            Route("/data/{view}.json", self._described),
            Route("/data/{view}/{table}.{kind}", self._table),
            Route("/{view}", self._page),
        ]
        app = Starlette(
            routes=routes, exception_handlers={HTTPException: _not_found, **dict.fromkeys(_TOLD, _failed), Exception: _mistake}
        )
        app.router.redirect_slashes = False
        return Guarded(app, access)

    def close(self) -> None:
        """End all queries, and what runs them."""
        for served in self._stores.values():
            served.close()
        if self._model is not None:
            self._model.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _first(self, request: Request) -> Response:
        return RedirectResponse(f"/store?{urlencode(given)}" if (given := _given(request)) else "/store", 303)

    async def _page(self, request: Request) -> Response:
        from actlas.explore.server.tables import view_named

        view_named(request.path_params["view"])
        return Response(front.page(), media_type="text/html")

    async def _front(self, request: Request) -> Response:
        name = request.path_params["name"]
        body, media_type, version = front.file(name)
        is_this = request.query_params.get("v") == version
        headers = {"cache-control": "private, max-age=31536000, immutable"} if is_this else {}
        return Response(body, media_type=media_type, headers=headers)

    async def _schema(self, request: Request) -> Response:
        from actlas.explore.server.tables import JSON, schema

        served = self._served(_given(request))
        return await self._answered(request, served, JSON, schema)

    async def _heat(self, request: Request) -> Response:
        from actlas.explore.server.tables import JSON, as_json

        given = _given(request)
        served = self._served(given)
        return await self._answered(request, served, JSON, lambda _: as_json(served.heat(given, self._model)))

    async def _described(self, request: Request) -> Response:
        from actlas.explore.server.tables import JSON, described

        given = _given(request)
        served = self._served(given)
        view = self._view(request, served, given)
        return await self._answered(request, served, JSON, lambda ask: described(view, given, ask, list(self._stores)))

    async def _table(self, request: Request) -> Response:
        from actlas.explore.server.tables import FILES, JSON, is_typed, table, whole_table

        name, kind = request.path_params["table"], request.path_params["kind"]
        if kind != "json" and kind not in FILES:
            raise NameNotFound(no_such("format", [kind], ["json", *FILES], "actlas explore"))
        given = _given(request)
        served = self._served(given)
        view = self._view(request, served, given)
        if kind == "json":
            one_by_one = self._long[served.label] if is_typed(view, name) else None
            return await self._answered(request, served, JSON, lambda ask: table(view, name, given, ask), one_by_one)
        called = re.sub(r"[^\w.-]+", "-", f"{served.label}-{view.name}-{name}.{kind}", flags=re.ASCII)
        headers = {"content-type": FILES[kind], "content-disposition": f'attachment; filename="{called}"'}
        return Streamed(
            served, lambda ask: whole_table(view, name, kind, given, ask), headers, self._threads, self._long[served.label]
        )

    def _served(self, given: dict[str, str]) -> Served:
        """The store that a request is about, whose label is taken out of what it gives."""
        label = given.pop("store", None) or next(iter(self._stores))
        if label not in self._stores:
            raise NameNotFound(no_such("store", [label], list(self._stores), "actlas explore"))
        return self._stores[label]

    def _view(self, request: Request, served: Served, given: Mapping[str, str]) -> View:
        """The view that an address names, of the store that it is about and of the one that is set beside it."""
        from actlas.explore.server.tables import view_named

        stores = (served.label, *(label for label in self._stores if label != served.label))
        return view_named(request.path_params["view"], stores, given.get("beside"))

    async def _answered(
        self,
        request: Request,
        served: Served,
        media_type: str,
        work: Callable[[Asking], bytes],
        one_by_one: asyncio.Semaphore | None = None,
    ) -> Response:
        """Work in a thread, that ends when who asked has left."""
        with served.asking() as asking:
            loop = asyncio.get_running_loop()

            async def worked() -> bytes:
                async with one_by_one or nullcontext():
                    return await loop.run_in_executor(self._threads, work, asking)

            working, left = loop.create_task(worked()), loop.create_task(until_left(request.receive))
            waiting: tuple[asyncio.Task[Any], ...] = (working, left)
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    await asyncio.wait({working}, timeout=_SECONDS_TO_FINISH)
                    asking.leave()
                return Response(await working, media_type=media_type)
            finally:
                left.cancel()


def _given(request: Request) -> dict[str, str]:
    """What an address asks for.

    Raises:
        QueryError: If it asks for something twice.
    """
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(f"the address says {listed(twice)} more than once")
    return dict(pairs)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused(error.status_code, f"{request.scope['path']}: nothing is there; the first page is /store")


async def _failed(request: Request, error: Exception) -> Response:
    return refused(_status(error), str(error))


async def _mistake(request: Request, error: Exception) -> Response:
    return refused(500, "this could not be answered, by a mistake of actlas")


def _status(error: Exception) -> int:
    if isinstance(error, Left):
        return 499  # who asked reads none
    if isinstance(error, Gone):
        return 503
    if isinstance(error, LookupError):
        return 404
    if isinstance(error, StaleTable):
        return 409
    return 400 if isinstance(error, QueryError) else 500
