"""A text with what a neuron has at each of its tokens, for a page: kept, or read off a model that runs once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from actlas.errors import ActlasError, CubeNotFound, QueryError
from actlas.explore.view import as_answer, plain
from actlas.query import Atlas, sampled_token_values
from actlas.query.choices import chosen_checkpoints, place_of_text
from actlas.query.keep import kept_parts
from actlas.query.neurons import check_neuron
from actlas.words import listed

if TYPE_CHECKING:
    from actlas.intervene import LiveModel
    from actlas.intervene.tokens.elsewhere import ModelElsewhere

    #: What may read a text: a loaded model, one in a process of its own, a folder, a hub id, or "auto".
    Model = LiveModel | ModelElsewhere | Path | str

#: Stands for a model where the record of the checkpoint says it is.
RECORDED = "auto"
#: A typed text of more characters is refused before a tokenizer sees it.
MOST_CHARACTERS = 20_000
#: Pairs of a concept and a language that are told of a token.
_PAIRS = 5
#: What columns of `active_experts` mean, where tables mean something else by them.
_MEANT = {
    "position": "place of the token in the text, from 0",
    "rank": "place among concepts and languages at this token, from 1: most active experts first",
    "n_active": "experts of the concept in the language that are above their median at this token",
    "n_experts": "how many experts of the concept the language has",
    "expert_rank": "place of the best active one among them",
    "value": "what it has at this token",
}
_TOKEN = ["position", "piece", "char_start", "char_end", "is_special", "value"]


@dataclass(frozen=True)
class Asked:
    """What a page asks for.

    Attributes:
        checkpoint: Of which checkpoint.
        neuron: Site, layer and neuron; None: whose experts are active.
        text_id: Of a text of the corpus; None for one that is typed.
        text: The text.
        language: Its language; None for a typed one.
    """

    checkpoint: str
    neuron: tuple[str, int, int] | None
    text_id: int | None
    text: str
    language: str | None

    @classmethod
    def of(cls, store: Atlas, params: Mapping[str, Any]) -> Asked:
        """What parameters of a link say.

        Raises:
            QueryError: If one is missing, or names what is not there.
            CheckpointNotFound: If there is no such checkpoint.
        """
        checkpoint = str(params.get("checkpoint") or next(reversed(store.checkpoints), ""))
        chosen_checkpoints(store, [checkpoint])
        typed, text_id = str(params.get("text") or ""), params.get("text_id")
        given = [name for name in ("site", "layer", "neuron") if params.get(name) not in (None, "")]
        if len(given) not in (0, 3) or not (given or typed):
            raise QueryError(f"a neuron is named by site, layer and neuron; {listed(given)} is given")
        neuron = (str(params["site"]), _number(params, "layer"), _number(params, "neuron")) if given else None
        if typed:
            if len(typed) > MOST_CHARACTERS:
                raise QueryError(f"a typed text has {MOST_CHARACTERS:,} characters at most, not {len(typed):,}")
            return cls(checkpoint, neuron, None, typed, None)
        if text_id in (None, ""):
            raise QueryError("name a text by its text_id, or type one as text")
        row = store.corpus.texts.row(place_of_text(store, _number(params, "text_id")), named=True)
        return cls(checkpoint, neuron, row["text_id"], row["text"], row["language"])


@dataclass(frozen=True)
class _Found:
    """Values of the tokens of a text.

    Attributes:
        tokens: Columns position, piece, char_start, char_end, is_special, value (null where it is not known), in order.
        source: One line: where they come from.
        high: The largest value that the neuron has in other texts, where that is known.
        experts: Whose experts are active, where that was asked.
    """

    tokens: pl.DataFrame
    source: str
    high: float = 0.0
    experts: pl.DataFrame | None = None


def heat(store: Atlas, params: Mapping[str, Any], model: Model | None = None) -> dict[str, Any]:
    """A text with what a neuron has at each of its tokens.

    Values that are kept (`actlas tokens`) come first, then those of a model, where there is one, then those of the few tokens
    whose vectors the extraction kept.

    Args:
        store: The store.
        params: checkpoint (the last one if it is left out); site, layer and neuron; and text_id, or text for one that is typed.
            Texts stand for numbers. A typed text without a neuron is asked whose experts are active in it.
        model: What may run: a loaded checkpoint, a folder or hub id, or "auto" for the one that the store's record names. None:
            nothing is run. One that is loaded here is held for the next question. One in a process of its own is not waited
            for: that it is being loaded is an error of the kind ModelLoading.

    Returns:
        text; language; tokens: start and end (characters of the text, the end exclusive; equal for a token that stands for none),
        piece, value (null where it is not known), is_special, is_kept. They are in order and cover the text; those that share a
        character both have it. low and high: what colours may range over; source: one line that says where the values come
        from; experts: None, or an answer as `view.answer` gives it; error: None, or a kind and a line.

    Example:
        >>> heat(store, {"site": "mlp_pre", "layer": "0", "neuron": "4", "text_id": "77"})["error"]["kind"]  # none are kept
        'QueryError'
    """
    try:
        asked = Asked.of(store, params)
        found = _found(store, asked, model)
        return _payload(asked, found)
    except (ActlasError, ImportError) as error:
        said = {"kind": type(error).__name__, "text": " ".join(str(error).split())}
        return {"text": "", "language": None, "tokens": [], "low": 0.0, "high": 0.0, "source": "", "experts": None, "error": said}


def _number(params: Mapping[str, Any], name: str) -> int:
    try:
        number = int(params[name])
    except (TypeError, ValueError) as error:
        raise QueryError(f"{name} must be a whole number, not {params[name]!r}") from error
    if not 0 <= number < 2**31:
        raise QueryError(f"{name} must be from 0 to 2,147,483,647, not {number}")
    return number


def _found(store: Atlas, asked: Asked, model: Model | None) -> _Found:
    if asked.neuron is not None:
        _check_neuron(store, asked.checkpoint, *asked.neuron)
    found = _kept(store, asked)
    if found is None and model is not None:
        found = _run(store, asked, model)
    if found is None:
        found = _sampled(store, asked)
    if found is not None:
        return found
    if asked.text_id is None:
        raise QueryError("a typed text has to be read by a model, and none is given: actlas explore ... --model FOLDER")
    raise QueryError(
        f"token values of this neuron on text {asked.text_id} are not kept; keep those of the strongest texts: actlas tokens "
        f"{store.path} --checkpoint {asked.checkpoint}; or let a model read it: actlas explore ... --model FOLDER"
    )


def _check_neuron(store: Atlas, checkpoint: str, site: str, layer: int, neuron: int) -> None:
    if site in store.sites(checkpoint):
        check_neuron(store, checkpoint, site, layer, neuron)


def _kept(store: Atlas, asked: Asked) -> _Found | None:
    """What `actlas tokens` kept, with whichever settings."""
    if asked.neuron is None or asked.text_id is None:
        return None
    place = [pl.col(name) == value for name, value in zip(("site", "layer", "neuron"), asked.neuron, strict=True)]
    for part in kept_parts(store, "token_values"):
        if part.checkpoint != asked.checkpoint or not part.is_current(store):
            continue
        rows = part.scan().filter(*place).collect()
        own = rows.filter(pl.col("text_id") == asked.text_id)
        if own.is_empty():
            continue
        tokens, values = _places(store, asked), own["by_token"].explode()
        if tokens is not None and tokens.height == len(values):
            source = f"kept at {asked.checkpoint}; number {own['rank'].item()} among the texts of the neuron"
            return _Found(tokens.with_columns(values.alias("value")), source, max(0.0, *rows["value"].to_list()))
    return None


def _places(store: Atlas, asked: Asked) -> pl.DataFrame | None:
    """The tokens of a text of the corpus, where they are kept."""
    for part in kept_parts(store, "token_places"):
        rows = part.scan().filter(pl.col("text_id") == asked.text_id).sort("position").collect()
        if part.checkpoint == asked.checkpoint and rows.height:
            return rows.select(_TOKEN[:-1])
    return None


def _sampled(store: Atlas, asked: Asked) -> _Found | None:
    """The tokens of a text whose vectors the extraction kept."""
    if asked.neuron is None or asked.text_id is None:
        return None
    try:
        rows = sampled_token_values(store, asked.checkpoint, *asked.neuron, text_id=asked.text_id)
    except CubeNotFound:
        return None
    tokens = rows.drop_nulls(["char_start", "value"]).with_columns(is_special=pl.lit(False)).sort("position")
    if tokens.is_empty():
        return None
    number = "all" if store.recipe.tokens.choice == "all" else f"only {tokens.height}"
    return _Found(tokens.select(_TOKEN), f"kept at {asked.checkpoint} by the extraction, of {number} of its tokens")


class _Models:
    """The model that was loaded last; one question at a time runs it, for its hooks see whatever runs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._key: tuple[str, ...] = ()
        self._live: LiveModel | None = None

    def get(self, store: Atlas, checkpoint: str, model: Path | str) -> LiveModel:
        """A checkpoint, loaded; while the lock is held."""
        from actlas.intervene import load_live

        key = (str(store.path), checkpoint, str(model))
        if self._live is None or key != self._key:
            if self._live is not None:
                # memory may not hold two of them
                self._live.close()
                self._live = None
            self._live = load_live(store, checkpoint, model=None if str(model) == RECORDED else model)
            self._key = key
        return self._live


_MODELS = _Models()


def _run(store: Atlas, asked: Asked, model: Model) -> _Found:
    """What a model gives."""
    from actlas.intervene import LiveModel
    from actlas.intervene.tokens.elsewhere import ModelElsewhere
    from actlas.intervene.tokens.reader import token_reading

    if isinstance(model, ModelElsewhere):
        frames = model.read(store.path, asked.checkpoint, asked.text, neuron=asked.neuron, n=_PAIRS)
        return _read(store, asked, frames)
    with _MODELS.lock:
        live = model if isinstance(model, LiveModel) else _MODELS.get(store, asked.checkpoint, model)
        if live.checkpoint != asked.checkpoint:
            raise QueryError(f"{live.checkpoint} is loaded, and {asked.checkpoint} is asked for; load that one")
        return _read(store, asked, token_reading(live, asked.text, str(store.path), asked.neuron, _PAIRS))


def _read(store: Atlas, asked: Asked, frames: Mapping[str, pl.DataFrame]) -> _Found:
    """What was read: of a neuron; or of every token the largest share of a concept's experts in a language that are active."""
    tokens = frames["tokens"]
    if asked.neuron is not None:
        return _Found(tokens.select(_TOKEN), f"read by {asked.checkpoint} just now", _highest(store, asked))
    experts = frames["experts"]
    best = experts.filter(rank=1).select("position", value=(pl.col("n_active") / pl.col("n_experts")).cast(pl.Float32))
    joined = tokens.join(best, on="position", how="left", maintain_order="left").with_columns(pl.col("value").fill_null(0.0))
    source = f"the largest share of a concept's experts in a language that are active, read by {asked.checkpoint} just now"
    return _Found(joined.select(_TOKEN), source, experts=experts)


def _highest(store: Atlas, asked: Asked) -> float:
    """The largest value of the neuron in the texts of the store; 0 where it has no cube."""
    site, layer, neuron = asked.neuron or ("", 0, 0)
    if site not in store.sites(asked.checkpoint):
        return 0.0
    return max(0.0, float(store.cube(asked.checkpoint, site).read(layer=layer, neurons=neuron).max()))


def _experts(frame: pl.DataFrame | None) -> dict[str, Any] | None:
    """Whose experts are active, as a table of a page."""
    if frame is None:
        return None
    found = as_answer(frame)
    columns = [{**column, "about": _MEANT.get(column["name"], column["about"])} for column in found["columns"]]
    return {**found, "columns": columns}


def _payload(asked: Asked, found: _Found) -> dict[str, Any]:
    if found.tokens["char_start"].null_count():
        raise QueryError(f"the tokenizer of {asked.checkpoint} does not say where its tokens stand in this text")
    values = found.tokens.filter(~pl.col("is_special"))["value"].drop_nulls()
    return {
        "text": asked.text,
        "language": asked.language,
        "tokens": _covering(asked.text, found.tokens.rows()),
        "low": plain(min(0.0, *values.to_list()) if len(values) else 0.0),
        "high": plain(max(found.high, *values.to_list()) if len(values) else found.high),
        "source": found.source,
        "experts": _experts(found.experts),
        "error": None,
    }


def _covering(text: str, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Tokens as a page takes them; what lies between them, of which nothing is known, is put there without a value."""
    tokens: list[dict[str, Any]] = []
    reached = 0

    def add(start: int, end: int, piece: str, value: float | None, *, is_special: bool, is_kept: bool) -> None:
        token = {"start": start, "end": end, "piece": piece, "value": plain(value)}
        tokens.append({**token, "is_special": is_special, "is_kept": is_kept})

    for _, piece, start, end, is_special, value in rows:
        if start > reached:
            add(reached, start, text[reached:start], None, is_special=False, is_kept=False)
        add(start, end, piece, value, is_special=is_special, is_kept=value is not None)
        reached = max(reached, end)
    if reached < len(text):
        add(reached, len(text), text[reached:], None, is_special=False, is_kept=False)
    return tokens
