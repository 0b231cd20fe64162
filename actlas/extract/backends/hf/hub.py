"""Files of checkpoints on the Hugging Face hub: downloaded, listed, removed again."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import constants, list_repo_refs, model_info, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import LocatedCheckpoint

_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def fetch(model: str, revision: str | None, *, with_code: bool = False) -> Path:
    """Local folder of a model: itself if it is one, else its snapshot from the hub.

    Raises:
        ModelNotLoaded: If it can not be had.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        patterns = [*_PATTERNS, "*.py"] if with_code else _PATTERNS
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        which = f" at revision {revision!r}" if revision else ""
        raise ModelNotLoaded(f"{model}{which} is no local folder and could not be had from the hub: {error}") from error


def snapshots(model: str) -> set[Path]:
    """Snapshots of a hub model that are in the cache, whole or not."""
    folder = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "snapshots"
    return set(folder.iterdir()) if folder.is_dir() else set()


def discard(located: LocatedCheckpoint) -> None:
    """Remove a snapshot that was downloaded by `identify`, and the files that no other snapshot of the model shares.

    Any other checkpoint, a user's own folder above all, is left alone.
    """
    snapshot = located.folder
    if not located.is_download or snapshot.parent.name != "snapshots":
        return
    repository = snapshot.parent.parent
    blobs = (repository / "blobs").resolve()
    shared = {path.resolve() for other in snapshot.parent.iterdir() if other != snapshot for path in other.rglob("*")}
    own = {path.resolve() for path in snapshot.rglob("*") if path.is_symlink()} - shared
    shutil.rmtree(snapshot)
    for blob in own:
        if blob.parent == blobs:
            blob.unlink(missing_ok=True)
    for ref in (repository / "refs").rglob("*"):
        if ref.is_file() and ref.read_text(encoding="utf-8").strip() == snapshot.name:
            ref.unlink()


def commit_on_hub(model: str, revision: str | None) -> str | None:
    """Commit that a revision stands for now; None for a local folder, or if the hub does not say."""
    if Path(model).is_dir():
        return None
    try:
        return model_info(model, revision=revision).sha
    except (HfHubHTTPError, HFValidationError, OSError):
        return None


def list_revisions(model: str) -> list[str]:
    """Branches and tags of a model on the hub.

    Raises:
        ModelNotLoaded: If the hub can not be asked, or has no such model.
    """
    try:
        refs = list_repo_refs(model)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelNotLoaded(f"the revisions of {model} could not be listed: {error}") from error
    return [ref.name for ref in [*refs.branches, *refs.tags]]
