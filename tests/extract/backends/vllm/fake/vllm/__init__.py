"""As much of vLLM as the backend touches, over played models: a folder for PYTHONPATH, where vLLM itself is not installed."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[6]))

from actlas.extract.backends.vllm.worker import ActlasWorker
from tests.extract.backends.vllm.played import HIDDEN, LAYERS, PlayedLlama
from vllm import distributed

#: What a test wants to go wrong.
FAULT = os.environ.get("FAKE_VLLM_FAULT", "")


class LlamaForCausalLM(PlayedLlama):
    """The name is what the backend goes by."""


class Worker(ActlasWorker):
    def __init__(self, rank, arguments):
        n_ranks = arguments["tensor_parallel_size"]
        self.rank, self.n_ranks = rank, n_ranks
        model = LlamaForCausalLM(rank, n_ranks)
        self.model_runner = SimpleNamespace(get_model=lambda: model)
        self.device = torch.device("cpu")
        name = SimpleNamespace(name="NONE")
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                enforce_eager=arguments["enforce_eager"],
                max_model_len=arguments["max_model_len"],
                dtype=getattr(torch, arguments["dtype"]),
                quantization=None,
                hf_text_config=SimpleNamespace(num_hidden_layers=LAYERS, hidden_size=HIDDEN),
            ),
            cache_config=SimpleNamespace(enable_prefix_caching=FAULT == "prefix", cache_dtype="auto"),
            scheduler_config=SimpleNamespace(
                enable_chunked_prefill=False,
                async_scheduling=False,
                max_num_batched_tokens=arguments["max_num_batched_tokens"] + (FAULT == "facts" and rank),
            ),
            parallel_config=SimpleNamespace(tensor_parallel_size=n_ranks, pipeline_parallel_size=1, data_parallel_size=1),
            compilation_config=SimpleNamespace(mode=name, cudagraph_mode=name),
            speculative_config=None,
            lora_config=None,
            kv_transfer_config=None,
        )

    def run(self, lists):
        if FAULT == "one rank" and self.rank:
            # this rank sees the texts one by one
            for ids in lists:
                self.forward([ids])
            return
        self.forward(lists)

    def forward(self, lists):
        model = self.model_runner.get_model()
        ids = torch.tensor([token for ids in lists for token in ids])
        model(ids, torch.cat([torch.arange(len(ids)) for ids in lists]))


class LLM:
    def __init__(self, **arguments):
        if FAULT == "start":
            raise RuntimeError("no memory for this model")
        print("a line that vLLM prints", flush=True)
        self.workers = [Worker(rank, arguments) for rank in range(arguments["tensor_parallel_size"])]

    def collective_rpc(self, method, args=()):
        answers = []
        for worker in self.workers:
            distributed.CURRENT = worker
            if FAULT == "rpc" and method == "actlas_begin":
                worker.actlas_reader = None
            answers.append(getattr(worker, method)(*args))
        return answers

    def generate(self, prompts, sampling, use_tqdm):
        if FAULT == "die":
            os._exit(7)
        for worker in self.workers:
            worker.run([prompt["prompt_token_ids"] for prompt in prompts])
        return prompts


class SamplingParams:
    def __init__(self, **_):
        pass
