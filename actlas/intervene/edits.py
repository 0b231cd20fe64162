"""Hooks that change what modules take or give, and that are gone when their context ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch

from actlas.errors import InterventionError
from actlas.extract.backends.taps import TapKey, module_at, tensor_of
from actlas.intervene.live import LiveModel


class Pass:
    """The forward pass that is running, as its model was called.

    Attributes:
        shape: Rows and columns of what runs: the whole prompt, or what is new since the pass before.
        n_before: Columns that earlier passes left in the cache.
    """

    shape: tuple[int, int] = (0, 0)
    n_before: int = 0
    _mask: Any = None

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take note of how a base model is called."""
        given = args[0] if args else kwargs.get("input_ids")
        if given is None:
            given = kwargs.get("inputs_embeds")
        if given is None:
            raise InterventionError("the model was called with neither input_ids nor inputs_embeds, so that no rows are known")
        self.shape = int(given.shape[0]), int(given.shape[1])
        # which name it has depends on the version of transformers
        cache = next((kwargs[name] for name in ("cache", "past_key_values") if kwargs.get(name) is not None), None)
        self.n_before = 0 if cache is None else int(cache.get_seq_length())
        self._mask = kwargs.get("attention_mask")

    @property
    def mask(self) -> torch.Tensor | None:
        """bool ``"rows columns"``, also of columns before the pass: where there is a token; None where all are tokens.

        Raises:
            InterventionError: If the model was given a mask that does not say so.
        """
        if self._mask is None:
            return None
        if not isinstance(self._mask, torch.Tensor) or self._mask.ndim != 2:
            raise InterventionError(
                "where texts begin and end is not known: the attention mask is not one of rows by tokens (static caches make "
                "others)"
            )
        return self._mask.bool()


class Edit(Protocol):
    """Changes what one side of a module holds."""

    def __call__(self, values: torch.Tensor, running: Pass) -> torch.Tensor:
        """What is there instead.

        Args:
            values: ``"rows columns neurons"``; never to be changed in place.
            running: The pass.
        """
        ...


class ColumnEdit:
    """Sets, adds to or multiplies some columns, in every row by its own frame.

    Of one token per row, as most passes of a generation are, only what is changed is computed and put in place. Of several
    tokens, all columns are computed and those that are meant are chosen. Both give the same bits.

    Args:
        is_there: bool ``"frames columns"``, what is changed.
        numbers: ``"frames columns"``, by what.
        how: "set", "add" or "scale".
        strength: How much of it.
        rows: Of every row of a batch, its frame; None where the only one is for all.
        device: Where the model is.
        is_last: Whether only the last column of a pass is changed.
    """

    def __init__(
        self,
        is_there: np.ndarray,
        numbers: np.ndarray,
        how: str,
        strength: float,
        rows: Sequence[int] | None,
        device: torch.device,
        *,
        is_last: bool,
    ) -> None:
        self._how = "blend" if how == "set" and strength != 1 else how
        if how == "add":
            numbers = strength * numbers
        elif how == "scale":
            numbers = 1 + strength * (numbers - 1)
        self._strength, self._is_last = strength, is_last
        self._is_there = torch.from_numpy(is_there).to(device)
        self._numbers = torch.from_numpy(numbers).to(device)
        self._rows = None if rows is None else torch.tensor(rows, device=device)
        #: Of the last dtype, number of rows and kind of pass that ran: where something is changed, and by what.
        self._ready: tuple[tuple[torch.dtype, int, bool], torch.Tensor, torch.Tensor] | None = None

    def __call__(self, values: torch.Tensor, running: Pass) -> torch.Tensor:
        """See `Edit`."""
        if not self._is_last or values.shape[1] == 1:
            return self._changed(values)
        mask = running.mask
        if mask is not None and not bool(mask[:, -1].all()):
            raise InterventionError("the last position is steered, and some rows of the batch end in padding; pad on the left")
        return torch.cat([values[:, :-1], self._changed(values[:, -1:])], dim=1)

    def _changed(self, values: torch.Tensor) -> torch.Tensor:
        is_one = values.shape[1] == 1
        where, numbers = self._tables(values.dtype, len(values), is_one)
        if not is_one:
            return torch.where(where, self._numbers_instead(values, numbers), values)
        cells = values.reshape(-1)
        if self._how != "set":
            numbers = self._numbers_instead(cells[where], numbers)
        return cells.scatter(0, where, numbers).view(values.shape)

    def _numbers_instead(self, values: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        if self._how == "add":
            return values + numbers
        if self._how == "scale":
            return values * numbers
        if self._how == "blend":
            return values + self._strength * (numbers - values)
        return numbers

    def _tables(self, dtype: torch.dtype, n_rows: int, is_one: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Where and by what, row by row where rows differ: made in the first pass, and found in those that follow.

        Where is a mask; of one token per row, the places of its cells one after the other.
        """
        key = dtype, n_rows, is_one
        if self._ready is None or self._ready[0] != key:
            where, numbers = self._is_there, self._numbers.to(dtype)
            if not bool(numbers.isfinite().all()):
                largest = float(self._numbers.abs().max())
                raise InterventionError(f"{largest:g} is more than {dtype} holds, in which the model computes here")
            if self._rows is not None:
                index = self._rows.repeat_interleave(n_beams(n_rows, len(self._rows)))
                where, numbers = where[index].unsqueeze(1), numbers[index].unsqueeze(1)
            if is_one:
                shape = n_rows, where.shape[-1]
                where = where.view(-1, shape[1]).expand(shape).reshape(-1).nonzero().squeeze(1)
                numbers = numbers.view(-1, shape[1]).expand(shape).reshape(-1)[where]
            self._ready = key, where, numbers
        return self._ready[1:]


class PositionEdit:
    """Replaces some columns at one token of every text, in the pass that this token is in.

    Args:
        latents: ``"rows columns"``, what is put there.
        positions: Of every row, which token of its text.
        start: First of the columns.
        device: Where the model is.
    """

    def __init__(self, latents: np.ndarray, positions: Sequence[int], start: int, device: torch.device) -> None:
        self._latents = torch.from_numpy(np.ascontiguousarray(latents)).to(device)
        self._positions = torch.tensor(positions, device=device)
        self._columns = slice(start, start + latents.shape[1])

    def __call__(self, values: torch.Tensor, running: Pass) -> torch.Tensor:
        """See `Edit`."""
        n_rows, n_columns = values.shape[:2]
        n_each = n_beams(n_rows, len(self._positions))
        places = self._positions.repeat_interleave(n_each)
        ends = torch.full_like(places, running.n_before + n_columns)
        if (mask := running.mask) is not None:
            # a text begins at its first token, behind the padding on its left
            places = places + mask.int().argmax(1)
            ends = mask.shape[1] - mask.flip(1).int().argmax(1)
        is_beyond = places >= ends
        if running.n_before == 0 and bool(is_beyond.any()):
            row = int(is_beyond.nonzero()[0])
            raise InterventionError(
                f"row {row} of the batch has no token {int(self._positions[row // n_each])}; tokens of a text are counted from "
                "0, and padding on the left is not counted"
            )
        places = places - running.n_before
        # with a cache, later passes hold none of these tokens
        rows = ((places >= 0) & (places < n_columns)).nonzero().squeeze(1)
        if not len(rows):
            return values
        patched = values.clone()
        latents = self._latents.to(values.dtype).repeat_interleave(n_each, dim=0)
        patched[rows, places[rows], self._columns] = latents[rows]
        return patched


def n_beams(n_rows: int, n_given: int) -> int:
    """How many rows of a pass belong to each row that something was given for: more than one with beams or several answers.

    Raises:
        InterventionError: If they cannot be divided.

    Example:
        >>> n_beams(6, 3)
        2
    """
    if n_rows % n_given:
        raise InterventionError(
            f"a pass has {n_rows} rows, and {n_given} were given a frame or latents; give as many as the batch has rows"
        )
    return n_rows // n_given


class Edited:
    """A context in which some modules of a model take or give something else; it can be entered more than once, one by one.

    Args:
        live: The model.
        edits: Module and side -> what is done there.
    """

    def __init__(self, live: LiveModel, edits: Mapping[TapKey, Edit]) -> None:
        self._live, self._edits = live, edits
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        if self._live.model is None:
            raise InterventionError(f"{self._live.checkpoint} was closed; load it again")
        if self._handles:
            raise InterventionError("this context is entered already; make another one to nest the same intervention")
        if not self._edits:
            return
        model, running = self._live.model, Pass()
        try:
            # some models call no base model, but what is inside it; and a base model can be called alone
            for called in {model: None, model.base_model: None}:
                self._handles.append(
                    called.register_forward_pre_hook(lambda _, args, kwargs: running.begin(args, kwargs), with_kwargs=True)
                )
            for key, edit in self._edits.items():
                module = module_at(model, key[0], "load it again")
                self._handles.append(_attach(module, key, edit, running, takes_first=self._live.takes_first(key[0])))
        except BaseException:
            self._remove()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()


def _attach(module: torch.nn.Module, key: TapKey, edit: Edit, running: Pass, *, takes_first: bool) -> Any:
    change = _by_row(edit, key, running)
    if key[1] == "input":

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            name = next(iter(kwargs))
            return args, {**kwargs, name: change(kwargs[name])}

        return module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_: Any, __: Any, output: Any) -> Any:
        values = tensor_of(output, key, "first" if takes_first else "only")
        return (change(values), *output[1:]) if isinstance(output, tuple) else change(values)

    return module.register_forward_hook(after)


def _by_row(edit: Edit, key: TapKey, running: Pass) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(values: torch.Tensor) -> torch.Tensor:
        rows, columns = running.shape
        if values.ndim == 3 and values.shape[:2] == running.shape:
            return edit(values, running)
        # some modules take the tokens of all texts one after the other
        if values.ndim == 2 and len(values) == rows * columns:
            return edit(values.view(rows, columns, -1), running).view_as(values)
        raise InterventionError(
            f"the {key[1]} of {key[0]} has shape {tuple(values.shape)} in a pass over {rows} rows of {columns} tokens; a site "
            "needs one vector per token"
        )

    return change
