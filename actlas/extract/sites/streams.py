"""What a family does with what its sites hold, as data: from this the proofs of its sites compute one site out of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: How queries, keys and values stand in the neurons of `attn_qkv`: all queries, then all keys, then all values; for every head of
#: keys its queries, its key, its value; or queries, and then what keys and values are made of.
HeadOrder = Literal["parts", "groups", "latent"]


@dataclass(frozen=True)
class Stream:
    """How a residual stream goes on: paths lie below the block, and what a model does not have there is passed over.

    The stream after a block is what it was before it, plus `attn_out`, plus `mlp_out`, each behind its norm and multiplied.

    Attributes:
        attn_norm: Norm between `attn_out` and the stream.
        mlp_norm: Norm between `mlp_out` and the stream.
        multiplier: Setting that both are multiplied by.
        start: Norm that the stream itself goes through before attention adds to it.
        middle: The same before the MLP adds to it.
        end: The same after that.
        added: Modules whose output is added behind the MLP's.
        scale: Buffer that the stream is multiplied by last.
    """

    attn_norm: str = ""
    mlp_norm: str = ""
    multiplier: str = ""
    start: str = ""
    middle: str = ""
    end: str = ""
    added: tuple[str, ...] = ()
    scale: str = ""


@dataclass(frozen=True)
class Embedding:
    """From token ids to what the first block takes: paths lie below the base model, and what is not there is passed over.

    Attributes:
        scale: What the module itself multiplies its weights by: "" for 1, "root" for the root of its width, or a setting that
            says whether it does so.
        factor: Setting that its output is multiplied by.
        through: Linear map that it goes through.
        added: Modules whose output is added to it.
        norm: Norm behind all of them.
        finds_padding: Whether the model finds the position of a token by counting those before it that fill up no text.
    """

    scale: str = ""
    factor: str = ""
    through: str = ""
    added: tuple[str, ...] = ()
    norm: str = ""
    finds_padding: bool = False


@dataclass(frozen=True)
class Rules:
    """Everything that a proof has to know of a family beside where its sites are.

    Attributes:
        activation: Setting that names the nonlinearity of the MLP; with "=" before it, its name itself.
        heads: How `attn_qkv` is ordered.
        key_heads: Setting that says how many heads of keys there are, where it is not as many as heads of queries.
        clip: Setting by which queries, keys and values are clipped, if it is set.
        stream: How the residual stream goes on.
        streams: The same where a setting has a value: (setting, value) -> stream.
        embedding: What becomes of the token embeddings.
    """

    activation: str = "hidden_act"
    heads: HeadOrder = "parts"
    key_heads: str = "num_key_value_heads"
    clip: str = ""
    stream: Stream = field(default_factory=Stream)
    streams: Mapping[tuple[str, Any], Stream] = field(default_factory=dict)
    embedding: Embedding = field(default_factory=Embedding)

    def stream_of(self, config: Any) -> Stream:
        """How the stream goes on in a model with this configuration.

        Example:
            >>> from types import SimpleNamespace
            >>> rules = Rules(streams={("post_norm", True): Stream(end="norm")})
            >>> rules.stream_of(SimpleNamespace(post_norm=True)).end
            'norm'
        """
        for (name, value), stream in self.streams.items():
            if setting(config, name) == value:
                return stream
        return self.stream

    def n_key_heads(self, config: Any) -> int:
        """Heads of keys and values in a model with this configuration.

        Example:
            >>> from types import SimpleNamespace
            >>> Rules().n_key_heads(SimpleNamespace(num_attention_heads=8, num_key_value_heads=2))
            2
        """
        # Falcon counts heads of keys where it has one for all
        if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
            return 1
        return int(setting(config, self.key_heads) or config.num_attention_heads)


def setting(config: Any, name: str) -> Any:
    """A setting of a configuration by its path; None where it is not there.

    Example:
        >>> from types import SimpleNamespace
        >>> setting(SimpleNamespace(attention=SimpleNamespace(clip=8)), "attention.clip")
        8
    """
    for part in filter(None, name.split(".")):
        config = getattr(config, part, None)
    return config if name else None


#: Most families: attention and MLP add to the stream as they are.
PLAIN = Rules()
