"""Which blocks of a checkpoint are committed, and which are ours to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from actlas.store import layout
from actlas.store.committed import Committed, is_committed
from actlas.store.files.locks import Claim
from actlas.store.layout import TextBlock
from actlas.store.records import CheckpointRecord, committed_in, read_about, read_record
from actlas.store.write.state_writer import in_states


class BlockClaims:
    """Blocks of one checkpoint, as their commit records and claims say. It knows neither shapes nor values.

    Args:
        root: Folder of the store.
        checkpoint: Id of the checkpoint, which need not be begun.
        blocks: All blocks of the store.
    """

    def __init__(self, root: Path, checkpoint: str, blocks: Sequence[TextBlock]) -> None:
        self._root = root
        self._committed: Committed | None = None
        self.folder = root / layout.manifest_path(checkpoint)
        self.checkpoint, self.blocks = checkpoint, blocks
        self._claims: dict[int, Claim] = {}
        self._reserved: list[TextBlock] = []

    @property
    def is_complete(self) -> bool:
        """Whether the checkpoint is committed and visible."""
        if self._committed is None and (self._root / "zarr.json").exists():
            self._committed = committed_in(self._root, read_about(self._root))
        return self._committed is not None and is_committed(self._committed, self.checkpoint)

    @property
    def weight_hash(self) -> str | None:
        """Of the weights that the checkpoint was begun with; None if it was not."""
        begun = self.folder / "begun.json"
        return read_record(begun, CheckpointRecord.from_json).weight_hash if begun.exists() else None

    def record(self, block: TextBlock) -> Path:
        """Where the commit record of a block is, or will be."""
        return self.folder / "blocks" / f"{block.index:06d}.json"

    def part(self, block: TextBlock, name: str) -> Path:
        """Where a block keeps what is put together with that of all others once the last one is committed."""
        return self.folder / "blocks" / f"{block.index:06d}.{name}.npy"

    @property
    def pending(self) -> list[TextBlock]:
        """Blocks without a commit record, also those that another process works on."""
        added = in_states(self.folder)
        missing = [block for block in self.blocks if not (self.record(block).exists() or block.index in added)]
        # asked last: the process that completes the checkpoint then removes its states, maybe while they were read above
        return [] if self.is_complete else missing

    def is_committed(self, block: TextBlock) -> bool:
        """Whether a block is written and will never be written again."""
        # in this order: the record of a block in states follows, and states are removed once the checkpoint is complete
        return block.index in in_states(self.folder) or self.record(block).exists() or self.is_complete

    def reserve(self, part: tuple[int, int] | None = None) -> bool:
        """Claim a block for the next `claim_next`, so that no process loads a model and then finds no block left.

        It is not enough to look whether a block is free: two processes that look at once could each leave the block to the
        other. Blocks of an owner that dies are free again, also for the process that takes its place.

        Args:
            part: As in `claim_next`.

        Returns:
            Whether a model is needed. Without a block it is for one purpose: all are committed and their last owner died before
            it made the checkpoint visible.
        """
        block = self.claim_next(part)
        if block is not None:
            self._reserved.append(block)
            return True
        if self.pending:
            return False
        with self.finishing():
            return not self.is_complete

    def finishing(self) -> Claim:
        """The claim of the process that makes the checkpoint visible, after waiting for another one."""
        return Claim.hold(self.folder / "finish.claim")

    def claim_next(self, part: tuple[int, int] | None = None) -> TextBlock | None:
        """The next block that has neither a commit record nor an owner, now owned by us; None if there is none.

        Args:
            part: (i, n): only blocks of the i-th of n parts, counted from 1.
        """
        if self._reserved:
            return self._reserved.pop()
        # where blocks are fewer than parts, other parts have them at other checkpoints
        shift = crc32(self.checkpoint.encode())
        for block in self.pending:
            if block.index in self._claims or (part is not None and (block.index + shift) % part[1] != part[0] - 1):
                continue
            claim = Claim.take(self.record(block).with_suffix(".claim"))
            if claim is None:
                continue
            if self.is_committed(block):
                claim.release()
                continue
            self._claims[block.index] = claim
            return block
        return None

    def owns(self, block: TextBlock) -> bool:
        """Whether a block is claimed by us."""
        return block.index in self._claims

    def release(self, index: int) -> None:
        """Give back a block that is committed."""
        self._claims.pop(index).release()

    def release_all(self) -> None:
        """Give back the blocks that were claimed and not committed."""
        self._reserved.clear()
        for index in list(self._claims):
            self.release(index)
