"""What every extraction backend and every store must do, as test classes to inherit. These alone need pytest.

A test module makes a class of its own out of one of them and gives what is under test as fixtures::

    class TestMyBackend(BackendTests):
        texts = ("one text", "another one")

        @pytest.fixture
        def backend(self): ...

        @pytest.fixture
        def checkpoint(self): ...

What cannot be done is declared in `gaps`, test name -> reason. Such a test has to fail: it turns red when the gap closes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import zarr
from numpy.typing import NDArray

from actlas.errors import ActlasError, CheckpointNotFound, CubeNotFound, ReadOnlyStore, ScoresNotFound
from actlas.extract.backends.base import Backend, Capture, ModelSession
from actlas.extract.inputs.batches import BlockTexts
from actlas.names import Checkpoint
from actlas.query import Atlas, open_store
from actlas.query.schema import TABLES
from actlas.store import verify
from actlas.store.layout import cube_path, values_path
from actlas.store.values import BlockValues


class Contract:
    """Gaps that are declared, which both contracts share."""

    #: Test name -> why it cannot pass.
    gaps: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _expect_gaps(self, request: pytest.FixtureRequest) -> None:
        reason = self.gaps.get(request.node.originalname)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    def test_every_gap_names_a_test(self) -> None:
        unknown = [name for name in self.gaps if not hasattr(self, name)]
        assert not unknown, f"there are no tests {', '.join(unknown)}"


class BackendTests(Contract):
    """What `actlas.extract.backends.base.Backend` promises, tried on one small checkpoint.

    Attributes:
        texts: At least four texts of different lengths that the checkpoint's tokenizer knows.
        site: A site of pooled values.
        counted_site: A site whose active tokens are counted.
        token_site: A site whose token vectors are kept.
        tolerance: Largest difference between values of a text in a batch and alone, relative to the largest value.
    """

    texts: ClassVar[Sequence[str]]
    site: ClassVar[str] = "mlp_pre"
    counted_site: ClassVar[str] = "mlp_hidden"
    token_site: ClassVar[str] = "resid"
    tolerance: ClassVar[float] = 1e-5

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test."""
        raise NotImplementedError("the class that inherits gives a backend")

    @pytest.fixture
    def checkpoint(self) -> Checkpoint:
        """A checkpoint in a local folder that the backend can run."""
        raise NotImplementedError("the class that inherits gives a checkpoint")

    @pytest.fixture
    def capture(self) -> Capture:
        """What is read: float32, so that differences are the backend's own."""
        return Capture(
            sites=(self.site,),
            token_sites=(self.token_site,),
            count_sites=(self.counted_site,),
            dtype="float32",
            n_languages=2,
            max_tokens=64,
        )

    @pytest.fixture
    def session(self, backend: Backend, checkpoint: Checkpoint, capture: Capture) -> Iterator[ModelSession]:
        """A loaded model."""
        opened = backend.open(backend.locate(checkpoint), capture)
        yield opened
        opened.close()

    @pytest.fixture
    def block(self, backend: Backend, checkpoint: Checkpoint) -> BlockTexts:
        """The texts as one block: two languages in turn, the first token of each text sampled."""
        encoded = backend.tokenizer(backend.locate(checkpoint)).encode(self.texts, add_special=True, max_tokens=64)
        return _block(encoded.token_ids)

    def test_a_checkpoint_is_located_without_being_loaded(self, backend: Backend, checkpoint: Checkpoint) -> None:
        located = backend.locate(checkpoint)
        assert located.checkpoint == checkpoint
        assert located.folder.is_dir()
        assert located.architecture
        assert located.compute_dtype not in ("", "auto")
        assert located.commit is None
        assert not located.is_download
        assert located.weight_hash == backend.locate(checkpoint).weight_hash

    def test_a_local_folder_has_no_commit_and_is_never_removed(self, backend: Backend, checkpoint: Checkpoint) -> None:
        assert backend.commit(checkpoint) is None
        located = backend.locate(checkpoint)
        backend.discard(located)
        assert located.folder.is_dir()

    def test_the_tokenizer_gives_tokens_marks_and_places(self, backend: Backend, checkpoint: Checkpoint) -> None:
        tokenizer = backend.tokenizer(backend.locate(checkpoint))
        assert tokenizer.hash
        assert tokenizer.pad_id >= 0
        encoded = tokenizer.encode(self.texts, add_special=True)
        for token_ids, is_special, places in zip(encoded.token_ids, encoded.is_special, encoded.places, strict=True):
            assert token_ids.dtype == np.int32
            assert is_special.shape == token_ids.shape
            assert places.shape == (len(token_ids), 2)
        bare = tokenizer.encode(self.texts, add_special=False)
        for without, with_special, is_special in zip(bare.token_ids, encoded.token_ids, encoded.is_special, strict=True):
            assert without.tolist() == with_special[~is_special].tolist()

    def test_the_tokenizer_cuts_where_it_is_told(self, backend: Backend, checkpoint: Checkpoint) -> None:
        tokenizer = backend.tokenizer(backend.locate(checkpoint))
        whole = tokenizer.encode(self.texts, add_special=True).token_ids
        limit = max(map(len, whole)) - 1
        cut = tokenizer.encode(self.texts, add_special=True, max_tokens=limit).token_ids
        assert [len(ids) for ids in cut] == [min(len(ids), limit) for ids in whole]

    def test_an_unknown_site_is_refused(self, backend: Backend, checkpoint: Checkpoint) -> None:
        with pytest.raises(ActlasError):
            backend.open(backend.locate(checkpoint), Capture(sites=("no_such_site",), dtype="float32"))

    def test_a_model_can_be_opened_again(self, backend: Backend, checkpoint: Checkpoint, capture: Capture) -> None:
        shapes = []
        for _ in range(2):
            session = backend.open(backend.locate(checkpoint), capture)
            shapes.append(dict(session.shapes))
            session.close()
        assert shapes[0] == shapes[1]

    def test_shapes_are_known_before_anything_runs(self, session: ModelSession) -> None:
        for site in (self.site, self.counted_site, self.token_site):
            layers, neurons = session.shapes[site]
            assert layers > 0
            assert neurons > 0
        assert session.about["architecture"]
        assert isinstance(session.is_on_cpu, bool)

    def test_values_have_the_shape_and_dtype_of_the_store(self, session: ModelSession, block: BlockTexts) -> None:
        values = session.run_block(block).collect()
        assert set(values.cubes) == {self.site}
        assert values.cubes[self.site].shape == (*session.shapes[self.site], len(self.texts))
        assert values.cubes[self.site].dtype == np.float32
        assert np.isfinite(values.cubes[self.site]).all()

    def test_another_dtype_can_be_asked_for(self, session: ModelSession, block: BlockTexts) -> None:
        exact = session.run_block(block).collect().cubes[self.site]
        rounded = session.run_block(block, dtype="float16").collect().cubes[self.site]
        assert rounded.dtype == np.float16
        assert _difference(rounded.astype(np.float32), exact) <= 2e-3

    def test_sites_are_handed_over_in_dtypes_of_their_own(
        self, session: ModelSession, block: BlockTexts, capture: Capture
    ) -> None:
        exact = session.run_block(block).collect()
        session.store_as(replace(capture, dtype="float16", site_dtypes={self.token_site: "bfloat16"}))
        stored = session.run_block(block).collect()
        assert stored.cubes[self.site].dtype == np.float16
        assert stored.tokens[self.token_site].dtype == np.uint16
        np.testing.assert_array_equal(stored.cubes[self.site], exact.cubes[self.site].astype(np.float16))
        # the upper half of the bits of a float32
        bits = stored.tokens[self.token_site].astype(np.uint32) << 16
        np.testing.assert_allclose(bits.view(np.float32), exact.tokens[self.token_site], rtol=2**-8)
        assert session.run_block(block, dtype="float32").collect().tokens[self.token_site].dtype == np.float32

    def test_a_text_gives_the_same_in_a_batch_and_alone(self, session: ModelSession, block: BlockTexts) -> None:
        together = session.run_block(block).collect()
        alone = session.run_block(block, is_alone=True).collect()
        assert _difference(together.cubes[self.site], alone.cubes[self.site]) <= self.tolerance
        assert _difference(together.tokens[self.token_site], alone.tokens[self.token_site]) <= self.tolerance

    def test_values_follow_their_texts(self, session: ModelSession, block: BlockTexts) -> None:
        order = np.arange(len(self.texts))[::-1]
        forward = session.run_block(block).collect().cubes[self.site]
        backward = session.run_block(_block([_text(block, int(row)) for row in order])).collect().cubes[self.site]
        assert _difference(backward, forward[:, :, order]) <= self.tolerance

    def test_the_same_block_gives_the_same_bytes(self, session: ModelSession, block: BlockTexts) -> None:
        first, second = (session.run_block(block).collect() for _ in range(2))
        assert first.cubes[self.site].tobytes() == second.cubes[self.site].tobytes()

    def test_sampled_tokens_are_there_in_order(self, session: ModelSession, block: BlockTexts) -> None:
        vectors = session.run_block(block).collect().tokens[self.token_site]
        layers, channels = session.shapes[self.token_site]
        assert vectors.shape == (layers, len(block.sampled_rows), channels)

    def test_every_token_is_counted_in_its_language(self, session: ModelSession, block: BlockTexts) -> None:
        values = session.run_block(block).collect()
        lengths = np.diff(block.offsets)
        expected = [int(lengths[block.language == language].sum()) for language in (0, 1)]
        assert values.n_tokens is not None
        assert values.n_tokens.tolist() == expected
        active = values.counts[self.counted_site]
        assert active.shape == (2, *session.shapes[self.counted_site])
        assert (active >= 0).all()
        assert (active <= values.n_tokens[:, None, None]).all()
        assert active.any()

    def test_progress_names_every_text_once(self, session: ModelSession, block: BlockTexts) -> None:
        numbers: list[int] = []
        session.run_block(block, on_batch=numbers.append).collect()
        assert sum(numbers) == len(self.texts)

    def test_the_loss_is_over_every_predicted_token(self, session: ModelSession, block: BlockTexts) -> None:
        values: BlockValues = session.run_block(block).collect()
        assert values.loss_tokens == int((np.diff(block.offsets) - 1).sum())
        assert 0 < values.loss_sum / values.loss_tokens < 100


def _block(token_ids: Sequence[NDArray[Any]]) -> BlockTexts:
    n_texts = len(token_ids)
    return BlockTexts(
        token_ids=np.concatenate([np.asarray(ids, dtype=np.int32) for ids in token_ids]),
        offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in token_ids])]).astype(np.int64),
        is_special=None,
        language=np.arange(n_texts, dtype=np.int64) % 2,
        sampled_rows=np.arange(n_texts, dtype=np.int64),
        sampled_positions=np.zeros(n_texts, dtype=np.int64),
        sampled_lengths=np.ones(n_texts, dtype=np.int64),
        has_loss=np.ones(n_texts, dtype=np.bool_),
        text_ids=np.arange(n_texts, dtype=np.int64),
    )


def _text(block: BlockTexts, row: int) -> NDArray[Any]:
    return block.token_ids[block.offsets[row] : block.offsets[row + 1]]


def _difference(values: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference, relative to the largest value that was expected."""
    return float(np.abs(values - expected).max() / max(float(np.abs(expected).max()), 1e-9))


class StoreTests(Contract):
    """What a committed store must do for those who read it, whatever wrote it and whenever."""

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> Path:
        """Folder of the store. No test writes into it."""
        raise NotImplementedError("the class that inherits gives the folder of a store")

    @pytest.fixture
    def store(self, path: Path) -> Iterator[Atlas]:
        """The store, opened for reading."""
        opened = open_store(path)
        yield opened
        opened.close()

    @pytest.fixture
    def checkpoint(self, store: Atlas) -> str:
        """The last checkpoint."""
        return store.checkpoints[-1]

    def test_checkpoints_are_listed_by_step(self, store: Atlas) -> None:
        records = [store.checkpoint(checkpoint) for checkpoint in store.checkpoints]
        steps = [record["step"] for record in records if record["step"] is not None]
        assert steps == sorted(steps)
        assert all(record["weight_hash"] for record in records)
        assert not store.unfinished

    def test_cubes_span_the_corpus(self, store: Atlas, checkpoint: str) -> None:
        for site in store.sites(checkpoint):
            cube = store.cube(checkpoint, site)
            assert cube.shape == (*store.shape(checkpoint, site), store.corpus.n_texts)
            assert cube.text_ids.tolist() == store.corpus.texts["text_id"].to_list()
            assert np.isfinite(cube.read()).all()

    def test_a_part_of_a_cube_is_that_part_of_the_whole(self, store: Atlas, checkpoint: str) -> None:
        for site in store.sites(checkpoint):
            cube = store.cube(checkpoint, site)
            whole, texts = cube.read(), [cube.shape[2] - 1, 0]
            np.testing.assert_array_equal(cube.read(layer=0), whole[0])
            np.testing.assert_array_equal(cube.read(layer=-1, neurons=2), whole[-1, 2])
            np.testing.assert_array_equal(cube.read(neurons=[3, 1], texts=texts), whole[:, [3, 1]][:, :, texts])
            np.testing.assert_array_equal(cube.read(neurons=slice(1, 4)), whole[:, 1:4])
            with pytest.raises(IndexError):
                cube.read(layer=cube.shape[0])

    def test_zarr_alone_reads_the_same_numbers(self, store: Atlas, checkpoint: str) -> None:
        for site in store.sites(checkpoint):
            cube = store.cube(checkpoint, site)
            if cube.dtype != "bfloat16":
                path = values_path(cube_path(checkpoint, site, cube.pooling), store.about["format"])
                array = zarr.open_array(store.path / path, mode="r")
                np.testing.assert_array_equal(np.asarray(array[:]), cube.read())

    def test_xarray_names_every_axis(self, store: Atlas, checkpoint: str) -> None:
        pytest.importorskip("xarray")
        for site in store.sites(checkpoint):
            cube = store.cube(checkpoint, site)
            array = cube.to_xarray()
            assert array.dims == ("layer", "neuron", "text")
            assert array.coords["text_id"].values.tolist() == cube.text_ids.tolist()
            np.testing.assert_array_equal(array.values, cube.read())

    def test_token_vectors_belong_to_their_tokens(self, store: Atlas, checkpoint: str) -> None:
        for site in store.checkpoint(checkpoint)["token_cubes"]:
            cube = store.token_cube(checkpoint, site)
            assert cube.read(0).shape == (cube.table.height, cube.shape[2])
            assert np.isfinite(cube.read(0)).all()
            assert set(cube.table["text_id"]) <= set(store.corpus.texts["text_id"])

    def test_no_more_tokens_are_active_than_were_seen(self, store: Atlas, checkpoint: str) -> None:
        for site in store.checkpoint(checkpoint)["counts"]:
            counts = store.token_counts(checkpoint, site)
            assert counts.languages == store.corpus.languages
            assert (counts.active >= 0).all()
            assert (counts.active <= counts.n_tokens[:, None, None]).all()

    def test_scores_have_a_place_for_every_neuron_concept_and_language(self, store: Atlas, checkpoint: str) -> None:
        for site in store.scored_sites(checkpoint):
            scores = store.scores(checkpoint, site)
            expected = (len(scores.languages), len(scores.concepts), *store.shape(checkpoint, site))
            for stat in scores.stats:
                assert scores.read(stat).shape == expected
            if "ap" in scores.stats:
                ap = scores.read("ap")
                assert ((ap > 0) & (ap <= 1) | np.isnan(ap)).all()

    def test_sql_counts_every_value(self, store: Atlas, checkpoint: str) -> None:
        query = "SELECT site, count(*) AS n, sum(value) AS total FROM activations WHERE checkpoint = '{}' GROUP BY site"
        answer = {row["site"]: row for row in store.sql(query.format(checkpoint)).to_dicts()}
        assert sorted(answer) == store.sites(checkpoint)
        for site, row in answer.items():
            values = store.cube(checkpoint, site).read().astype(np.float64)
            assert row["n"] == values.size
            assert row["total"] == pytest.approx(values.sum(), rel=1e-6)

    def test_tables_have_the_columns_of_their_schema(self, store: Atlas) -> None:
        for name in store.table_names():
            frame = store.scan(name).collect()
            assert isinstance(frame, pl.DataFrame)
            if name in TABLES:
                assert set(TABLES[name].empty().columns) <= set(frame.columns), name

    def test_what_is_not_there_is_named(self, store: Atlas, checkpoint: str) -> None:
        with pytest.raises(CheckpointNotFound, match="no_such_checkpoint"):
            store.checkpoint("no_such_checkpoint")
        with pytest.raises(CubeNotFound, match="no_such_site"):
            store.cube(checkpoint, "no_such_site")
        with pytest.raises(CubeNotFound):
            store.cube(checkpoint, store.sites(checkpoint)[0], pooling="no_such_pooling")
        with pytest.raises(ScoresNotFound, match="no_such_site"):
            store.scores(checkpoint, "no_such_site")

    def test_a_store_opened_for_reading_takes_no_table(self, store: Atlas, checkpoint: str) -> None:
        with pytest.raises(ReadOnlyStore):
            store.publish_table("experts", checkpoint, TABLES["experts"].empty(), {})

    def test_reading_leaves_every_byte_alone(self, store: Atlas, checkpoint: str) -> None:
        before = _digests(store.path)
        store.cube(checkpoint, store.sites(checkpoint)[0]).read()
        store.sql("SELECT count(*) FROM texts")
        assert verify(store).damage == ()
        assert _digests(store.path) == before

    def test_a_flipped_bit_is_found(self, path: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(path, tmp_path / "copy"))
        shard = next(file for file in sorted((copy / "cubes").rglob("c/*/*/*")) if file.is_file())
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 8
        shard.write_bytes(content)
        damage = verify(open_store(copy)).damage
        assert any(str(shard.relative_to(copy)) in fault for fault in damage)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
