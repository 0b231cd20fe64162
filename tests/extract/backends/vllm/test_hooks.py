"""Hooks over flat batches, with a played model in place of vLLM's."""

import itertools

import numpy as np
import pytest
import torch

from actlas.errors import CapturePointNotFound, ExtractionError, NotFiniteValues
from actlas.extract.backends.base import Capture
from actlas.extract.backends.vllm.hooks import FlatReader, force_tanh_gelu
from actlas.extract.backends.vllm.rank_slices import engine_points
from actlas.extract.backends.vllm.shared_block import SharedBlock
from tests.extract.backends.vllm import played
from tests.extract.backends.vllm.played import HIDDEN, LAYERS, SITES, VOCABULARY, WIDTHS, PlayedLlama, activation

LISTS = [[5, 6, 7], [5, 6], [8, 9, 4, 2, 3], [5, 6, 7, 8], [1, 2], [3, 3, 3, 3]]
LANGUAGE = [0, 0, 1, 1, 1, 2]
CAPTURE = Capture(
    sites=SITES, token_sites=("embed", "resid"), count_sites=("mlp_hidden",), dtype="float32", n_languages=3, max_tokens=8
)


def reader_of(model, capture=CAPTURE):
    points = engine_points("LlamaForCausalLM", LAYERS, capture.all_sites)
    return FlatReader(model, points, capture, hidden_size=HIDDEN, rank=model.rank, n_ranks=model.n_ranks)


def flat(lists):
    ids, positions = [list(itertools.chain(*part)) for part in (lists, map(range, map(len, lists)))]
    return torch.tensor(ids), torch.tensor(positions)


def run(model, reader, block, passes, dtype="float32"):
    reader.begin(block, dtype)
    for rows in passes:
        model(*(flat([LISTS[row] for row in rows])))
    return reader.finish().stage


def expected(site, layer, pooling):
    texts = [activation(site, layer, *flat([ids])) for ids in LISTS]
    pooled = {"max": lambda t: t.amax(0), "mean": lambda t: t.mean(0), "last": lambda t: t[-1]}[pooling]
    return torch.stack([pooled(text) for text in texts], dim=1).numpy()


@pytest.fixture
def block(blocks):
    return blocks(LISTS, language=LANGUAGE, sampled=[(0, 1), (2, 4), (5, 0)])


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_ranks_write_what_the_whole_model_has(pooling, n_ranks, block):
    capture = Capture(**{**vars(CAPTURE), "pooling": pooling})
    answers = []
    for rank in range(n_ranks):
        model = PlayedLlama(rank, n_ranks)
        reader = reader_of(model, capture)
        if rank == 0:
            shared = SharedBlock.create(capture, reader.shapes, block)
        assert reader.shapes == {site: (1 if site == "embed" else LAYERS, WIDTHS[site]) for site in SITES}
        values = run(model, reader, block, [[2, 0, 1, 4], [5, 3]]).collect()
        shared.fill(values, reader.neurons)
        answers.append(values)
    values = shared.values(capture, answers[0].n_tokens, answers[0].loss_sum, answers[0].loss_tokens)
    shared.close()
    for site in SITES:
        for layer in range(1 if site == "embed" else LAYERS):
            np.testing.assert_allclose(
                values.cubes[site][layer], expected(site, layer, pooling), rtol=1e-6, atol=1e-6, err_msg=site
            )
    for layer in range(LAYERS):
        for place, (row, at) in enumerate([(0, 1), (2, 4), (5, 0)]):
            vector = activation("resid", layer, *flat([LISTS[row]]))[at]
            np.testing.assert_allclose(values.tokens["resid"][layer, place], vector, rtol=1e-6, atol=1e-6)
        for language in range(3):
            texts = [ids for ids, own in zip(LISTS, LANGUAGE, strict=True) if own == language]
            active = (activation("mlp_hidden", layer, *flat(texts)) > 0).sum(0)
            assert values.counts["mlp_hidden"][language, layer].tolist() == active.tolist()
    assert values.n_tokens.tolist() == [5, 11, 4]
    pairs = [(a, b) for ids in LISTS for a, b in itertools.pairwise(ids)]
    logits = 2.0 * torch.nn.functional.one_hot(torch.tensor([a for a, _ in pairs]), VOCABULARY).float()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([b for _, b in pairs]), reduction="sum")
    assert values.loss_sum == pytest.approx(float(loss), rel=1e-6)
    assert values.loss_tokens == len(pairs)
    # only the rank that gathers logits has a loss
    assert [answer.loss_sum > 0 for answer in answers] == [rank == 0 for rank in range(n_ranks)]


def test_tokens_that_the_tokenizer_added_can_be_left_out(blocks):
    # the first of every text, and one in the middle of the third: then the pooled tokens are no single range
    is_special = np.array([position == 0 for ids in LISTS for position in range(len(ids))])
    is_special[sum(map(len, LISTS[:2])) + 2] = True
    model = PlayedLlama()
    values = run(model, reader_of(model), blocks(LISTS, language=LANGUAGE, is_special=is_special), [range(6)]).collect()
    kept = np.split(~is_special, np.cumsum([len(ids) for ids in LISTS])[:-1])
    for row, ids in enumerate(LISTS):
        tokens = activation("mlp_pre", 1, *flat([ids]))[torch.from_numpy(kept[row])]
        np.testing.assert_allclose(values.cubes["mlp_pre"][1, :, row], tokens.amax(0), rtol=1e-6)
    assert values.n_tokens.sum() == (~is_special).sum()


def test_other_sites_than_the_captures_can_be_pooled(block):
    capture = Capture(sites=(), count_sites=("mlp_hidden",), n_languages=3, max_tokens=8)
    model = PlayedLlama()
    reader = reader_of(model, capture)
    assert run(model, reader, block, [range(6)]).collect().cubes == {}
    reader.begin(block, "float32", ["mlp_hidden"])
    model(*flat(LISTS))
    values = reader.finish().stage.collect()
    np.testing.assert_allclose(values.cubes["mlp_hidden"][0], expected("mlp_hidden", 0, "max"), rtol=1e-6)
    assert values.counts == {}


def test_passes_between_blocks_belong_to_no_block(block):
    model = PlayedLlama()
    reader = reader_of(model)
    model(torch.tensor([7]), torch.tensor([3]))
    reader.begin(block, "float32")
    model(*flat(LISTS))
    reading = reader.finish()
    assert reading.stage.collect().cubes["resid"].shape == (LAYERS, HIDDEN, 6)
    assert reading.n_passes == 1


@pytest.mark.parametrize(
    ("ids", "positions", "reason"),
    [([5, 6], [1, 2], "began with position 1"), ([9, 9], [0, 1], "no text that was submitted"), ([5, 6], [0, 2], "jumps")],
)
def test_a_pass_that_is_not_of_the_texts_stops_the_block_and_not_the_engine(ids, positions, reason, block):
    model = PlayedLlama()
    reader = reader_of(model)
    reader.begin(block, "float32")
    model(torch.tensor(ids), torch.tensor(positions))
    model(*flat(LISTS))
    with pytest.raises(ExtractionError, match=reason):
        reader.finish()
    # the next block is not told of it
    assert run(model, reader, block, [range(6)]).collect().n_tokens.sum() == 20


def test_hooks_that_never_fired_are_told(block):
    model = PlayedLlama()
    reader = reader_of(model)
    reader.begin(block, "float32")
    with pytest.raises(ExtractionError, match="6 of the texts .* never went through the model, the first is text 0: hooks"):
        reader.finish()


@pytest.mark.parametrize(
    ("path", "output", "reason"),
    [
        ("mlp.down_proj", None, "layers.0.mlp.down_proj was reached 0 times in one pass of vLLM"),
        ("", torch.zeros(20, HIDDEN), r"model.layers.0 is no \(hidden, residual\), whose sum"),
        ("mlp.gate_up_proj", (torch.zeros(20, 5), None), r"shape \(20, 5\) in vLLM where 20 tokens and 24 neurons"),
        ("self_attn.o_proj", (torch.zeros(20, HIDDEN), torch.zeros(HIDDEN)), "o_proj keeps its bias apart"),
    ],
)
def test_a_module_that_gives_nothing_or_something_else_is_told(path, output, reason, block):
    model = PlayedLlama(spoilt={f"model.layers.0.{path}".strip("."): output})
    reader = reader_of(model)
    reader.begin(block, "float32")
    model(*flat(LISTS))
    with pytest.raises(ExtractionError, match=reason):
        reader.finish()


def test_a_module_that_this_version_lacks_is_named():
    model = PlayedLlama()
    del model.model.layers[1].mlp.down_proj
    with pytest.raises(CapturePointNotFound, match=r"PlayedLlama has no module 'model.layers.1.mlp.down_proj'; this version"):
        reader_of(model)


def test_a_value_that_outgrows_the_dtype_is_named_by_its_number_in_the_whole_model(block, monkeypatch):
    plain = activation

    def large(site, layer, token_ids, positions):
        value = plain(site, layer, token_ids, positions)
        if site == "mlp_hidden" and layer == 1:
            value[:, 9] = 1e6
        return value

    monkeypatch.setattr(played, "activation", large)
    model = PlayedLlama(rank=1, n_ranks=2)
    stage = run(model, reader_of(model), block, [range(6)], dtype="float16")
    with pytest.raises(NotFiniteValues, match="too large for float16 .* site mlp_hidden, layer 1, neuron 9;"):
        stage.collect()


def test_the_exact_gelu_is_replaced_in_every_block():
    model = torch.nn.Module()
    model.h = torch.nn.ModuleList()
    for _ in range(3):
        block = torch.nn.Module()
        block.mlp = torch.nn.Module()
        block.mlp.gelu_impl = torch.nn.GELU()
        model.h.append(block)
    assert force_tanh_gelu(model, "h", "mlp.gelu_impl") == {"was": "GELU(approximate='none')", "is": "GELU(approximate='tanh')"}
    assert [block.mlp.gelu_impl.approximate for block in model.h] == ["tanh"] * 3
