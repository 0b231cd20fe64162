"""The run's end of an engine's process: what all of its ranks are asked, and whether they agree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actlas.errors import ExtractionError
from actlas.extract.backends.vllm.settings import engine_environment
from actlas.extract.backends.vllm.shared_block import SharedBlock
from actlas.extract.child import Child, error_from_json

#: Losses of ranks that both gather logits differ by no more than this, relative to the larger.
_LOSS_TOLERANCE = 1e-3


class EngineLink:
    """One engine in a process of its own.

    Args:
        arguments: Of `vllm.LLM`.

    Raises:
        ExtractionError: If the engine does not start; what it printed is kept in a file that the text names.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        environment = engine_environment(os.environ, int(arguments.get("tensor_parallel_size", 1)))
        self._child = Child(
            "actlas.extract.backends.vllm.engine", "the process of vLLM", environment=environment, log_name="actlas-vllm"
        )
        try:
            #: Versions and device, as the engine's process sees them.
            self.about: Mapping[str, Any] = self._child.ask("start", arguments=dict(arguments))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the engine's process and of its process group."""
        return self._child.pid

    @property
    def log(self) -> Path | None:
        """What the engine prints; the file is gone after `close` unless the engine failed."""
        return self._child.log

    def on_every_rank(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every rank's `ActlasWorker`.

        Returns:
            What each rank gives, by its number.

        Raises:
            ActlasError: What a rank raised.
        """
        answers: list[dict[str, Any]] = self._child.ask("on_every_rank", method=method, arguments=list(arguments))
        for rank, answer in enumerate(answers):
            if "error" in answer:
                raise error_from_json(answer["error"], f"rank {rank} of vLLM")
        return [answer["value"] for answer in answers]

    def begin(self, block: SharedBlock, dtype: str | None, sites: Sequence[str] | None = None) -> None:
        """Let the engine's process and all ranks read the texts of a block, once; see `FlatReader.begin`."""
        place = block.to_json()
        self._child.ask("begin", block=place)
        self.on_every_rank("actlas_begin", place, dtype, None if sites is None else list(sites))

    def generate(self, rows: Sequence[int]) -> None:
        """Run some texts of the block together."""
        self._child.ask("generate", rows=list(rows))

    def finish(self, block: SharedBlock) -> dict[str, Any]:
        """Let every rank write its neurons into the block.

        Returns:
            n_tokens, loss_sum, loss_tokens and n_passes of the block.

        Raises:
            ActlasError: What a rank raised.
            ExtractionError: If ranks saw different texts.
        """
        answers = self.on_every_rank("actlas_finish", block.to_json())
        totals = {name: agreed(answers, name) for name in ("n_tokens", "loss_tokens", "n_passes")}
        return {**totals, "loss_sum": gathered_loss(answers)}

    def close(self) -> None:
        """End the engine and every rank of it; returns when they are gone.

        Raises:
            ExtractionError: If something of it can not be ended.
        """
        self._child.close()


def agreed(answers: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What all ranks say alike.

    Args:
        answers: One per rank.
        name: Which entry of them is meant.

    Raises:
        ExtractionError: Naming the first rank that says something else than rank 0.

    Example:
        >>> agreed([{"n_passes": 2}, {"n_passes": 2}], "n_passes")
        2
    """
    expected = answers[0][name]
    for rank, answer in enumerate(answers):
        if answer[name] != expected:
            raise ExtractionError(
                f"ranks of vLLM do not agree: {name} is {expected!r} on rank 0 and {answer[name]!r} on rank {rank}; their "
                "neurons would not be those of the same texts"
            )
    return expected


def gathered_loss(answers: Sequence[Mapping[str, Any]]) -> float:
    """Sum of the losses of a block, from whichever ranks gather logits; 0 on those that do not.

    Raises:
        ExtractionError: If two ranks that do have different losses.

    Example:
        >>> gathered_loss([{"loss_sum": 2.5}, {"loss_sum": 0.0}])
        2.5
    """
    losses = [float(answer["loss_sum"]) for answer in answers if answer["loss_sum"]]
    if losses and max(losses) - min(losses) > _LOSS_TOLERANCE * max(losses):
        raise ExtractionError(f"ranks of vLLM do not agree: their losses are {', '.join(f'{loss:.4f}' for loss in losses)}")
    return losses[0] if losses else 0.0
