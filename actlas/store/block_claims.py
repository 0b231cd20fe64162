"""Which blocks of a checkpoint are whose, told from the files beside their records."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from actlas.store import layout
from actlas.store.catalog import Store
from actlas.store.files import Claim, read_json


def record_path(root: Path, checkpoint: str, index: int) -> Path:
    """The commit record of a block; whoever works on it holds the claim beside it."""
    return root / layout.manifest_path(checkpoint) / "blocks" / f"{index:06d}.json"


def claim_path(root: Path, checkpoint: str, index: int) -> Path:
    """The claim of a block."""
    return record_path(root, checkpoint, index).with_suffix(".claim")


def is_of_part(checkpoint: str, index: int, part: tuple[int, int] | None) -> bool:
    """Whether a block belongs to the i-th of n parts, counted from 1; None is the whole."""
    # where blocks are fewer than parts, other parts have them at other checkpoints
    return part is None or (index + crc32(checkpoint.encode())) % part[1] == part[0] - 1


def others_have_the_rest(
    root: Path, checkpoint: str, weight_hash: str, n_texts: int, part: tuple[int, int] | None = None
) -> bool:
    """Whether all that is missing of a checkpoint is being done by others or left to other parts, so that no model is needed.

    False where that is not known: before the checkpoint was begun, where it was begun with other weights, or where all blocks are
    committed and only the checkpoint is not.
    """
    begun = root / layout.manifest_path(checkpoint) / "begun.json"
    if not begun.exists() or read_json(begun)["weight_hash"] != weight_hash:
        return False
    blocks = layout.text_blocks(n_texts, Store(root).about["texts_per_block"])
    pending = [block.index for block in blocks if not record_path(root, checkpoint, block.index).exists()]
    for index in pending:
        if not is_of_part(checkpoint, index, part):
            continue
        claim = Claim.take(claim_path(root, checkpoint, index))
        if claim is None:
            continue
        is_free = not record_path(root, checkpoint, index).exists()
        claim.release()
        if is_free:
            return False
    return bool(pending)
