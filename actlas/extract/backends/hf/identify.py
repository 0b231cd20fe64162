"""What a checkpoint is, from its files alone: configuration, tokenizer, limits. No weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from actlas.errors import ModelNotLoaded, ModelNotSupported
from actlas.extract.backends.base import BackendSettings, LocatedCheckpoint
from actlas.extract.backends.hf.hub import commit_on_hub, discard, fetch, list_revisions, snapshots
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.extract.checkpoints.weight_hash import weight_files
from actlas.names import Checkpoint

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def load_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """The model's configuration.

    Raises:
        ModelNotLoaded: If there is none that this version of transformers knows.
    """
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotLoaded(f"no usable model configuration in {folder}: {error}") from error


def identify(checkpoint: Checkpoint, settings: BackendSettings, compute_dtype: str) -> LocatedCheckpoint:
    """Fetch a checkpoint and say what it is, without loading its weights.

    Args:
        checkpoint: Which one.
        settings: How models are run.
        compute_dtype: "auto" takes the dtype the checkpoint was saved in.
    """
    before = snapshots(checkpoint.model)
    folder = fetch(checkpoint.model, checkpoint.revision, with_code=settings.trust_remote_code)
    is_snapshot = folder.parent.name == "snapshots" and not Path(checkpoint.model).is_dir()
    config = load_config(folder, trust_remote_code=settings.trust_remote_code)
    refuse_experts(config)
    weight_files(folder)  # raises where there are none
    if compute_dtype == "auto":
        compute_dtype = str(config.dtype or "float32").removeprefix("torch.")
    own = next((name for name in _TOKENIZER_FILES if (folder / name).is_file()), None)
    return LocatedCheckpoint(
        checkpoint=checkpoint,
        folder=folder,
        tokenizer_hash=None if own is None else HfTokenizer.load(str(folder), settings).hash,
        architecture=(config.architectures or [""])[0] or type(config).__name__,
        max_positions=max_positions(config),
        compute_dtype=compute_dtype,
        commit=folder.name if is_snapshot else None,
        is_download=is_snapshot and folder not in before,
    )


class CheckpointFiles:
    """The half of a `Backend` that is about files, which every backend shares that reads checkpoints as the hub has them.

    Args:
        settings: How models are run.
        auto_dtype: Dtype that a model computes in where none was chosen; "auto" for the one that the checkpoint was saved in.
    """

    def __init__(self, settings: BackendSettings, auto_dtype: str) -> None:
        self.settings = settings
        self._auto_dtype = auto_dtype

    def locate(self, checkpoint: Checkpoint) -> LocatedCheckpoint:
        """See `base.Backend`."""
        chosen = self.settings.compute_dtype
        return identify(checkpoint, self.settings, self._auto_dtype if chosen == "auto" else chosen)

    def commit(self, checkpoint: Checkpoint) -> str | None:
        """See `base.Backend`."""
        return commit_on_hub(checkpoint.model, checkpoint.revision)

    def discard(self, located: LocatedCheckpoint) -> None:
        """See `base.Backend`."""
        discard(located)

    def tokenizer(self, located: LocatedCheckpoint) -> HfTokenizer:
        """See `base.Backend`."""
        if self.settings.tokenizer is not None:
            return HfTokenizer.load(self.settings.tokenizer, self.settings)
        if located.tokenizer_hash is None:
            raise ModelNotLoaded(f"{located.folder} has no tokenizer; name a folder or hub id as the tokenizer of the run")
        return HfTokenizer.load(str(located.folder), self.settings)

    def revisions(self, model: str) -> list[str]:
        """See `base.Backend`."""
        return list_revisions(model)


def refuse_experts(config: Any) -> None:
    """Refuse a mixture of experts, whose neurons see a part of the tokens each.

    Raises:
        ModelNotSupported: If the configuration names more than one expert.
    """
    text = config.get_text_config()
    if getattr(text, "is_moe", None) is False:
        return  # Doge's configuration counts experts that a dense model does not have
    # DBRX counts them in the configuration of its MLP
    parts = (text, getattr(text, "ffn_config", None))
    for name in _EXPERT_FIELDS:
        n_experts = max(getattr(part, name, None) or 0 for part in parts)
        if n_experts > 1:
            raise ModelNotSupported(
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
