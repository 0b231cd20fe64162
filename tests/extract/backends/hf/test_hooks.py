"""Hooks of the transformers backend on a small model of our own; real families: tests/extract/sites/test_families.py."""

import numpy as np
import pytest
import torch

from actlas.errors import CapturePointNotFound, ExtractionError, ModelNotSupported
from actlas.extract.backends.base import Capture
from actlas.extract.backends.hf.hooks import Hooks, describe_places
from actlas.extract.sites.resolve import site_map

LISTS = [[1, 2, 3], [4, 5], [6]]
SITES = {"gate": "blocks.{layer}.gate:output", "mlp_hidden": "blocks.{layer}.down:input", "embed": "words:output"}


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate, self.down = torch.nn.Linear(4, width), torch.nn.Linear(width, 4)
        self.skips = False

    def forward(self, value):
        return value if self.skips else value + self.down(torch.relu(self.gate(value)))


class Model(torch.nn.Module):
    def __init__(self, widths=(6, 6)):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(10, 4)
        self.blocks = torch.nn.ModuleList(Block(width) for width in widths)

    def forward(self, token_ids):
        value = self.words(token_ids)
        for block in self.blocks:
            value = block(value)
        return value


def hooks_of(model, sites=("gate", "mlp_hidden", "embed"), **where):
    capture = Capture(sites=tuple(sites), dtype="float32", site_modules={**SITES, **where})
    places = site_map("Model", 2, capture.all_sites, capture.site_modules)
    return Hooks(model, places, capture, torch.device("cpu"))


def measured(model, **options):
    hooks = hooks_of(model, **options)
    hooks.measure(lambda: model(torch.zeros((2, 3), dtype=torch.int64)), (2, 3))
    return hooks


def run(model, hooks, block):
    stage = hooks.begin_block(block, "float32")
    for batch in block.batches(4, pad_id=0):
        hooks.run_batch(batch, stage, lambda batch=batch: model(torch.from_numpy(batch.token_ids)))
    return stage.collect()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def test_values_are_those_of_the_model_text_by_text(blocks):
    model = Model()
    hooks = measured(model)
    assert hooks.shapes == {"embed": (1, 4), "gate": (2, 6), "mlp_hidden": (2, 6)}
    values = run(model, hooks, blocks(LISTS))
    hooks.remove()
    for row, ids in enumerate(LISTS):
        embedded = model.words(torch.tensor(ids))
        gate = model.blocks[0].gate(embedded)
        np.testing.assert_allclose(values.cubes["embed"][0, :, row], embedded.amax(0), rtol=1e-6)
        np.testing.assert_allclose(values.cubes["gate"][0, :, row], gate.amax(0), rtol=1e-5)
        np.testing.assert_allclose(values.cubes["mlp_hidden"][0, :, row], torch.relu(gate).amax(0), rtol=1e-5)


def test_a_pass_between_batches_changes_nothing(blocks):
    model = Model()
    hooks = measured(model)
    expected = run(model, hooks, blocks(LISTS)).cubes["gate"]
    stage = hooks.begin_block(blocks(LISTS), "float32")
    hooks.measure(lambda: model(torch.ones((2, 3), dtype=torch.int64)), (2, 3))
    del stage
    assert np.array_equal(run(model, hooks, blocks(LISTS)).cubes["gate"], expected)


def test_a_module_that_is_passed_by_is_told_and_its_batch_is_over(blocks):
    model = Model()
    hooks = measured(model)
    model.blocks[1].skips = True
    with pytest.raises(ExtractionError, match=r"the output of blocks.1.gate was reached 0 times in one forward pass"):
        run(model, hooks, blocks(LISTS))
    assert hooks._target is None


def test_layers_of_different_width_are_no_site():
    with pytest.raises(ModelNotSupported, match=r"site gate is not equally wide in every layer: \[6, 8\]"):
        measured(Model((6, 8)))


def test_a_module_without_a_vector_per_token_is_no_site():
    model = Model()
    model.words.register_forward_hook(lambda *_: torch.zeros(2, 4))
    with pytest.raises(CapturePointNotFound, match="a site needs one vector per token"):
        measured(model)


def test_hooks_go_when_they_are_removed(blocks):
    model = Model()
    hooks = measured(model)
    hooks.remove()
    with pytest.raises(ExtractionError, match="was reached 0 times"):
        run(model, hooks, blocks(LISTS))


def test_the_record_names_the_modules_of_the_first_layer():
    places = site_map("GPT2LMHeadModel", 2, ["mlp_hidden", "resid"])
    assert describe_places(places) == {"mlp_hidden": ["transformer.h.0.mlp.c_proj:input"], "resid": ["transformer.h.0:output"]}
