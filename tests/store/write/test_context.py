from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from actlas.store import layout
from actlas.store.write.checkpoint_writer import CheckpointWriter
from tests.store.conftest import LAYERS, NEURONS, Planted


def test_all_checkpoints_of_a_store_share_one_context_that_does_not_change(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s", n_threads=3, sync=False) as writer:
        runs = [planted.begin(writer, f"model-step{step}", step) for step in (1, 2)]
        assert runs[0].context is runs[1].context is writer.context
        assert (writer.context.path, writer.context.recipe, writer.context.corpus) == (
            tmp_path / "s",
            planted.recipe,
            planted.corpus,
        )
        assert (writer.context.n_threads, writer.context.sync) == (3, False)
        with pytest.raises(dataclasses.FrozenInstanceError):
            writer.context.recipe = planted.recipe


def test_a_context_is_all_that_a_checkpoint_needs(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        checkpoint = planted.begin(writer).checkpoint
        cubes = {"mlp_hidden": (LAYERS, NEURONS)}
        own = dataclasses.replace(checkpoint, id="alone")
        run = CheckpointWriter(writer.context, own, {"weight_hash": "0"}, cubes, {}, {})
        assert run.pending == list(writer.context.blocks)
        run.release_claims()


def test_it_says_what_the_store_says_of_itself(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s", texts_per_block=64, codec="zstd", sync=False) as writer:
        context = writer.context
        assert (context.codec.name, context.store_format, context.sync) == ("zstd", layout.FORMAT_VERSION, False)
        assert [block.n_texts for block in context.blocks] == [64, 64, 22]
    with planted.writer(tmp_path / "s", texts_per_block=32, codec="lz4") as writer:
        assert (writer.context.codec.name, writer.context.blocks) == ("zstd", context.blocks)


def test_token_rows_are_those_of_the_sample(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        rows, text_ids = writer.context.token_rows
    assert text_ids.tolist() == planted.sample["text_id"].to_list()
    assert len(set(rows.tolist())) == len(rows)
