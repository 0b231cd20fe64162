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
    """A transformers tokenizer that gives ids as arrays, and knows what it is and how its special tokens are written.

    Its padding side, its truncation side and its own length limit have no effect: `inputs.batches` pads, the run says what is too
    long, and what is cut off is the end of a text.

    Attributes:
        tokenizer: The tokenizer of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.truncation_side = "right"
        self.tokenizer: Any = tokenizer
        self.hashes: tuple[str, ...] = _hashes(tokenizer)
        self.hash = self.hashes[0]
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
        # files of the wrong kind can break anything in there, and some errors of the library behind it are plain exceptions
        except Exception as error:
            raise ModelNotLoaded(
                f"no usable tokenizer in {folder}: {error}; name another folder or hub id as the tokenizer of the run"
            ) from error
        files = tokenizer.vocab_files_names
        if files and not any((folder / name).is_file() for name in (*files.values(), "tokenizer.json", "tokenizer.model")):
            raise ModelNotLoaded(
                f"no usable tokenizer in {folder}: {type(tokenizer).__name__} reads {' and '.join(files.values())}, none of "
                "which is there; name another folder or hub id as the tokenizer of the run"
            )
        return cls(tokenizer)

    def encode(self, texts: Sequence[str], *, add_special: bool, max_tokens: int | None = None) -> Encoded:
        """Token ids of texts; see `base.TextTokenizer`."""
        token_ids, is_special, places = [], [], []
        is_fast = bool(getattr(self.tokenizer, "is_fast", False))
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self.tokenizer(
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


#: What a hash begins with that was taken the way it is taken now; the first ones began with nothing.
_VERSION = "2-"
#: Settings of a tokenizer that decide no token id: names, limits and sides, what is done with ids afterwards.
_NOT_IDS = frozenset(
    [
        "name_or_path",
        "tokenizer_file",
        "vocab_file",
        "merges_file",
        "special_tokens_map_file",
        "files_loaded",
        "chat_template",
        "vocab",
        "errors",
        "clean_up_tokenization_spaces",
        "spaces_between_special_tokens",
        "model_max_length",
        "max_length",
        "max_len",
        "truncation",
        "truncation_side",
        "padding",
        "padding_side",
        "stride",
        "model_input_names",
        "return_token_type_ids",
        "pad_to_multiple_of",
        "pad_token_type_id",
        "processor_class",
        "auto_map",
        "backend",
        "is_local",
        "local_files_only",
        "trust_remote_code",
        "tokenizer_class",
        "added_tokens_decoder",
        "transformers_version",
        "_commit_hash",
    ]
)
#: Letters of many scripts, numbers, spaces, and what stands for itself or not: where two tokenizers differ, something here does.
_PROBE = (
    "The 3 quick: año, 東京 और हाँ\n",
    "  İstanbul STRASSE straße ﬁ e\u0301 é １２ 3.14\t…\u200b<|x|>\r\n\n",
    "Don't re-do (it)! 😀👩‍👩‍👧 ｆｕｌｌ كتاب שלום ไทย 한국어 \u00a0 _ #1",
)


def _hashes(tokenizer: Any) -> tuple[str, str]:
    """The hash of a tokenizer, and the one that stores of the first versions have.

    The first is of everything that decides token ids and which of them are added, and of nothing else: the model with its
    vocabulary, normaliser, pre-tokeniser and post-processor, added tokens and how they are looked for, special tokens, and
    whether those that stand in a text are taken for what they are. It is not of sides, lengths, padding, decoding, chat
    templates or names of files.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    special = {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())}
    rules: dict[str, Any]
    if backend is not None:
        rules = json.loads(backend.to_str())
        for name in ("padding", "truncation"):
            rules.pop(name, None)
        first = dict(rules)
        for name in ("decoder", "version"):
            rules.pop(name, None)
    else:
        vocabulary = tokenizer.get_vocab()
        first = {"vocabulary": vocabulary, "class": type(tokenizer).__name__, "probe": tokenizer(_PROBE[0])["input_ids"]}
        settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in _NOT_IDS}
        added = {number: repr(token) for number, token in tokenizer.added_tokens_decoder.items()}
        rules = {"class": type(tokenizer).__name__, "vocabulary": vocabulary, "added": added, "settings": settings}
    rules["probe"] = [
        [tokenizer(text, add_special_tokens=is_added)["input_ids"] for text in _probe(tokenizer)] for is_added in (True, False)
    ]
    rules["split_special_tokens"] = bool(getattr(tokenizer, "split_special_tokens", False))
    return _VERSION + _digest([rules, special])[: 16 - len(_VERSION)], _digest([first, special])[:16]


def _probe(tokenizer: Any) -> list[str]:
    """Texts to try: of many scripts, and with the tokenizer's own tokens, written apart and together."""
    own = [str(token) for token in tokenizer.special_tokens_map.values() if isinstance(token, str)]
    return [*_PROBE, f"a {' '.join(own)} b{''.join(own)}c "]


def _digest(data: object) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
