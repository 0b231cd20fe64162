"""Trains the demo's model: a small XGLM on documents of the demo corpus, with checkpoints in a folder each."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, XGLMConfig, XGLMForCausalLM
from transformers.utils.logging import disable_progress_bar

from actlas.demo.corpus import DEMO_LANGUAGES, DocumentKind, DocumentSampler, Meaning, split_meanings
from actlas.demo.settings import CONDITIONS, Condition
from actlas.errors import OptionError

#: What tells the model from its control: the documents, and nothing else.
DOCUMENT_SHARES: Mapping[Condition, dict[DocumentKind, float]] = {
    "multi": {"para": 0.5, "mixed": 0.5},
    "mono": {"mono": 1.0},
}
BOS, PAD, EOS = "<s>", "<pad>", "</s>"
POSITIONS = 128
#: Written last: a folder that holds it holds every checkpoint.
SUMMARY_FILE = "training.json"


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights.

    Attributes:
        condition: "multi" for documents that mix languages, "mono" for the control.
        checkpoints: Steps at which weights are saved; the last one ends the training.
        seed: Seed of the weights, the documents and the choice of held-out meanings.
        max_tokens: Documents are cut to this length.
        shares: Kind of document -> how often it is drawn, relative to the others; None for those of the condition.
    """

    condition: Condition = "multi"
    languages: tuple[str, ...] = DEMO_LANGUAGES
    checkpoints: tuple[int, ...] = (0, 64, 128, 256, 384, 512, 768, 1024)
    width: int = 96
    layers: int = 3
    heads: int = 4
    vocabulary: int = 1200
    learning_rate: float = 4e-3
    warm_up: int = 50
    weight_decay: float = 0.01
    dropout: float = 0.1
    batch: int = 32
    max_tokens: int = 48
    seed: int = 0
    shares: Mapping[DocumentKind, float] | None = None

    def __post_init__(self) -> None:
        if self.condition not in DOCUMENT_SHARES:
            raise OptionError(f"condition {self.condition!r} is not known; choose one of {', '.join(DOCUMENT_SHARES)}")
        if not self.checkpoints or list(self.checkpoints) != sorted(set(self.checkpoints)):
            raise OptionError(f"checkpoints must be rising steps, not {self.checkpoints}")

    @property
    def document_shares(self) -> dict[DocumentKind, float]:
        """`shares`, or those of the condition."""
        return dict(self.shares or DOCUMENT_SHARES[self.condition])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return json.loads(json.dumps({**asdict(self), "shares": self.document_shares}))  # type: ignore[no-any-return]


def is_trained(folder: Path, settings: TrainingSettings) -> bool:
    """Whether `folder` already holds every checkpoint of a training with exactly these settings."""
    summary = folder / SUMMARY_FILE
    return summary.is_file() and json.loads(summary.read_text())["settings"] == settings.to_json()


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that puts the start token before every text.

    Args:
        texts: What merges are learnt from.
        vocabulary: Number of tokens, 3 special ones and 256 bytes included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, pad_token=PAD, eos_token=EOS, model_max_length=POSITIONS
    )


def build_model(settings: TrainingSettings, tokenizer: PreTrainedTokenizerFast) -> XGLMForCausalLM:
    """The untrained model; its weights depend on the seed alone, so model and control start from the same ones."""
    torch.manual_seed(settings.seed)
    config = XGLMConfig(
        vocab_size=len(tokenizer),
        d_model=settings.width,
        ffn_dim=4 * settings.width,
        num_layers=settings.layers,
        attention_heads=settings.heads,
        dropout=settings.dropout,
        attention_dropout=0.0,
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    return XGLMForCausalLM(config)


class _Batches:
    """Documents as padded token ids, and where their tokens are."""

    def __init__(self, settings: TrainingSettings, meanings: Sequence[Meaning], tokenizer: PreTrainedTokenizerFast) -> None:
        self._settings = settings
        self._documents = DocumentSampler(meanings, settings.languages, settings.document_shares, settings.seed + 1)
        self._start = [tokenizer.bos_token_id]
        self._end = [tokenizer.eos_token_id]
        self._pad = tokenizer.pad_token_id
        # each sentence is drawn many times, so it is encoded once
        self._ids: dict[str, dict[Meaning, list[int]]] = {}
        for language in settings.languages:
            encoded = tokenizer([meaning.text(language) for meaning in meanings], add_special_tokens=False)
            self._ids[language] = dict(zip(meanings, encoded["input_ids"], strict=True))

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        documents = [self._draw_document() for _ in range(self._settings.batch)]
        longest = max(map(len, documents))
        ids = torch.tensor([document + [self._pad] * (longest - len(document)) for document in documents])
        is_token = torch.tensor([[1] * len(document) + [0] * (longest - len(document)) for document in documents])
        return ids, is_token

    def _draw_document(self) -> list[int]:
        tokens = [token for meaning, language in self._documents.draw() for token in self._ids[language][meaning]]
        return (self._start + tokens + self._end)[: self._settings.max_tokens]


def train(folder: Path | str, settings: TrainingSettings, progress: Callable[[str], None] = lambda line: None) -> None:
    """Trains one model and saves ``step<n>/`` with weights and tokenizer at every checkpoint.

    The same settings give the same weights on the same machine. A folder that is already complete is left as it is.

    Args:
        folder: Where checkpoints go; made where missing.
        settings: What to train.
        progress: Called with a line at every checkpoint.
    """
    folder = Path(folder)
    if is_trained(folder, settings):
        progress(f"{settings.condition}: already trained in {folder}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMMARY_FILE).unlink(missing_ok=True)
    training, _ = split_meanings(settings.seed)
    # every second sentence is enough for 1,200 merges and halves the time
    tokenizer = train_tokenizer(
        [meaning.text(language) for meaning in training[::2] for language in settings.languages], settings.vocabulary
    )
    model = build_model(settings, tokenizer)
    batches = _Batches(settings, training, tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98), fused=True
    )
    last = settings.checkpoints[-1]
    losses: dict[str, float | None] = {}
    recent: list[float] = []
    model.train()
    for step in range(last + 1):
        if step in settings.checkpoints:
            model.save_pretrained(folder / f"step{step}")
            tokenizer.save_pretrained(folder / f"step{step}")
            losses[str(step)] = sum(recent) / len(recent) if recent else None
            progress(f"{settings.condition}: step {step:4d} of {last}" + (f", loss {losses[str(step)]:.3f}" if recent else ""))
            recent.clear()
        if step < last:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (step + 1) / settings.warm_up)
            recent.append(_update(model, optimizer, *batches.draw()))
    _write_summary(folder, settings, model, losses)


def _update(model: XGLMForCausalLM, optimizer: torch.optim.Optimizer, ids: torch.Tensor, is_token: torch.Tensor) -> float:
    hidden = model.model(input_ids=ids, attention_mask=is_token, use_cache=False).last_hidden_state
    has_next = is_token[:, 1:].bool()
    # a third of a batch is padding, and no loss is taken there: its logits are not computed
    loss = functional.cross_entropy(model.lm_head(hidden[:, :-1][has_next]), ids[:, 1:][has_next])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _write_summary(folder: Path, settings: TrainingSettings, model: XGLMForCausalLM, losses: Mapping[str, float | None]) -> None:
    import transformers

    summary = {
        "settings": settings.to_json(),
        "mean_loss_before_checkpoint": losses,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    partial = folder / f"{SUMMARY_FILE}.partial"
    partial.write_text(json.dumps(summary, indent=1))
    os.replace(partial, folder / SUMMARY_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m actlas.demo.train``: one model, with one thread, its progress as lines on standard error."""
    parser = argparse.ArgumentParser(prog="python -m actlas.demo.train", description="Train one model of the demo.")
    parser.add_argument("--condition", "--kind", choices=CONDITIONS, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    disable_progress_bar()  # a bar per written file would hide the lines of progress
    train(options.out, TrainingSettings(condition=options.condition, seed=options.seed), logging.getLogger("actlas.demo").info)
    return 0


if __name__ == "__main__":
    sys.exit(main())
