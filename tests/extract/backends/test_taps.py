"""The hooks that every backend reads through: which tensor they take, and that each is reached once."""

import pytest
import torch

from actlas.errors import CapturePointNotFound, ExtractionError, ModelNotSupported
from actlas.extract.backends.taps import Taps, module_at, tensor_of

KEY = ("blocks.0", "output")


class Doubling(torch.nn.Module):
    """Gives a tuple, and calls its part as often as it is told to."""

    def __init__(self, n_calls=1):
        super().__init__()
        self.part, self.n_calls = torch.nn.Identity(), n_calls

    def forward(self, value):
        for _ in range(self.n_calls):
            self.part(input=value)
        return 2 * value, None


def taps_of(model, *keys):
    values = {}
    return Taps(model, keys, values.__setitem__), values


def test_both_sides_of_a_module_are_read_as_they_stand():
    model = Doubling()
    taps, values = taps_of(model, ("", "input"), ("", "output"), ("part", "input"))
    taps.begin_pass()
    model(torch.ones(2))
    taps.check_pass()
    assert values["", "input"].tolist() == [1, 1]
    assert values["", "output"][0].tolist() == [2, 2]
    # given by name
    assert values["part", "input"].tolist() == [1, 1]


@pytest.mark.parametrize("n_calls", [0, 2])
def test_a_module_that_does_not_run_once_in_a_pass_is_told(n_calls):
    model = Doubling(n_calls)
    taps, _ = taps_of(model, ("part", "output"))
    taps.begin_pass()
    model(torch.ones(2))
    with pytest.raises(ExtractionError, match=f"the output of part was reached {n_calls} times in one pass of it, not once"):
        taps.check_pass("one pass of it")


def test_every_pass_is_counted_from_zero():
    model = Doubling()
    taps, _ = taps_of(model, ("part", "output"))
    for _ in range(2):
        taps.begin_pass()
        model(torch.ones(2))
        taps.check_pass()


def test_hooks_that_were_removed_read_nothing():
    model = Doubling()
    taps, values = taps_of(model, ("", "output"))
    taps.remove()
    model(torch.ones(2))
    assert values == {}


def test_a_module_that_is_not_there_is_named_before_any_hook_is_attached():
    model = Doubling()
    with pytest.raises(CapturePointNotFound, match="Doubling has no module 'nothing'; print the model to see its names"):
        taps_of(model, ("part", "output"), ("nothing", "output"))
    assert not model.part._forward_hooks
    assert module_at(model, "", "") is model


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("only", torch.ones(1), 1),
        ("only", (torch.ones(1),), 1),
        ("first", (torch.ones(1), torch.zeros(1)), 1),
        ("no_bias", (torch.ones(1), None), 1),
        ("no_bias", torch.ones(1), 1),
        ("sum", (torch.ones(1), 2 * torch.ones(1)), 3),
    ],
)
def test_a_rule_says_which_tensor_of_a_tuple_is_meant(rule, value, expected):
    assert tensor_of(value, KEY, rule).tolist() == [expected]


def test_the_first_of_a_tensor_is_a_text_and_not_meant():
    assert tensor_of(torch.ones(3, 2), KEY, "first").shape == (3, 2)


@pytest.mark.parametrize(
    ("rule", "value", "error", "reason"),
    [
        ("only", (torch.ones(1), torch.ones(1)), CapturePointNotFound, "the output of blocks.0 is a tuple, not a tensor"),
        ("only", None, CapturePointNotFound, "is a NoneType, not a tensor; name a module that gives one"),
        ("no_bias", (torch.ones(1), torch.ones(1)), ModelNotSupported, "keeps its bias apart"),
        ("sum", torch.ones(2), ModelNotSupported, r"is no \(hidden, residual\)"),
        ("sum", (torch.ones(2),), ModelNotSupported, r"is no \(hidden, residual\)"),
    ],
)
def test_what_a_rule_does_not_fit_is_refused(rule, value, error, reason):
    with pytest.raises(error, match=reason):
        tensor_of(value, KEY, rule)
