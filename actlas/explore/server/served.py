"""A store that is served: who asks it is told what is in it, and not where it lies."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.errors import ActlasError, ModelLoading, StoreNotFound
from actlas.explore.view import MOST_ROWS
from actlas.query.schema import MAX_ANSWER
from actlas.query.sql.guard import identifier
from actlas.query.workers.client import FileKind, QueryWorker
from actlas.store.store import Store

if TYPE_CHECKING:
    from actlas.intervene.tokens.elsewhere import ModelElsewhere
    from actlas.query.atlas import Atlas


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        seconds: How long it may run.
        memory: Bytes.
        rows: Rows of its answer.
        at_once: Queries of one store that run at the same time.
    """

    seconds: float = 300.0
    memory: int = 1_000_000_000
    rows: int = MAX_ANSWER
    at_once: int = 2


class Gone(Exception):
    """The store is not there any more."""


class Left(Exception):
    """Who asked has gone away."""


class Served:
    """One store and what answers queries over it: processes of its own, in which limits hold. Threads may ask at once.

    Args:
        label: What addresses call it.
        path: Its folder.
        limits: What one query may take.
        stores: Label -> folder of all that are served: a query may name tables of the others by their labels.
    """

    def __init__(self, label: str, path: Path, limits: Limits, stores: Mapping[str, Path] | None = None) -> None:
        self.label = label
        self._path = path.resolve()
        self._limits = limits
        self._others = {other: folder.resolve() for other, folder in (stores or {}).items() if other != label}
        self._numbers = itertools.count()
        self._starting = threading.Lock()
        self._worker: QueryWorker | None = None
        Store(path)  # refuses a path without one

    @property
    def seconds(self) -> float:
        """How long one query may run."""
        return self._limits.seconds

    def start(self) -> QueryWorker:
        """What answers queries; its processes are started when this is called first."""
        with self._starting:
            if self._worker is None:
                limits = self._limits
                self._worker = QueryWorker(
                    self._path,
                    timeout=limits.seconds,
                    memory=limits.memory,
                    max_rows=limits.rows,
                    n_workers=limits.at_once,
                )
            return self._worker

    @contextmanager
    def asking(self) -> Iterator[Asking]:
        """Within it, queries of one request; none of them runs on afterwards.

        Raises:
            Gone: If the store is not there any more.
        """
        self.check(self.label, self._path)
        asking = Asking(self, f"request {next(self._numbers)}")
        try:
            yield asking
        finally:
            asking.leave()

    def heat(self, params: Mapping[str, str], model: ModelElsewhere | None) -> dict[str, Any]:
        """A text with what a neuron has at each of its tokens."""
        from actlas.explore.heat import heat

        found = heat(self._atlas, params, model)
        if found["error"] is not None:
            found["error"]["text"] = self.told(found["error"]["text"])
        return found

    def load(self, model: ModelElsewhere) -> None:
        """Let a model begin to load the checkpoint that is looked at first."""
        checkpoints = [one for one in self._atlas.checkpoints if one not in self._atlas.controls] or self._atlas.checkpoints
        if checkpoints:
            with suppress(ModelLoading):
                model.load(self._path, checkpoints[-1])

    @cached_property
    def _atlas(self) -> Atlas:
        from actlas.query.atlas import Atlas

        return Atlas(self._path)

    @staticmethod
    def check(label: str, path: Path) -> None:
        """Refuse a store that is not there any more."""
        if not path.is_dir():
            raise Gone(f"store {label} is not there any more")

    def named_in(self, sql: str) -> dict[str, Path]:
        """Other stores that a query may name.

        Raises:
            Gone: If one of them is not there any more.
        """
        found = {label: path for label, path in self._others.items() if re.search(_before_a_table(label), sql, re.IGNORECASE)}
        for label, path in found.items():
            self.check(label, path)
        return found

    def cancel(self, name: str) -> None:
        """End the queries that were asked under a name."""
        if self._worker is not None:
            self._worker.cancel(name)

    def close(self) -> None:
        """End the queries that run, and what runs them."""
        with self._starting:
            if self._worker is not None:
                self._worker.close()

    def told(self, error: object) -> str:
        """What an error says, in one line, with the names of stores where their folders were."""
        text = " ".join(str(error).split())
        for path in (self._path, *self._others.values()):
            text = text.replace(str(path), path.name).replace(f"{path.parent}/", "")
        return text


def _before_a_table(label: str) -> str:
    """A pattern of how a query may name a table of a store."""
    return rf"{re.escape(identifier(label))}\s*\.|\b{re.escape(label)}\s*\."


class Asking:
    """The queries of one request.

    Args:
        served: The store.
        name: What they are cancelled by.
    """

    def __init__(self, served: Served, name: str) -> None:
        self._served = served
        self._name = name
        self._has_left = threading.Event()

    def __call__(self, sql: str, params: Mapping[str, Any]) -> pl.DataFrame:
        """The answer to one query.

        Raises:
            Gone: If the store is not there any more.
            Left: If who asked is not.
            ActlasError: If the query is refused; what it says names no folder.
        """
        with self._telling():
            return self._served.start().ask(sql, params, stores=self._served.named_in(sql), name=self._name)

    def first(self, sql: str, params: Mapping[str, Any]) -> tuple[pl.DataFrame, int]:
        """As many rows of an answer as a page shows, and how many there are.

        Raises:
            Gone: As when it is called, and so are the others.
        """
        with self._telling():
            stores = self._served.named_in(sql)
            return self._served.start().ask_first(sql, params, most=MOST_ROWS, stores=stores, name=self._name)

    def file(self, sql: str, params: Mapping[str, Any], kind: FileKind) -> Iterator[bytes]:
        """An answer as parts of a file, the next made when it is asked for.

        Raises:
            Gone: As when it is called, and so are the others; also on the way.
        """
        with self._telling():
            stores = self._served.named_in(sql)
            yield from self._served.start().ask_file(sql, params, kind=kind, stores=stores, name=self._name)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Within it, errors are those that may be told."""
        if self._has_left.is_set():
            raise Left
        try:
            yield
        except StoreNotFound as error:
            raise Gone(f"store {self._served.label} is not there any more") from error
        except ActlasError as error:
            raise type(error)(self._served.told(error)) from error
        except OSError as error:
            raise Gone(f"store {self._served.label} could not be read: {error.strerror}") from error

    def leave(self) -> None:
        """Ask nothing more, and end what runs."""
        if not self._has_left.is_set():
            self._has_left.set()
            self._served.cancel(self._name)
