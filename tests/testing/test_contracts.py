"""The contracts hold for a backend of a few lines and for every kind of store, and each of them catches what is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from actlas.compiled.bfloat16 import float32_to_bfloat16
from actlas.errors import CapturePointNotFound
from actlas.extract.backends import base
from actlas.names import Checkpoint
from actlas.query import expert_overlap, open_store, score_neurons, top_experts
from actlas.store import BlockValues
from actlas.testing import Planting, planted_store
from actlas.testing.contracts import BackendTests, StoreTests

SHAPES = {"mlp_pre": (2, 5), "mlp_hidden": (2, 5), "resid": (2, 3)}


class LetterTokenizer:
    """A token per letter, with a token of its own in front."""

    hash = "letters"
    pad_id = 0

    def encode(self, texts: Any, *, add_special: bool, max_tokens: int | None = None) -> base.Encoded:
        ids = [np.array([1] * add_special + [2 + ord(letter) % 60 for letter in text], dtype=np.int32) for text in texts]
        ids = [part[:max_tokens] for part in ids]
        special = [np.arange(len(part)) < int(add_special) for part in ids]
        return base.Encoded(ids, special, [np.full((len(part), 2), -1) for part in ids])


@dataclass(frozen=True)
class Ready:
    """Values that were computed at once."""

    values: BlockValues

    def collect(self) -> BlockValues:
        return self.values


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    return float32_to_bfloat16(values.astype(np.float32)) if dtype == "bfloat16" else values.astype(dtype)


class LetterSession:
    """A model whose every neuron is a sine of the token: its maximum over a text is a value."""

    about: Mapping[str, Any] = {"architecture": "Letters"}
    is_on_cpu = True

    def __init__(self, capture: base.Capture) -> None:
        if unknown := set(capture.all_sites) - SHAPES.keys():
            raise CapturePointNotFound(f"no sites {sorted(unknown)}")
        self.capture = capture
        self.shapes = {site: SHAPES[site] for site in capture.all_sites}

    def _activations(self, site: str, token_ids: np.ndarray) -> np.ndarray:
        layers, neurons = SHAPES[site]
        return np.sin(token_ids * (np.arange(1, layers * neurons + 1).reshape(layers, neurons, 1)))

    def run_block(self, block: Any, *, is_alone: bool = False, dtype: str | None = None, on_batch: Any = None) -> Ready:
        texts = np.split(block.token_ids, block.offsets[1:-1])
        if on_batch is not None:
            on_batch(len(texts))
        capture = self.capture if dtype is None else self.capture.all_in(dtype)
        pooled = {
            site: np.stack([self._activations(site, ids).max(axis=2) for ids in texts], axis=2) for site in self.capture.sites
        }
        cubes = {site: stored(values, capture.dtype_of(site)) for site, values in pooled.items()}
        sampled = np.array(
            [texts[row][at] for row, at in zip(block.sampled_rows, block.sampled_positions, strict=True)], dtype=np.int64
        )
        languages = np.repeat(block.language, block.lengths)
        counts = {
            site: np.stack(
                [
                    (self._activations(site, block.token_ids[languages == number]) > 0).sum(axis=2)
                    for number in range(self.capture.n_languages)
                ]
            )
            for site in self.capture.count_sites
        }
        return Ready(
            BlockValues(
                cubes,
                {
                    site: stored(self._activations(site, sampled).transpose(0, 2, 1), capture.dtype_of(site))
                    for site in self.capture.token_sites
                },
                counts,
                np.bincount(languages, minlength=self.capture.n_languages),
                loss_sum=2.0 * int((block.lengths - 1).sum()),
                loss_tokens=int((block.lengths - 1).sum()),
            )
        )

    def store_as(self, capture: base.Capture) -> None:
        self.capture = capture

    def calibrate(self, block: Any) -> None:
        """Nothing to compare with."""

    def close(self) -> None:
        """Nothing to close."""


class LetterBackend:
    """A backend of numpy alone."""

    name = "letters"
    session: Callable[[base.Capture], LetterSession] = LetterSession

    def locate(self, checkpoint: Checkpoint) -> Any:
        folder = Path(checkpoint.model)
        located = LOCATED(checkpoint, folder, "letters", "Letters", None, "float32")
        located.__dict__["weight_hash"] = "letters"  # a cached property: there are no weights to read
        return located

    def commit(self, checkpoint: Checkpoint) -> None:
        """A local folder has none."""

    def discard(self, source: Any) -> None:
        """Nothing was downloaded."""

    def tokenizer(self, source: Any) -> LetterTokenizer:
        return LetterTokenizer()

    def linear_sites(self, source: Any) -> list[str]:
        return []

    def revisions(self, model: str) -> list[str]:
        return []

    def open(self, source: Any, capture: base.Capture) -> LetterSession:
        return self.session(capture)


LOCATED = base.LocatedCheckpoint


class TestLetters(BackendTests):
    texts = ("a", "abc", "hello there", "some more letters")

    @pytest.fixture
    def backend(self) -> LetterBackend:
        return LetterBackend()

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Checkpoint:
        return Checkpoint("letters", str(tmp_path))


class Padded(LetterSession):
    """Pools the padding too: every text is as long as the longest."""

    def run_block(self, block: Any, *, is_alone: bool = False, dtype: str | None = None, on_batch: Any = None) -> Ready:
        done = super().run_block(block, is_alone=is_alone, dtype=dtype, on_batch=on_batch)
        if is_alone:
            return done
        cubes = {site: np.maximum(values, 0.999) for site, values in done.values.cubes.items()}
        return Ready(replace(done.values, cubes=cubes))


class Shuffled(LetterSession):
    """Gives values in the order of length, not of the texts."""

    def run_block(self, block: Any, *, is_alone: bool = False, dtype: str | None = None, on_batch: Any = None) -> Ready:
        done = super().run_block(block, is_alone=is_alone, dtype=dtype, on_batch=on_batch)
        order = np.argsort(block.lengths)
        return Ready(replace(done.values, cubes={site: values[:, :, order] for site, values in done.values.cubes.items()}))


class Forgetful(LetterSession):
    """Leaves the last token out of the loss and of the counts."""

    def run_block(self, block: Any, *, is_alone: bool = False, dtype: str | None = None, on_batch: Any = None) -> Ready:
        done = super().run_block(block, is_alone=is_alone, dtype=dtype).values
        assert done.n_tokens is not None
        return Ready(replace(done, loss_tokens=done.loss_tokens - 1, n_tokens=done.n_tokens - 1))


@pytest.mark.parametrize(
    ("flawed", "test"),
    [
        (Padded, "test_a_text_gives_the_same_in_a_batch_and_alone"),
        (Shuffled, "test_values_follow_their_texts"),
        (Forgetful, "test_the_loss_is_over_every_predicted_token"),
        (Forgetful, "test_every_token_is_counted_in_its_language"),
        (Forgetful, "test_progress_names_every_text_once"),
    ],
)
def test_a_flawed_backend_is_caught(flawed: type[LetterSession], test: str, tmp_path: Path) -> None:
    contract = TestLetters()
    # longest first, so that an order by length is another one
    contract.texts = TestLetters.texts[::-1]  # type: ignore[misc]
    block = BackendTests.block.__wrapped__(contract, LetterBackend(), Checkpoint("letters", str(tmp_path)))
    capture = BackendTests.capture.__wrapped__(contract)
    getattr(contract, test)(LetterSession(capture), block)
    with pytest.raises(AssertionError):
        getattr(contract, test)(flawed(capture), block)


class TestDeclaredGaps(TestLetters):
    """A gap is expected to fail, and a gap that closed turns the run red."""

    gaps: ClassVar = {"test_a_model_can_be_opened_again": "this backend opens a model once"}

    @pytest.fixture
    def backend(self) -> LetterBackend:
        backend = LetterBackend()
        opened: list[base.Capture] = []

        def once(capture: base.Capture) -> LetterSession:
            assert not opened, "opened twice"
            opened.append(capture)
            return LetterSession(capture)

        backend.session = once
        return backend


def test_a_gap_without_a_test_is_refused() -> None:
    contract = TestLetters()
    contract.gaps = {"test_of_nothing": "made up"}  # type: ignore[misc]
    with pytest.raises(AssertionError, match="no tests test_of_nothing"):
        contract.test_every_gap_names_a_test()


class TestPlantedStore(StoreTests):
    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = planted_store(tmp_path_factory.mktemp("contract") / "run.actlas")
        store = open_store(path, "a")
        score_neurons(store, stats=("ap", "median", "p90"))
        top_experts(store, k=4)
        expert_overlap(store, k=4, halves=False)
        store.close()
        return path


class TestPlantedStoreOfBfloat16(StoreTests):
    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return planted_store(tmp_path_factory.mktemp("contract") / "run.actlas", Planting(dtype="bfloat16"))


def test_the_package_without_its_contracts_needs_no_pytest() -> None:
    code = "import sys, actlas.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
