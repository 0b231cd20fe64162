"""Before a run goes on with a store that is there: is it of this run, and may one that holds nothing be started over?"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl

from actlas.errors import DamagedStore, RecipeMismatch
from actlas.names import DTYPES, Recipe
from actlas.store import layout, log
from actlas.store.committed import is_committed
from actlas.store.files.locks import Claim, SharedClaim, writers_claim
from actlas.store.records import CheckpointRecord, begun_checkpoints, committed_in, read_about, read_record
from actlas.store.values import TokenIds

#: What holds values of checkpoints, each in a folder of its own.
_VALUES = ("cubes", "tokens", "counts", "states")
#: What a store without a committed block consists of, its root's zarr.json and records apart.
_FOLDERS = (*_VALUES, "scores", "corpus", log.FOLDER)


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


def keeps_more(dtype: str, other: str) -> bool:
    """Whether a dtype keeps what another one cannot.

    Example:
        >>> keeps_more("float32", "float16"), keeps_more("float16", "bfloat16")
        (True, False)
    """
    return DTYPES.index(dtype) > DTYPES.index(other)


def known_dtypes(path: Path) -> dict[str, str]:
    """Stored dtypes of the store at `path`, if there is one: of its recipe or, where a checkpoint was begun with more, those."""
    about = read_about(path)
    if about is None:
        return {}
    recipe = Recipe.from_json(about["recipe"])
    begun = list(begun_checkpoints(path))
    return {
        site: max((dtype, *(record.dtype_of(site, recipe) for record in begun)), key=DTYPES.index)
        for site, dtype in recipe.dtypes.items()
    }


def start_checkpoint_over(path: Path, checkpoint: str, dtypes: Mapping[str, str]) -> bool:
    """Remove what is there of a checkpoint that was begun with other dtypes and is not complete.

    Values that did not fit are not in it, and a site whose first texts were rounded otherwise than its last would rank them
    apart. Its texts go through the model once more; checkpoints that are complete stay.

    Returns:
        Whether anything was removed.

    Raises:
        RecipeMismatch: If another process writes into the store.
    """
    folder, about = path / layout.manifest_path(checkpoint), read_about(path)
    if about is None or not (folder / "begun.json").exists() or is_committed(committed_in(path, about), checkpoint):
        return False
    begun, recipe = read_record(folder / "begun.json", CheckpointRecord.from_json), Recipe.from_json(about["recipe"])
    if all(begun.dtype_of(site, recipe) == dtype for site, dtype in dtypes.items()):
        return False
    with Claim.hold(creation_claim(path)):
        alone = Claim.take(writers_claim(path))
        with alone or nullcontext():
            if alone is None or any(is_held(claim) for claim in (folder / "blocks").glob("*.claim")):
                raise RecipeMismatch(
                    f"{checkpoint} was begun with other dtypes, and other processes write into {path}; start this run when they "
                    "are done"
                )
            # blocks stop being committed before their values go; the record that says how it was begun goes last
            for part in (*(folder / name for name in ("blocks", "states")), *(path / kind / checkpoint for kind in _VALUES)):
                shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(folder)
    return True


def is_held(path: Path) -> bool:
    """Whether another process holds the claim on a piece of work."""
    claim = Claim.take(path)
    if claim is not None:
        claim.release()
    return claim is None


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
