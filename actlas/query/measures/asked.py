"""What all measures share: where they are asked for, and how their answers are kept and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.blocks import StepProgress, refuse_imported
from actlas.query.choices import chosen_checkpoints
from actlas.query.keep import Keeper
from actlas.query.schema import TABLES
from actlas.store.store import Store

#: Takes a measure at some checkpoints; None where they do not have what is measured.
Take = Callable[[Atlas, list[str], StepProgress | None], pl.DataFrame | None]


def no_pooled_values(store: Store) -> QueryError:
    """The error for a store without cubes."""
    return QueryError(f"{store.path} has no pooled values at the checkpoints that were chosen; extract cubes, not states alone")


@dataclass(frozen=True)
class Asked:
    """The arguments that all measures share.

    Attributes:
        store: A store, or its path.
        checkpoints: None for all.
        sites: None for all that have what is measured.
        progress: Called while a measure is taken.
        keep: Whether the answer is kept as the table of the measure. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.
    """

    store: Atlas | str | Path
    checkpoints: Sequence[str] | None
    sites: Sequence[str] | None
    progress: StepProgress | None
    keep: bool | None
    replace: bool

    @cached_property
    def atlas(self) -> Atlas:
        """The store, open so that the answer can be kept where that is asked for by name.

        Raises:
            QueryError: If it has scores alone, that were imported.
        """
        atlas = as_atlas(self.store, "a" if self.keep else "r")
        refuse_imported(atlas)
        return atlas

    def answer(
        self,
        name: str,
        options: Mapping[str, Any],
        take: Take,
        *,
        compares: Sequence[str] | None = None,
        nothing: Callable[[Store], QueryError] = no_pooled_values,
    ) -> pl.DataFrame:
        """The rows of a measure: those that are kept with these options, and those that are taken now, checkpoint by checkpoint.

        Args:
            name: Of the table of the measure.
            options: Its other arguments, by the names that the registry has: they decide the rows.
            take: Takes it.
            compares: The checkpoints that are compared with each other, in their order, where a row is about two of them: then
                all are taken together. A row is kept with its first checkpoint.
            nothing: The error for checkpoints of which none has what is measured.
        """
        store = self.atlas
        names = chosen_checkpoints(store, self.checkpoints) if compares is None else list(compares)
        settings = {name: _as_json(value) for name, value in {"sites": self.sites, **options}.items()}
        settings["compared"] = None if compares is None else names
        limits = [pl.col("rank") <= options[limit] for limit in TABLES[name].limits]
        with Keeper(store, self.keep, self.replace) as keeper:
            parts = {one: keeper.find(name, one, settings) for one in names}
            missing = [one for one, part in parts.items() if part is None]
            if missing and compares is not None:
                parts, missing = dict.fromkeys(names), names
            answers = {one: part.scan().filter(*limits).collect() for one, part in parts.items() if part is not None}
            together = [missing] if compares is not None else [[one] for one in missing]
            for place, some in enumerate(filter(None, together)):
                frame = take(store, some, _part_of(self.progress, place, len(together)))
                if frame is None:
                    continue
                frame = TABLES[name].conform(frame)
                for one in some:
                    answers[one] = frame.filter(pl.col("checkpoint") == one)
                    keeper.put(one, {name: answers[one]}, settings)
        if names and not answers:
            raise nothing(store)
        return pl.concat([TABLES[name].empty(), *(answers[one] for one in names if one in answers)])


def _as_json(value: Any) -> Any:
    """A setting as JSON has it."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _part_of(progress: StepProgress | None, place: int, n_parts: int) -> StepProgress | None:
    """Progress over all parts, told from that over one of them; parts count alike."""
    if progress is None:
        return None
    return lambda done, total, what: progress(place * total + done, n_parts * total, what)
