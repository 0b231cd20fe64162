"""`Widget`: the views of a store in a notebook, in Jupyter, marimo or VS Code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from actlas.errors import ActlasError, BackendUnavailable
from actlas.explore.heat import heat
from actlas.explore.module import module, style
from actlas.explore.server.tables import described, schema, table, view_named
from actlas.query.atlas import Atlas, as_atlas

try:
    import anywidget
    import traitlets
except ImportError as missing:
    raise BackendUnavailable("a widget needs anywidget: pip install 'actlas[notebook]'") from missing

if TYPE_CHECKING:
    from actlas.intervene import LiveModel

Theme = Literal["auto", "light", "dark"]


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """What the front end asks.

    Attributes:
        id: Comes back with the answer.
        ask: What kind of question it is.
        view: Of which view.
        part: Which of its tables.
        params: What is chosen.
    """

    id: str | int
    ask: Literal["describe", "answer", "schema", "heat"]
    view: str = ""
    part: str = ""
    params: dict[str, str | int | float | bool | None] = {}


def reply(store: Atlas, content: Any, model: LiveModel | Path | str | None = None) -> dict[str, Any] | None:
    """What is said to a message of the front end.

    Args:
        store: What it is about.
        content: The message, whatever it is.
        model: As in `Widget`.

    Returns:
        id, and answer or error (kind, and text in one line); None where there is no id, and so no one to tell.
    """
    number = content.get("id") if isinstance(content, dict) else None
    if not isinstance(number, str | int):
        return None
    try:
        return {"id": number, "answer": _answer(store, msgspec.convert(content, _Message), model)}
    except (ActlasError, OSError, msgspec.ValidationError) as error:
        return {"id": number, "error": {"kind": type(error).__name__, "text": " ".join(str(error).split())}}


def _answer(store: Atlas, asked: _Message, model: LiveModel | Path | str | None) -> Any:
    given = {name: str(value) for name, value in asked.params.items() if value is not None}
    if asked.ask == "heat":
        return heat(store, given, model)
    answers: dict[str, Callable[[], bytes]] = {
        "describe": lambda: described(view_named(asked.view), given, store.sql, []),
        "answer": lambda: table(view_named(asked.view), asked.part, given, store.sql),
        "schema": lambda: schema(store.sql),
    }
    return msgspec.json.decode(answers[asked.ask]())


class Widget(anywidget.AnyWidget):  # type: ignore[misc]
    """The views of `actlas explore` over a store, in a notebook: the same pictures, tables and queries, without a server.

    It reads only, whatever is typed into it. Every question runs in the notebook's own process, within the limits of the store
    (`Atlas.timeout`, `Atlas.max_answer`); what goes wrong is told in one line, where the answer would be. `view` and `params` say
    what is shown: they follow the reader, and can be set.

    Args:
        store: A store, or its path.
        view: The view that is shown first: "store", "concept", "neuron", "compare", "probe", "languages", "interventions", "sql".
        params: Values of its choices; the first that can be chosen for those that are left out.
        height: In pixels; what is longer scrolls. None: as high as it is.
        theme: "light", "dark", or "auto" for that of the notebook.
        model: What may read a text for its token values where none are kept, and sentences that are typed: a loaded checkpoint,
            a folder or hub id, or "auto" for the one that the store's record names. None: nothing is run.

    Raises:
        StoreNotFound: If there is no store at a path.
        NameNotFound: If there is no such view.
        BackendUnavailable: If anywidget is not installed.

    Example:
        >>> widget = Widget(store, "concept", {"concept": "water"})
        >>> widget.view, widget.params
        ('concept', {'concept': 'water'})
    """

    _esm = module()
    _css = style()
    view = traitlets.Unicode("store").tag(sync=True)
    params = traitlets.Dict().tag(sync=True)
    height = traitlets.Int(None, allow_none=True, min=1).tag(sync=True)
    theme = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)

    def __init__(
        self,
        store: Atlas | Path | str,
        view: str = "store",
        params: Mapping[str, Any] | None = None,
        *,
        height: int | None = None,
        theme: Theme = "auto",
        model: LiveModel | Path | str | None = None,
    ) -> None:
        view_named(view)
        self._atlas = as_atlas(store)
        self._reader = model
        super().__init__(view=view, params=dict(params or {}), height=height, theme=theme)
        self.on_msg(self._hear)

    def _hear(self, _: Any, content: Any, buffers: Any = None) -> None:
        said = reply(self._atlas, content, self._reader)
        if said is not None:
            self.send(said)
