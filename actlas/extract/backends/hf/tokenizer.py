"""A transformers tokenizer behind the interface of `backends.base.TextTokenizer`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, Encoded
from actlas.extract.backends.hf.hub import fetch

_TEXTS_AT_ONCE = 1000


class HfTokenizer:
    """A transformers tokenizer that gives ids as arrays, and knows its own hash and how its special tokens are written.

    Its padding side and its own length limit have no effect: `inputs.batches` pads, and the run cuts.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.hash = _hash(tokenizer)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special_tokens = {int(number): str(token) for number, token in added.items() if getattr(token, "special", False)}
        self.special_tokens.update(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True))
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
            raise ModelNotLoaded(
                f"no usable tokenizer in {folder}: {error}; name another folder or hub id as the tokenizer of the run"
            ) from error
        return cls(tokenizer)

    def encode(self, texts: Sequence[str], *, add_special: bool, max_tokens: int | None = None) -> Encoded:
        """Token ids of texts; see `base.TextTokenizer`."""
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
            # some tokenizers flag a special token that stands in the text itself, and none was added
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
