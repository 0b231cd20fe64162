"""What is kept of a checkpoint, in blocks of which size, and how much of the disk that takes."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass

from actlas.errors import DiskTooSmall
from actlas.extract.results import CheckpointProgress
from actlas.extract.run.call import Run
from actlas.extract.run.states import disk_bytes
from actlas.store import layout
from actlas.store.store import Store
from actlas.store.values import Shapes

#: Blocks on their way at most, however small they are: each holds an open file, its claim.
_MOST_BLOCKS = 32


@dataclass(frozen=True)
class BlockPlan:
    """What is kept of a checkpoint, and in blocks of which size.

    Attributes:
        cubes: site -> (layers, neurons), of sites whose values are kept.
        values: The same of sites whose values are read, for cubes or for states.
        token_cubes: site -> (layers, channels), of sites whose token vectors are kept.
        counts: site -> (layers, neurons), of sites whose active tokens are counted.
        text_bytes: Bytes of values per text.
        count_bytes: Bytes of the counts of one block, which are of all languages and do not depend on its texts.
        value_bytes: Bytes of values in memory at most.
        texts_per_block: Texts of a block of a new store.
    """

    cubes: Shapes
    values: Shapes
    token_cubes: Shapes
    counts: Shapes
    text_bytes: int
    count_bytes: int
    value_bytes: int
    texts_per_block: int

    @classmethod
    def of(cls, run: Run, shapes: Shapes) -> BlockPlan:
        """The plan for a model whose sites have these shapes."""
        capture, options, sample = run.capture, run.options, run.texts.sample
        values = {site: shapes[site] for site in capture.sites}
        token_cubes = {site: shapes[site] for site in capture.token_sites}
        counts = {site: shapes[site] for site in capture.count_sites}
        n_vectors = 0 if sample is None else math.ceil(sample.height / run.n_texts)
        text_bytes = layout.row_bytes(values, run.dtypes) + n_vectors * layout.row_bytes(token_cubes, run.dtypes)
        # one block at least is written while the next one is computed
        value_bytes = options.value_bytes or 2 * layout.BLOCK_BYTES
        return cls(
            cubes={site: shapes[site] for site in run.recipe.sites},
            values=values,
            token_cubes=token_cubes,
            counts=counts,
            text_bytes=text_bytes,
            count_bytes=8 * capture.n_count_rows * sum(map(math.prod, counts.values())),
            value_bytes=value_bytes,
            texts_per_block=options.texts_per_block or layout.texts_per_block(run.n_texts, text_bytes, value_bytes // 2),
        )

    def most_blocks(self, texts_per_block: int) -> int:
        """Blocks of that many texts that may be in memory at a time."""
        block_bytes = texts_per_block * self.text_bytes + self.count_bytes
        return min(_MOST_BLOCKS, self.value_bytes // max(1, block_bytes))

    def check_disk(self, run: Run, progress: CheckpointProgress, checkpoint: str) -> int:
        """Bytes at most that are still to be written, for one checkpoint and those after it.

        Args:
            run: What the checkpoint shares with the others.
            progress: Which of them it is.
            checkpoint: Its id.

        Raises:
            DiskTooSmall: If the disk has not as many.
        """
        sample = run.texts.sample
        sampled = 0 if sample is None else sample.height
        each = layout.estimate_bytes(
            self.cubes, self.token_cubes, n_texts=run.n_texts, n_sampled_tokens=sampled, dtypes=run.dtypes
        )
        if run.recipe.states is not None:
            each += disk_bytes(run.recipe.states, self.values, run.texts.corpus)
        store = Store.at(run.path)
        n_done = 0 if store is None else store.unfinished.get(checkpoint, 0)
        n_left = run.n_checkpoints - progress.number
        needed = int(each * (1 - n_done / run.n_texts + n_left))
        folder = next(folder for folder in (run.path.absolute(), *run.path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(folder).free
        if needed > free and run.options.checks_disk:
            raise DiskTooSmall(
                f"{n_left + 1} checkpoints could take {needed / 1e9:.1f} GB before compression and {folder} has "
                f"{free / 1e9:.1f} GB free; take fewer sites or checkpoints, or skip this check"
            )
        return needed
