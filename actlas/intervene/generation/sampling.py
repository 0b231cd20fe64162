"""Texts that a model writes, drawn so that a seed gives the same draws in every arm, batch and device.

Each token is chosen by one number between 0 and 1: the place in the cumulated probabilities of the vocabulary, in order of token
ids. The numbers of a text follow from its seed and prompt alone. So texts of one seed in two arms stay alike for as long as the
model's probabilities do, and what differs is what was forced (common random numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from actlas.errors import OptionError
from actlas.intervene.generation.settings import Sampling, TextPlan
from actlas.intervene.steering import steer
from actlas.names import How, Position

if TYPE_CHECKING:
    from actlas.intervene.live import LiveModel

#: Probabilities in memory at a time, and most texts of a batch.
_BATCH_PROBABILITIES, _BATCH_TEXTS = 1 << 25, 512

#: Called with the number of texts' worth of tokens that were written since the last call.
Written = Callable[[int], None]


@dataclass(frozen=True)
class _Start:
    """What a text begins with where nothing is asked, and what ends and pads it."""

    token: int
    ends: tuple[int, ...]
    pad: int

    @classmethod
    def of(cls, live: LiveModel) -> _Start:
        tokenizer, config = live.tokenizer, live.model.generation_config
        eos = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
        ends = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else next(iter(ends), None)
        if first is None:
            raise OptionError(
                f"the tokenizer of {live.checkpoint} has no start and no end token for a text to begin with; give prompts"
            )
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), first)
        return cls(int(first), ends, int(pad))


def start_token(live: LiveModel) -> str:
    """The token that a text without a prompt goes on from: the tokenizer's start token, or its end token where it has no start.

    Raises:
        OptionError: If it has neither.
    """
    return str(live.tokenizer.convert_ids_to_tokens(_Start.of(live).token))


def usual_batch(live: LiveModel) -> int:
    """Texts side by side whose probabilities memory should bear."""
    vocabulary = int(live.model.config.get_text_config().vocab_size)
    return max(1, min(_BATCH_TEXTS, _BATCH_PROBABILITIES // vocabulary))


def write_texts(
    live: LiveModel,
    plans: Sequence[TextPlan],
    sampling: Sampling | None = None,
    *,
    how: How = "set",
    position: Position = "all",
    strength: float = 1.0,
    batch: int | None = None,
    written: Written | None = None,
) -> pl.DataFrame:
    """Let a model write texts, each with neurons of its own forced.

    Args:
        live: The model.
        plans: The texts; those of one batch run side by side, whatever is forced in each.
        sampling: How tokens are drawn; None for the usual.
        how: As in `steer`.
        position: As in `steer`.
        strength: As in `steer`.
        batch: Texts of a batch; None for as many as memory should bear.
        written: Called after every step.

    Returns:
        Columns text (without the prompt), n_tokens (of it; the token that ends it does not count), is_finished (whether it ended
        by itself); one row per plan, in their order.

    Raises:
        OptionError: If a prompt leaves no room for the text in the model's context, or the tokenizer has nothing to begin with.
    """
    sampling, start = sampling or Sampling(), _Start.of(live)
    prompts = {prompt: _prompt_ids(live, prompt, start) for prompt in {plan.prompt for plan in plans}}
    _check_room(live, prompts, sampling)
    size = batch or usual_batch(live)
    # prompts of a length together: less padding
    order = sorted(range(len(plans)), key=lambda number: len(prompts[plans[number].prompt]))
    rows: list[tuple[str, int, bool]] = [("", 0, False)] * len(plans)
    with live.inference(), _plain_generation(live.model, start):
        for first in range(0, len(order), size):
            numbers = order[first : first + size]
            own = [plans[number] for number in numbers]
            with steer(live, [plan.frame for plan in own], how, position, strength):
                ids = _new_tokens(live, own, [prompts[plan.prompt] for plan in own], sampling, start, written)
            for number, row in zip(numbers, ids, strict=True):
                end = next((place for place, token in enumerate(row) if token in start.ends), None)
                text = live.tokenizer.decode(row[:end], skip_special_tokens=True)
                rows[number] = (text, len(row[:end]), end is not None)
    return pl.DataFrame(rows, schema={"text": pl.String, "n_tokens": pl.Int32, "is_finished": pl.Boolean}, orient="row")


def _prompt_ids(live: LiveModel, prompt: str | None, start: _Start) -> list[int]:
    """Tokens as the tokenizer has them, less an end token behind; the start token alone for no prompt."""
    ids = list(live.tokenizer(prompt)["input_ids"]) if prompt else []
    while ids and ids[-1] in start.ends:
        ids.pop()
    return ids or [start.token]


def _check_room(live: LiveModel, prompts: Mapping[str | None, list[int]], sampling: Sampling) -> None:
    room = getattr(live.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts.values()), default=0)
    if room is not None and longest + sampling.max_new_tokens > room:
        raise OptionError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones do not fit the {room:,} positions of "
            f"{live.checkpoint}; ask for {max(0, room - longest)} new tokens or fewer, or a shorter prompt"
        )


@contextmanager
def _plain_generation(model: Any, start: _Start) -> Iterator[None]:
    """Nothing that a checkpoint's own generation settings say (penalties, forced tokens) touches what is drawn."""
    own = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=start.token, eos_token_id=list(start.ends) or None, pad_token_id=start.pad
    )
    try:
        yield
    finally:
        model.generation_config = own


def _new_tokens(
    live: LiveModel,
    plans: Sequence[TextPlan],
    prompts: Sequence[list[int]],
    sampling: Sampling,
    start: _Start,
    written: Written | None,
) -> list[list[int]]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[start.pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=live.device)
    is_token = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=live.device)
    draws = torch.tensor(np.stack([plan.draws(sampling.max_new_tokens) for plan in plans]), device=live.device)
    chooser = _Chooser(draws, sampling, written)
    all_ids = live.model.generate(
        input_ids=ids,
        attention_mask=is_token,
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        logits_processor=LogitsProcessorList([chooser]),
    )
    chooser.tell_rest()
    return [row.tolist() for row in all_ids[:, longest:]]


class _Chooser(LogitsProcessor):  # type: ignore[misc]  # transformers is not typed
    """Leaves of each row's logits the token that its own number chooses.

    So the loop, its cache, masks and positions are those of `generate`, for every architecture that has one.
    """

    def __init__(self, draws: torch.Tensor, sampling: Sampling, written: Written | None) -> None:
        self._draws, self._sampling, self._written = draws, sampling, written
        self._step = self._told = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chosen = chosen_tokens(scores, self._draws[:, self._step], self._sampling)
        self._step += 1
        self._tell(len(scores) * self._step // self._draws.shape[1])
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def tell_rest(self) -> None:
        """All texts are done, also those that ended early."""
        self._tell(len(self._draws))

    def _tell(self, n_texts: int) -> None:
        if self._written is not None and n_texts > self._told:
            self._written(n_texts - self._told)
        self._told = n_texts


def chosen_tokens(logits: torch.Tensor, draws: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The token of each row that its number chooses.

    Args:
        logits: ``"rows tokens"``.
        draws: A number from 0 to 1, 1 excluded, per row.
        sampling: How.

    Example:
        >>> logits = torch.tensor([[0.1, 0.2, 0.7]]).log()
        >>> [chosen_tokens(logits, torch.tensor([draw]), Sampling(temperature=1.0)).item() for draw in (0.05, 0.25, 0.35, 0.999)]
        [0, 1, 2, 2]
        >>> chosen_tokens(logits, torch.tensor([0.0]), Sampling(temperature=1.0, top_p=0.6)).item()
        2
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # float32 would lose the end of a large vocabulary in the sum
    logits = logits.double() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        bar = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < bar, -torch.inf)
    shares = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        falling, order = shares.sort(dim=-1, descending=True, stable=True)
        is_needed = falling.cumsum(dim=-1) - falling < sampling.top_p
        shares = torch.zeros_like(shares).scatter_(1, order, falling * is_needed)
    sums = shares.cumsum(dim=-1)
    total = sums[:, -1:]
    # below the sum, however it was rounded, so that a token with a share is found
    wanted = torch.minimum(draws.double()[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, wanted, right=True)[:, 0]
