"""What a hook changes: the shapes that modules use, and calls that no row can be told of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actlas.errors import InterventionError
from actlas.intervene.edits import ColumnEdit, Pass, n_beams


def running(rows, columns):
    seen = Pass()
    seen.begin((torch.zeros(rows, columns),), {})
    return seen


def test_negative_zeros_of_what_is_left_alone_stay():
    there, numbers = np.array([[True, False]]), np.array([[3.0, 0.0]])
    values = torch.tensor([[[-0.0, -0.0]]])
    for how in ("set", "add", "scale"):
        edit = ColumnEdit(there, numbers, how, 1.0, None, torch.device("cpu"), is_last=False)
        assert torch.signbit(edit(values, running(1, 1)))[0, 0, 1]


def test_a_pass_knows_how_it_was_called():
    seen = Pass()
    with pytest.raises(InterventionError, match="neither input_ids nor inputs_embeds"):
        seen.begin((), {})
    seen.begin((), {"inputs_embeds": torch.zeros(2, 5, 8), "attention_mask": torch.ones(2, 5)})
    assert (seen.shape, seen.n_before, seen.mask.dtype) == ((2, 5), 0, torch.bool)
    seen.begin((torch.zeros(2, 5),), {})
    assert seen.mask is None
    # where texts begin is never guessed
    seen.begin((torch.zeros(2, 5),), {"attention_mask": torch.zeros(2, 1, 5, 5)})
    with pytest.raises(InterventionError, match="where texts begin and end is not known"):
        _ = seen.mask


def test_rows_that_do_not_divide():
    assert n_beams(4, 4) == 1
    with pytest.raises(InterventionError, match="a pass has 5 rows, and 2 were given"):
        n_beams(5, 2)


def test_a_value_that_the_model_s_dtype_cannot_hold():
    edit = ColumnEdit(np.array([[True]]), np.array([[1e6]]), "set", 1.0, None, torch.device("cpu"), is_last=False)
    with pytest.raises(InterventionError, match="1e.06 is more than torch.float16 holds"):
        edit(torch.zeros(1, 1, 1, dtype=torch.float16), running(1, 1))
