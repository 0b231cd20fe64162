"""The GPU engine against a copy of the same bytes and against torch.sort, on one CUDA device.

    python -m benchmarks.gpu.bench_gpu [--neurons 200000] [--texts 10000] [--concepts 50] [--matrix]

Times are medians of `triton.testing.do_bench`. Bandwidth is that of the values read once, over the bandwidth of copying them
(bytes read and written) in the same run. Results are compared with the cpu backend (the reference where there is no numba) on
the timed arrays, a sample of neurons, before any figure is printed. The torch.sort route works on as many of the neurons as its
intermediate results leave room for. Where they can be imported, cuML's AUROC (one call per neuron and concept, on a few of both)
and cupy's sort of the values stand beside ours; figures of what is not installed are null.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from actlas.errors import BackendUnavailable
from actlas.kernels import DEFAULT_STATS, concept_scores, prepare_labels
from actlas.kernels.gpu.device import DeviceLabels, require_gpu
from actlas.kernels.gpu.moments import moments
from benchmarks.harness import save

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
TOLERANCE = 1e-6
#: cuML computes in float32.
FLOAT32_TOLERANCE = 1e-5
NOT_INSTALLED = "not installed"


def make(shape: str, n_neurons: int, n_texts: int, dtype: str) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(0)
    values = torch.empty((n_neurons, n_texts), dtype=DTYPES[dtype], device="cuda")
    for start in range(0, n_neurons, 4096):
        x = torch.randn((min(4096, n_neurons - start), n_texts), generator=generator, device="cuda")
        if shape == "gelu":
            x = torch.nn.functional.gelu(x)
        elif shape == "relu90":
            x = (x - 1.2816).relu()
        elif shape == "ties":
            x = (x * 4).round() / 4
        values[start : start + 4096] = x.to(values.dtype)
    return values


def torch_route(values: torch.Tensor, is_concept: torch.Tensor) -> torch.Tensor:
    """One torch.sort per neuron, labels in rank order, running sums."""
    ranked, text = torch.sort(values, dim=1, descending=True)
    n_texts = values.shape[1]
    place = torch.arange(1, n_texts + 1, device=values.device, dtype=torch.int32)
    is_end = torch.ones(ranked.shape, dtype=torch.bool, device=values.device)
    torch.ne(ranked[:, 1:], ranked[:, :-1], out=is_end[:, :-1])
    end = torch.where(is_end, place, n_texts).flip(1).cummin(1).values.flip(1)
    scores = []
    for y in is_concept.T:
        label = y[text]
        n_found = label.cumsum(1, dtype=torch.int32).gather(1, (end - 1).long())
        scores.append((label * (n_found / end)).sum(1) / y.sum())
    return torch.stack(scores, dim=1)


def installed(name: str) -> str:
    """The package's version, or that it is not there; distributions carry the CUDA version in their names, modules do not."""
    return str(import_module(name).__version__) if find_spec(name) else NOT_INSTALLED


def cuml_auroc(values: torch.Tensor, is_concept: torch.Tensor) -> dict[str, float | str | None]:
    """Time of cuML's AUROC over ours per neuron and concept; null where cuML is missing or its numbers are others than ours."""
    if not find_spec("cuml"):
        return {"cuml": NOT_INSTALLED, "cuml_auroc_over_actlas": None, "largest_difference_to_cuml": None}
    metrics = import_module("cuml.metrics")
    rows = values[:4].float()  # it takes no 16-bit values; made outside what is timed
    labels = is_concept.T[:4].to(torch.int32).contiguous()

    def theirs() -> list[list[float]]:
        return [[float(metrics.roc_auc_score(y, row)) for y in labels] for row in rows]

    ours = concept_scores(values, is_concept, ("auroc",), backend="gpu")["auroc"]
    difference = float(np.abs(np.array(theirs()) - ours[: len(rows), : len(labels)].cpu().numpy()).max())
    ratio = None
    if difference <= FLOAT32_TOLERANCE:
        each = milliseconds(theirs) / (len(rows) * len(labels))
        ratio = each / (milliseconds(lambda: concept_scores(values, is_concept, ("auroc",), backend="gpu")) / ours.numel())
    return {"cuml": installed("cuml"), "cuml_auroc_over_actlas": ratio, "largest_difference_to_cuml": difference}


def cupy_sort(values: torch.Tensor, ap_milliseconds: float) -> dict[str, float | str | None]:
    """Time of cupy's sort of the values alone, which any way by sorting begins with, over that of all average precisions."""
    if not find_spec("cupy"):
        return {"cupy": NOT_INSTALLED, "cupy_sort_over_actlas_ap": None}
    cupy = import_module("cupy")
    rows = cupy.asarray(values.float() if values.dtype == torch.bfloat16 else values)
    if not np.array_equal(cupy.asnumpy(cupy.sort(rows[:4], axis=1)), np.sort(cupy.asnumpy(rows[:4]), axis=1)):
        return {"cupy": installed("cupy"), "cupy_sort_over_actlas_ap": None}
    return {
        "cupy": installed("cupy"),
        "cupy_sort_over_actlas_ap": milliseconds(lambda: cupy.sort(rows, axis=1)) / ap_milliseconds,
    }


def milliseconds(call: Callable[[], object]) -> float:
    from triton.testing import do_bench

    return float(do_bench(call, warmup=50, rep=300, return_mode="median"))


def copy_milliseconds(values: torch.Tensor) -> float:
    target = torch.empty_like(values)
    return milliseconds(lambda: target.copy_(values))


def device_bytes(call: Callable[[], object]) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def check(values: torch.Tensor, is_concept: torch.Tensor, scores: dict[str, torch.Tensor]) -> float:
    rows = torch.arange(0, len(values), max(1, len(values) // 64), device=values.device)
    twin = "cpu" if find_spec("numba") else "reference"
    expected = concept_scores(values[rows].cpu(), is_concept.cpu(), tuple(scores), backend=twin)
    worst = 0.0
    for stat, numbers in expected.items():
        scale = max(1.0, float(np.abs(numbers).max()))
        worst = max(worst, float(np.abs(scores[stat][rows].cpu().numpy() - numbers).max()) / scale)
    if not worst <= TOLERANCE:
        raise SystemExit(f"differs from the {twin} backend by {worst}; no figure is given")
    return worst


def measure(shape: str, dtype: str, n_neurons: int, n_texts: int, n_concepts: int, prevalence: float) -> dict[str, Any]:
    values = make(shape, n_neurons, n_texts, dtype)
    is_concept = torch.rand((n_texts, n_concepts), device="cuda", generator=torch.Generator("cuda").manual_seed(1)) < prevalence
    is_concept[0], is_concept[1] = True, False
    worst = check(values, is_concept, concept_scores(values, is_concept, DEFAULT_STATS, backend="gpu"))
    copy = copy_milliseconds(values)
    bandwidth = 2 * values.nbytes / copy
    labels = DeviceLabels.of(prepare_labels(is_concept), values.device)
    times = {
        "moments": milliseconds(lambda: moments(values, labels.columns, 0.0)),
        "ap": milliseconds(lambda: concept_scores(values, is_concept, ("ap",), backend="gpu")),
        "nine statistics": milliseconds(lambda: concept_scores(values, is_concept, DEFAULT_STATS, backend="gpu")),
    }
    few = values[: max(1, min(n_neurons, int(2e8) // n_texts))]
    times["torch.sort route, scaled"] = milliseconds(lambda: torch_route(few, is_concept)) * n_neurons / len(few)
    theirs, ours = torch_route(few, is_concept), concept_scores(few, is_concept, ("ap",), backend="gpu")["ap"]
    return {
        "shape": shape,
        "dtype": dtype,
        "n_neurons": n_neurons,
        "n_texts": n_texts,
        "n_concepts": n_concepts,
        "prevalence": prevalence,
        "milliseconds": times,
        "copy_bytes_per_second": bandwidth * 1e3,
        "moments_share_of_copy_bandwidth": values.nbytes / times["moments"] / bandwidth,
        "torch_over_actlas": times["torch.sort route, scaled"] / times["ap"],
        "largest_difference": worst,
        "largest_difference_to_torch": float((theirs - ours).abs().max()),
        **cuml_auroc(few, is_concept),
        **cupy_sort(few, times["ap"] * len(few) / n_neurons),
        "device_bytes_beyond_values": device_bytes(lambda: concept_scores(values, is_concept, ("ap",), backend="gpu")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("neurons", 200_000), ("texts", 10_000), ("concepts", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--matrix", action="store_true", help="dtypes, shapes and prevalences too")
    options = parser.parse_args()
    try:
        device = require_gpu()
    except BackendUnavailable as error:
        raise SystemExit(f"not run on a GPU: {error}") from error
    if device.type != "cuda":
        raise SystemExit("not run on a GPU: TRITON_INTERPRET is set, and the interpreter's speed means nothing")
    size = (options.neurons, options.texts, options.concepts)
    cases = [("gaussian", "float16", *size, 0.05)]
    if options.matrix:
        cases += [("gaussian", dtype, *size, 0.05) for dtype in ("bfloat16", "float32")]
        cases += [(shape, "float16", *size, 0.05) for shape in ("gelu", "relu90", "ties")]
        cases += [("gaussian", "float16", *size, prevalence) for prevalence in (0.01, 0.5)]
        cases += [
            ("gaussian", "float16", options.neurons // 10, n_texts, options.concepts, 0.05) for n_texts in (1000, 20000, 100_000)
        ]
    rows = []
    for case in cases:
        rows.append(measure(*case))
        print(rows[-1], flush=True)
        torch.cuda.empty_cache()
    settings = {
        "gpu": torch.cuda.get_device_name(),
        "cuml": installed("cuml"),
        "cupy": installed("cupy"),
        "clock": "do_bench median",
    }
    print(save("kernels_gpu", settings, rows))


if __name__ == "__main__":
    main()
