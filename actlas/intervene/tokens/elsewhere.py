"""A model that reads texts in a process of its own: loaded while other things are done, started again where it ended."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import ActlasError, ExtractionError, ModelLoading
from actlas.extract.child import Child

#: What the process runs.
_MODULE = "actlas.intervene.tokens.reader"
#: Seconds that it has to end by itself.
_SECONDS_TO_END = 1.0
#: Store and checkpoint.
_Loaded = tuple[str, str]


class ModelElsewhere:
    """A process that holds one model. Threads may ask at once; it reads one text after the other.

    Loading is never waited for: what is asked meanwhile is told that. The process ends with this object, and with the process
    that made it, however that ends.

    Args:
        model: Folder or hub id; None for what the record of a checkpoint names.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._changing = threading.Lock()
        #: Held while the process is asked.
        self._asking = threading.Lock()
        self._child: Child | None = None
        self._loading: _Loaded | None = None
        self._ready: _Loaded | None = None
        #: Why the last one could not be loaded, until that was told.
        self._failure: ActlasError | None = None
        self._is_closed = False

    def load(self, store: Path, checkpoint: str) -> None:
        """Begin to load a checkpoint, unless it is there or on its way.

        Raises:
            ModelLoading: If it is not there yet.
            ActlasError: If it could not be loaded; it is tried again when this is called next.
        """
        wanted = (str(store), checkpoint)
        with self._changing:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._ready == wanted:
                return
            if self._loading is None and not self._is_closed:
                self._loading, self._ready = wanted, None
                threading.Thread(target=self._load, args=wanted, name="actlas-model", daemon=True).start()
        raise ModelLoading(f"the model of {checkpoint} is being loaded; ask again in a moment")

    def read(self, store: Path, checkpoint: str, text: str, **asked: Any) -> Mapping[str, pl.DataFrame]:
        """What the process answers about a text; see `reader`.

        Raises:
            ModelLoading: If the model is not there yet.
            ActlasError: What the model refuses, or that the process ended; it is started again then.
        """
        self.load(store, checkpoint)
        with self._asking:
            if self._child is None or self._ready != (str(store), checkpoint):
                raise ModelLoading(f"the model of {checkpoint} is being loaded; ask again in a moment")
            try:
                answer = self._child.ask("read", text=text, **asked)
            except ExtractionError as error:
                if self._child.status is None:
                    raise
                raise self._ended(self._child) from error
        return {name: pl.read_ipc_stream(io.BytesIO(base64.b64decode(frame))) for name, frame in answer.items()}

    def _load(self, store: str, checkpoint: str) -> None:
        failure: ActlasError | None = None
        with self._asking:
            try:
                running = self._running()
                if running is not None:
                    running.ask("load", store=store, checkpoint=checkpoint, model=self._model)
            except ActlasError as error:
                child = self._child
                failure = error if child is None or child.status is None else self._ended(child)
            except OSError as error:
                failure = ExtractionError(f"the system starts no process for the model now: {error.strerror}")
        with self._changing:
            self._loading, self._failure = None, failure
            self._ready = None if failure else (store, checkpoint)

    def _running(self) -> Child | None:
        """The process, started where there is none; None once this is closed, which finds every process that was started."""
        with self._changing:
            if self._is_closed:
                return None
            if self._child is not None and self._child.status is not None:
                self._child.close()
                self._child = None
            if self._child is None:
                self._child = Child(_MODULE, "the process of the model", log_name="actlas-model")
            return self._child

    def _ended(self, child: Child) -> ExtractionError:
        """What is said of a process that ended; another one takes its place when something is asked next."""
        self._ready = None
        status = child.status or 0
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        why = ", as the system does where memory is short" if status == -9 else ""
        return ExtractionError(f"the process of the model was ended {how}{why}; another one is started, ask again")

    def close(self) -> None:
        """End the process; what it is asked is not waited for."""
        with self._changing:
            self._is_closed = True
            child = self._child
        if child is not None:
            child.close(_SECONDS_TO_END)
