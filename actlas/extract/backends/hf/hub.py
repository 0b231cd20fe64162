"""A checkpoint's files for the transformers backend: where they are, what they are, and the tokenizer among them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from huggingface_hub import constants, list_repo_refs, model_info, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from actlas.errors import CapturePointNotFound, ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Encoded, Source
from actlas.extract.checkpoints.weight_hash import weight_files
from actlas.names import Checkpoint

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_TEXTS_AT_ONCE = 1000


def fetch(model: str, revision: str | None, *, with_code: bool = False) -> Path:
    """Local folder of a model: itself if it is one, else its snapshot from the hub.

    Raises:
        ModelNotLoaded: If it can not be had.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        wanted = [*_WANTED, "*.py"] if with_code else _WANTED
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ModelNotLoaded(f"{model}{at} is no local folder and could not be had from the hub: {error}") from error


def _snapshots(model: str) -> set[Path]:
    """Snapshots of a hub model that are in the cache, whole or not."""
    folder = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "snapshots"
    return set(folder.iterdir()) if folder.is_dir() else set()


def discard(source: Source) -> None:
    """Remove a snapshot that was downloaded by `identify`, and the files that no other snapshot of the model shares.

    Any other checkpoint, a user's own folder above all, is left alone.
    """
    snapshot = source.folder
    if not source.is_download or snapshot.parent.name != "snapshots":
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


def load_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """The model's configuration.

    Raises:
        ModelNotLoaded: If there is none that this version of transformers knows.
    """
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotLoaded(f"no usable model configuration in {folder}: {error}") from error


def identify(checkpoint: Checkpoint, settings: BackendSettings, compute_dtype: str) -> Source:
    """Fetch a checkpoint and say what it is, without loading its weights.

    Args:
        checkpoint: Which one.
        settings: How models are run.
        compute_dtype: "auto" takes the dtype the checkpoint was saved in.
    """
    before = _snapshots(checkpoint.model)
    folder = fetch(checkpoint.model, checkpoint.revision, with_code=settings.trust_remote_code)
    is_snapshot = folder.parent.name == "snapshots" and not Path(checkpoint.model).is_dir()
    config = load_config(folder, trust_remote_code=settings.trust_remote_code)
    refuse_experts(config)
    weight_files(folder)  # says so where there are none
    if compute_dtype == "auto":
        compute_dtype = str(config.dtype or "float32").removeprefix("torch.")
    own = next((name for name in _TOKENIZER_FILES if (folder / name).is_file()), None)
    return Source(
        checkpoint=checkpoint,
        folder=folder,
        tokenizer_hash=None if own is None else HfTokenizer.load(str(folder), settings).hash,
        architecture=(config.architectures or [""])[0] or type(config).__name__,
        max_positions=max_positions(config),
        compute_dtype=compute_dtype,
        commit=folder.name if is_snapshot else None,
        is_download=is_snapshot and folder not in before,
    )


def refuse_experts(config: Any) -> None:
    """Refuse a mixture of experts, whose neurons see a part of the tokens each.

    Raises:
        CapturePointNotFound: If the configuration names more than one expert.
    """
    text = config.get_text_config()
    if getattr(text, "is_moe", None) is False:
        return  # Doge's configuration counts experts that a dense model does not have
    # DBRX counts them in the configuration of its MLP
    parts = (text, getattr(text, "ffn_config", None))
    for name in _EXPERT_FIELDS:
        n_experts = max(getattr(part, name, None) or 0 for part in parts)
        if n_experts > 1:
            raise CapturePointNotFound(
                f"{(config.architectures or ['this model'])[0]} routes each token to some of {n_experts} experts; its MLP "
                "neurons do not see every token, so they have no one value per text. Dense models can be extracted"
            )


def max_positions(config: Any) -> int | None:
    """Longest sequence a model can read, special tokens included; None where nothing limits it."""
    text = config.get_text_config()
    if getattr(text, "model_type", "") == "bloom" or getattr(text, "alibi", False):
        return None
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if limit is None:
        return None
    # RoBERTa-like models number positions from the padding id on
    is_roberta = "roberta" in getattr(text, "model_type", "")
    return int(limit) - (int(text.pad_token_id or 0) + 1 if is_roberta else 0)


class HfTokenizer:
    """A transformers tokenizer that gives ids as arrays and knows its own hash.

    Its padding side and its own length limit are of no consequence here: batches are padded by `batches`, cut by the run.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.hash = _hash(tokenizer)
        candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad_id = next(int(token) for token in candidates if token is not None)

    @classmethod
    def load(cls, name: str, settings: BackendSettings) -> HfTokenizer:
        """The tokenizer in a folder, or of a hub id with an optional ``@revision``.

        Raises:
            ModelNotLoaded: If there is none.
        """
        model, _, revision = name.partition("@") if not Path(name).is_dir() else (name, "", "")
        folder = fetch(model, revision or None, with_code=settings.trust_remote_code)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=settings.trust_remote_code, local_files_only=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelNotLoaded(f"no usable tokenizer in {folder}: {error}; name one with --tokenizer") from error
        return cls(tokenizer)

    def encode(self, texts: Sequence[str], *, add_special: bool, max_tokens: int | None = None) -> Encoded:
        """Token ids of texts; see `backend.TextTokenizer`."""
        token_ids, is_special, places = [], [], []
        is_fast = bool(getattr(self._tokenizer, "is_fast", False))
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._tokenizer(
                list(texts[first : first + _TEXTS_AT_ONCE]),
                add_special_tokens=add_special,
                truncation=max_tokens is not None,
                max_length=max_tokens,
                padding=False,
                return_attention_mask=False,
                return_special_tokens_mask=True,
                return_offsets_mapping=is_fast,
                verbose=False,
            )
            token_ids += [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
            is_special += [np.array(flags, dtype=bool) for flags in encoded["special_tokens_mask"]]
            if is_fast:
                places += [np.array(pairs, dtype=np.int64).reshape(-1, 2) for pairs in encoded["offset_mapping"]]
        if not is_fast:
            places = [np.full((len(ids), 2), -1, dtype=np.int64) for ids in token_ids]
        if not add_special:
            # some tokenizers flag a special token that stands in the text itself; nothing was added here
            is_special = [np.zeros(len(ids), dtype=bool) for ids in token_ids]
        return Encoded(token_ids, is_special, places)


def _hash(tokenizer: Any) -> str:
    """Hash of what decides token ids, and of nothing else: not of padding, truncation, templates or file names."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        rules.pop("padding", None)
        rules.pop("truncation", None)
    else:
        vocabulary = tokenizer.get_vocab()
        probe = "The 3 quick: año, 東京 और हाँ\n"
        rules = {"vocabulary": vocabulary, "class": type(tokenizer).__name__, "probe": tokenizer(probe)["input_ids"]}
    special = {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())}
    text = json.dumps([rules, special], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
