"""Hooks on the modules of a model: attached by path, read on one side, counted in every pass. All backends read through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch

from actlas.errors import CapturePointNotFound, ExtractionError, ModelNotSupported

#: Path of a module, and which side of it is read: "input" or "output".
TapKey = tuple[str, str]
#: Which tensor is meant where a module takes or gives a tuple: its "only" entry; the "first" of several; the one that stands
#: beside no bias, as in (output, None); or the "sum" of (hidden, residual).
TupleRule = Literal["only", "first", "no_bias", "sum"]


class Taps:
    """Hooks on one side of some modules.

    Args:
        model: The model that they lie in.
        keys: Path and side of each.
        read: Gets the key and the value on that side, a tensor or a tuple, every time a module runs.
        advice: What to do about a module that is not there, as the end of a sentence.

    Raises:
        CapturePointNotFound: If the model has no such module.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        keys: Iterable[TapKey],
        read: Callable[[TapKey, Any], None],
        *,
        advice: str = "print the model to see its names",
    ) -> None:
        self._read = read
        self._n_reached: dict[TapKey, int] = dict.fromkeys(keys, 0)
        modules = {key: module_at(model, key[0], advice) for key in self._n_reached}
        self._handles = [self._attach(module, key) for key, module in modules.items()]

    def _attach(self, module: torch.nn.Module, key: TapKey) -> Any:
        def reach(value: Any) -> None:
            self._n_reached[key] += 1
            self._read(key, value)

        if key[1] == "input":

            def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                reach(args[0] if args else next(iter(kwargs.values()), None))

            return module.register_forward_pre_hook(before, with_kwargs=True)

        def after(_: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
            reach(output)

        return module.register_forward_hook(after)

    def begin_pass(self) -> None:
        """Count from zero: a forward pass follows."""
        self._n_reached = dict.fromkeys(self._n_reached, 0)

    @property
    def n_reached(self) -> dict[TapKey, int]:
        """How often each module ran in this pass."""
        return dict(self._n_reached)

    def check_pass(self, what: str = "one forward pass") -> None:
        """Refuse a pass in which a module did not run exactly once.

        Args:
            what: What the pass is called in the message.

        Raises:
            ExtractionError: Naming the first such module.
        """
        for (path, side), n_times in self._n_reached.items():
            if n_times != 1:
                raise ExtractionError(
                    f"the {side} of {path} was reached {n_times} times in {what}, not once; its values would not be those of "
                    "the texts"
                )

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()


def module_at(model: torch.nn.Module, path: str, advice: str) -> torch.nn.Module:
    """The module at a path.

    Args:
        model: Where the path starts.
        path: As in `torch.nn.Module.get_submodule`; empty for the model itself.
        advice: What to do where there is none, as the end of a sentence.

    Raises:
        CapturePointNotFound: If the model has no such module.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise CapturePointNotFound(f"{type(model).__name__} has no module {path!r}; {advice}") from error


def has_module(model: torch.nn.Module, path: str) -> bool:
    """Whether there is a module at a path.

    Example:
        >>> has_module(torch.nn.Sequential(torch.nn.Linear(1, 1)), "0"), has_module(torch.nn.Identity(), "0")
        (True, False)
    """
    try:
        # an attribute that is None is no module
        return bool(path) and isinstance(model.get_submodule(path), torch.nn.Module)
    except AttributeError:
        return False


def tensor_of(value: Any, key: TapKey, rule: TupleRule = "only") -> torch.Tensor:
    """The tensor that is meant by what a module takes or gives.

    Args:
        value: A tensor, or a tuple that holds it.
        key: Where it stands, for the message.
        rule: Which entry of a tuple is meant.

    Raises:
        CapturePointNotFound: If there is no tensor.
        ModelNotSupported: If a tuple is not of the form that the rule is about.

    Example:
        >>> tensor_of((torch.ones(2), torch.ones(2)), ("model.layers.0", "output"), "sum").tolist()
        [2.0, 2.0]
    """
    path, side = key
    is_tuple = isinstance(value, tuple)
    if rule == "sum":
        if not is_tuple or len(value) != 2:
            raise ModelNotSupported(f"the {side} of {path} is no (hidden, residual), whose sum is the residual stream")
        # at once, because the next block may overwrite both
        return torch.add(value[0], value[1])
    if rule == "no_bias" and is_tuple and (len(value) != 2 or value[1] is not None):
        raise ModelNotSupported(f"the {side} of {path} keeps its bias apart, so the values of its neurons are incomplete")
    # never the first entry of a tensor: that is the first text of the batch
    if is_tuple and (rule != "only" or len(value) == 1):
        value = value[0]
    if not isinstance(value, torch.Tensor):
        raise CapturePointNotFound(
            f"the {side} of {path} is a {type(value).__name__}, not a tensor; name a module that gives one"
        )
    return value
