"""What a checkpoint is, from its files alone: configuration, tokenizer, limits. No weights are loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers

from actlas.errors import ModelNotLoaded, ModelNotSupported
from actlas.extract.backends.base import BackendSettings, LocatedCheckpoint
from actlas.extract.backends.hf.hub import commit_on_hub, discard, fetch, list_revisions, snapshots
from actlas.extract.backends.hf.tokenizer import HfTokenizer
from actlas.extract.checkpoints.weight_hash import weight_files
from actlas.extract.sites.families import family_of
from actlas.extract.sites.streams import setting
from actlas.names import Checkpoint

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt"),
    # a tokenizer of bytes or characters has no vocabulary, and this file alone
    "tokenizer_config.json",
)
#: Files in which quantisations are described, beside config.json or in it.
_QUANTISATION_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_QUANTISATION_FIELDS = ("quantization_config", "compression_config")
_EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


#: An empty model of more layers than any has would be built for minutes before it is seen that its weights are not there.
_MOST_LAYERS = 10_000


def load_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """The model's configuration.

    Raises:
        ModelNotLoaded: If there is none that this version of transformers knows.
    """
    refuse_quantised(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        n_layers = config.get_text_config().num_hidden_layers
    # a value of the wrong kind can break anything in there
    except Exception as error:
        raise ModelNotLoaded(f"no usable model configuration in {folder}: {in_one_line(error)}") from error
    if not isinstance(n_layers, int) or not 1 <= n_layers <= _MOST_LAYERS:
        raise ModelNotLoaded(f"no usable model configuration in {folder}: num_hidden_layers is {n_layers!r}, no number of layers")
    names = config.architectures
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ModelNotLoaded(f"no usable model configuration in {folder}: architectures is {names!r}, no list of names")
    if getattr(config, "transformers_weights", None) is not None:
        raise ModelNotLoaded(
            f"the configuration in {folder} names its own weights ({config.transformers_weights}); give the file the name "
            "model.safetensors and take transformers_weights out of config.json"
        )
    return config


def in_one_line(error: BaseException) -> str:
    """What an error of another library says, as the end of a sentence."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: {text}"


def refuse_quantised(folder: Path) -> None:
    """Refuse weights that were rounded to few bits, whatever packs them.

    Raises:
        ModelNotSupported: Naming the method.
    """
    files = [(name, folder / name) for name in _QUANTISATION_FILES]
    found = next(((_method(_read(path)), name) for name, path in files if path.is_file()), None)
    config = _read(folder / "config.json")
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for name in _QUANTISATION_FIELDS:
        if (part := next((part[name] for part in parts if part.get(name)), None)) is not None:
            found = found or (_method(part), f"{name} in config.json")
    if found is not None:
        raise ModelNotSupported(
            f"{folder} is quantised ({found[0]}, says {found[1]}); its values would be those of rounded weights. Extract the "
            "checkpoint that it was made of"
        )


def _read(path: Path) -> dict[str, Any]:
    """A JSON file, empty where it is none: the code that needs it says what is wrong."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _method(part: Any) -> str:
    """Name of a quantisation out of its settings."""
    if not isinstance(part, dict):
        return str(part)
    bits = [f"{n} bit" for n in (8, 4) if part.get(f"load_in_{n}bit")] or [f"{n} bit" for n in (part.get("bits"),) if n]
    named = next((part[name] for name in ("quant_method", "quant_algo", "format", "method") if part.get(name)), None)
    return ", ".join([str(named or "unnamed method"), *bits])


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
    located = located_in(checkpoint, folder, settings, compute_dtype)
    weight_files(folder)  # raises where there are none
    return replace(located, commit=folder.name if is_snapshot else None, is_download=is_snapshot and folder not in before)


def located_in(checkpoint: Checkpoint, folder: Path, settings: BackendSettings, compute_dtype: str) -> LocatedCheckpoint:
    """What a checkpoint is by the files in a folder, weights aside.

    Raises:
        ModelNotLoaded: If there is no configuration.
        ModelNotSupported: If it is a mixture of experts, or quantised.
    """
    config = load_config(folder, trust_remote_code=settings.trust_remote_code)
    refuse_experts(config)
    if compute_dtype == "auto":
        compute_dtype = str(config.dtype or "float32").removeprefix("torch.")
    text = config.get_text_config()
    return LocatedCheckpoint(
        checkpoint=checkpoint,
        folder=folder,
        tokenizer_hashes=HfTokenizer.load(str(folder), settings).hashes if has_tokenizer(folder) else (),
        architecture=_architecture(config),
        max_positions=max_positions(config),
        compute_dtype=compute_dtype,
        vocabulary=getattr(text, "vocab_size", None),
        activation=_activation(_architecture(config), text),
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint brings a tokenizer along."""
    if any((folder / name).is_file() for name in _TOKENIZER_FILES[:-1]):
        return True
    name = _read(folder / _TOKENIZER_FILES[-1]).get("tokenizer_class")
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    # with the class of any other one, transformers would make a tokenizer that knows no words
    return kind is not None and not kind.vocab_files_names


def _architecture(config: Any) -> str:
    names = config.architectures or []
    named = names if isinstance(names, str) else next((name for name in names if isinstance(name, str)), "")
    return named or type(config).__name__


def _activation(architecture: str, text: Any) -> str | None:
    """Name of the activation function of the MLPs of a known family, where its configuration says it."""
    family = family_of(architecture)
    name = None if family is None else setting(text, family.rules.activation)
    return name if isinstance(name, str) else None


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
        if not located.tokenizer_hashes:
            raise ModelNotLoaded(f"{located.folder} has no tokenizer; name a folder or hub id as the tokenizer of the run")
        return HfTokenizer.load(str(located.folder), self.settings)

    def revisions(self, model: str) -> list[str]:
        """See `base.Backend`."""
        return list_revisions(model)


def refuse_experts(config: Any) -> None:
    """Refuse a mixture of experts, whose neurons see a part of the tokens each.

    Raises:
        ModelNotSupported: If the configuration names more than one expert.
        ModelNotLoaded: If it says something else than a number.
    """
    text = config.get_text_config()
    if getattr(text, "is_moe", None) is False:
        return  # Doge's configuration counts experts that a dense model does not have
    n_dense = getattr(text, "first_k_dense_replace", None)
    if isinstance(n_dense, int) and n_dense >= text.num_hidden_layers:
        return  # a DeepSeek model whose layers are all among its first, dense ones
    # DBRX counts them in the configuration of its MLP
    parts = (text, getattr(text, "ffn_config", None))
    for name in _EXPERT_FIELDS:
        counts = [getattr(part, name, None) or 0 for part in parts]
        if not all(isinstance(count, int) for count in counts):
            raise ModelNotLoaded(f"no usable model configuration: {name} is {max(counts, key=str)!r}, not a number")
        n_experts = max(counts)
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
