"""Before a run goes on with a store that is there: is it of this run, and may one that holds nothing be started over?"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.errors import DamagedStore, RecipeMismatch
from actlas.names import Recipe
from actlas.store import layout, log
from actlas.store.files.locks import Claim, SharedClaim, writers_claim
from actlas.store.records import read_about
from actlas.store.values import TokenIds

#: What a store without a committed block consists of, its root's zarr.json and records apart.
_FOLDERS = ("cubes", "tokens", "counts", "states", "scores", "corpus", log.FOLDER)


def creation_claim(path: Path) -> Path:
    """What the one has who creates a store, or finds out whether it is there and what it is."""
    return path / "manifests" / "create.claim"


def holds_blocks(path: Path) -> bool:
    """Whether anything was ever committed in the store at `path`."""
    committed = ("*/checkpoint.json", "*/blocks/*.json", "*/states/slot-*.json")
    kept = (path / "tables").glob("*/*")
    return any(any((path / "manifests").glob(pattern)) for pattern in committed) or any(kept)


def differences(existing: Recipe, asked: Recipe) -> str:
    """The fields in which two recipes differ, for a message.

    Example:
        >>> differences(Recipe("c", "t", ("mlp_pre",)), Recipe("c", "t", ("mlp_pre",), dtype="float32"))
        "dtype 'float16' there, 'float32' asked"
    """
    was, now = existing.to_json(), asked.to_json()
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return "; ".join(f"{name} {was.get(name)!r} there, {now.get(name)!r} asked" for name in names)


def start_over(path: Path, recipe: Recipe) -> str | None:
    """Remove the store at `path` if it has another recipe, holds no committed block, and nothing writes into it.

    A run that stopped before its first commit leaves such a store behind, and nothing in it is worth keeping.

    Returns:
        What was different about it; None if nothing was removed.
    """
    if read_about(path) is None or holds_blocks(path):
        return None
    with Claim.hold(creation_claim(path)):
        about = read_about(path)
        existing = None if about is None else Recipe.from_json(about["recipe"])
        if existing is None or existing == recipe or holds_blocks(path):
            return None
        alone = Claim.take(writers_claim(path))
        if alone is None:
            return None
        with alone:
            # first of all it stops being a store
            (path / "zarr.json").unlink()
            for folder in (*(path / name for name in _FOLDERS), *(path / "manifests").glob("*/")):
                shutil.rmtree(folder, ignore_errors=True)
    return differences(existing, recipe)


def join(path: Path) -> SharedClaim:
    """Keep a store from being started over while it is written into."""
    return SharedClaim.hold(writers_claim(path))


def known_tokenizer(path: Path, hashes: Sequence[str]) -> str:
    """The hash under which the store at `path` knows a tokenizer: an earlier one where an earlier version made the store.

    Args:
        path: Folder that may hold a store.
        hashes: What the tokenizer is known by, newest first.

    Example:
        >>> known_tokenizer(Path("no/such/store"), ("2-5f", "a3"))
        '2-5f'
    """
    about = read_about(path)
    known = about["recipe"]["tokenizer"] if about is not None and holds_blocks(path) else hashes[0]
    return str(known) if known in hashes else hashes[0]


def check_tokens(path: Path, tokens: TokenIds) -> None:
    """Refuse to go on with a store whose texts were other tokens than they are now.

    Hashes of tokenizers in stores of the first versions did not know from which side texts were cut, and a library may change.

    Raises:
        RecipeMismatch: Naming the first text that differs.
        DamagedStore: If the store does not say what its tokens are.
    """
    if read_about(path) is None:
        return
    if not (path / layout.TOKEN_IDS).is_file():
        raise DamagedStore(f"{path / layout.TOKEN_IDS} is not there; extract into a new store")
    stored = pl.read_parquet(path / layout.TOKEN_IDS)
    # earlier versions wrote arrays of fixed width where all texts have the same number of tokens
    lists = stored["token_ids"].cast(pl.List(pl.Int32))
    lengths = lists.list.len().to_numpy().astype(np.int64)
    ids = lists.explode(empty_as_null=False).to_numpy()
    if np.array_equal(lengths, tokens.lengths) and np.array_equal(ids, tokens.ids):
        return
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = range(min(len(lengths), len(tokens.lengths)))
    parts = ((ids[offsets[row] : offsets[row + 1]], tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]) for row in rows)
    first = next((row for row, part in enumerate(parts) if not np.array_equal(*part)), len(rows))
    text = stored["text_id"][first] if first < len(lengths) else "behind its last one"
    raise RecipeMismatch(
        f"the texts of {path} are other tokens than this run gives, text {text} first: an earlier version cut long texts at "
        "their beginning where the tokenizer said so, or the tokenizer's library has changed. Extract into a new store"
    )
