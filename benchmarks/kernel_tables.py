"""Tables and the figure of the kernels, from their result files; `python -m benchmarks.kernel_tables` draws the figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.markdown import markdown, spread

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "kernels.svg"


def _cell(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["n_texts"], row["n_concepts"], row["dtype"], row["shape"], f"{row['prevalence']:.0%}"


_CELL_HEAD = ("texts", "concepts", "dtype", "values", "positive")


_TORCHMETRICS = ("torchmetrics loop", "torchmetrics multilabel")


def _matrix(result: Mapping[str, Any]) -> str:
    """Columns of torchmetrics only where one of the cells has them."""
    rows = []
    others = [name for name in _TORCHMETRICS if any(name in row["peer_over_actlas"] for row in result["rows"])]
    for row in result["rows"]:
        ratios = row["peer_over_actlas"]
        cells = (f"{row['ns_per_cell']['actlas']:.3f}", spread(ratios["scikit-learn loop"], 0), row["best_torch"])
        peers = (
            spread(ratios[row["best_torch"]], 1),
            spread(ratios["torch plain"], 1),
            spread(ratios["numpy positives"], 1),
            *(spread(ratios[name], 0) if name in ratios else "-" for name in others),
        )
        rows.append(
            (*_cell(row), *cells, *peers, f"{row['time_over_copy']:.0f}", f"{max(row['largest_difference'].values()):.0e}")
        )
    head = (
        *_CELL_HEAD,
        "ns per value and concept",
        "scikit-learn loop",
        "best torch",
        "its time",
        "plain torch",
        "numpy",
        *others,
        "copy",
        "difference",
    )
    return markdown(head, rows)


def _statistics(result: Mapping[str, Any]) -> str:
    names = ("nine defaults", "auroc", "mean", "std", "median", "best_f1", "ap_anti")
    rows = [(*_cell(row), *(f"{row['time_over_ap'][name]['median']:.2f}" for name in names)) for row in result["rows"]]
    return markdown((*_CELL_HEAD, *names), rows)


def _auroc(result: Mapping[str, Any]) -> str:
    peers = list(result["rows"][0]["peer_over_actlas"])
    rows = [
        (
            *_cell(row),
            f"{row['ns_per_cell']['actlas']:.3f}",
            *(spread(row["peer_over_actlas"][name], 1 if name in ("scipy ranks", "torch ranks") else 0) for name in peers),
            f"{max(row['largest_difference'].values()):.0e}",
        )
        for row in result["rows"]
    ]
    return markdown((*_CELL_HEAD, "ns per value and concept", *peers, "difference"), rows)


def _threads(result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        rows += [
            (
                *_cell(row),
                n,
                spread(speed, 2),
                spread(row["processes_over_one_thread"], 2) if int(n) == row["n_processes"] else "-",
            )
            for n, speed in row["speed_over_one_thread"].items()
            if n != "1"
        ]
    return markdown((*_CELL_HEAD, "threads", "speed / one thread's", "as many processes"), rows)


def _parts(result: Mapping[str, Any]) -> str:
    rows = [(row["step"], f"{row['us_per_neuron']:.2f}", f"{row['share']['median']:.0%}") for row in result["rows"]]
    return markdown(("step", "microseconds per neuron", "share of average precision"), rows)


def _full(result: Mapping[str, Any]) -> str:
    """Cells of the crossed matrix by dtype and shape: lowest, median and highest ratio over texts, concepts and prevalence."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["dtype"], row["shape"]), []).append(row)

    def over_cells(cells: list[Mapping[str, Any]], peer: str | None) -> str:
        ratios = sorted(row["peer_over_actlas"][peer or row["best_torch"]]["median"] for row in cells)
        return f"{statistics.median(ratios):,.0f} ({ratios[0]:,.1f} to {ratios[-1]:,.0f})"

    rows = [
        (*key, len(cells), over_cells(cells, "scikit-learn loop"), over_cells(cells, None), over_cells(cells, "numpy positives"))
        for key, cells in sorted(groups.items())
    ]
    heading = f"{len(result['rows'])} of {result['settings']['n_cells']} cells, chosen at random:\n\n"
    return heading + markdown(("dtype", "values", "cells", "scikit-learn loop", "best torch", "numpy"), rows)


def _costs(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["shape"],
            ", ".join(row["stats"]),
            f"{row['prevalence']:.1%}",
            *(spread(row["time_over_chosen"][way], 2) for way in ("sparse", "dense")),
        )
        for row in result["rows"]
    ]
    return markdown(("values", "statistics", "positive", "sparse / chosen", "dense / chosen"), rows)


def _checkpoint(result: Mapping[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [
        (
            f"{row['n_neurons']:,}",
            row["n_texts"],
            row["n_concepts"],
            f"{row['seconds']:.0f} s",
            f"{row['peak_bytes'] / 2**30:.2f} GiB",
            f"{row['scikit_learn_seconds_extrapolated'] / 3600:,.0f} h",
            f"{row['scikit_learn_over_actlas']:,.0f}",
        )
        for row in result["rows"]
    ]
    head = ("neurons", "texts", "concepts", "time", "peak memory", "scikit-learn loop, extrapolated, one core", "ratio")
    return markdown(head, rows)


def _registers(result: Mapping[str, Any]) -> str:
    rows = [
        (
            row["name"],
            f"{row['ns_per_cell']['with AVX-512']:.3f}",
            f"{row['ns_per_cell']['without']:.3f}",
            spread(row["ratio"], 2),
        )
        for row in result["rows"]
    ]
    return markdown(("what", "with: ns per value and concept", "without", "time without / with"), rows)


def _gpu(result: Mapping[str, Any]) -> str:
    rows = [
        (
            *_cell(row),
            f"{row['milliseconds']['moments']:.2f}",
            f"{row['moments_share_of_copy_bandwidth']:.0%}",
            f"{row['milliseconds']['ap']:.1f}",
            f"{row['torch_over_actlas']:.1f}",
        )
        for row in result["rows"]
    ]
    return markdown((*_CELL_HEAD, "moments ms", "share of copy", "ap ms", "torch.sort route / ap"), rows)


def _predicted(result: Mapping[str, Any]) -> str:
    rates = list(result["rows"][0]["milliseconds"])
    rows = [
        (
            row["what"],
            f"{row['n_neurons']:,} x {row['n_texts']:,} x {row['n_concepts']}",
            row["dtype"],
            f"{row['least_bytes'] / 1e9:.2f}",
            f"{row['main_memory_bytes'] / 1e9:.2f}",
            *(f"{row['milliseconds'][rate]:.2f}, {row['bound_by'][rate]}" for rate in rates),
            *(f"{row['goal_milliseconds'][rate]:.2f}" for rate in rates),
        )
        for row in result["rows"]
    ]
    ours, goals = ([f"{what} at {rate}" for rate in rates] for what in ("predicted ms", "goal ms"))
    return markdown(("what", "neurons x texts x concepts", "dtype", "values, GB", "moved, GB", *ours, *goals), rows)


def _resources(result: Mapping[str, Any]) -> str:
    """Variants by what tells them apart; instructions of the main loop for one warp."""
    kinds = ("tensor core", "global", "shared", "conversion", "float", "integer and other", "barrier")
    rows = []
    for row in result["rows"]:
        loop = row.get("inner_loop", {})
        rows.append(
            (
                row["variant"].replace("moments_kernel", "moments").replace("_kernel", ""),
                row["target"],
                row["registers"],
                f"{row['spill_stores']} / {row['spill_loads']}",
                f"{row['shared']:,}",
                f"{row['programs']} x {row['warps']}" if "programs" in row else f"- x {row['warps']}",
                " / ".join(str(loop.get(kind, 0)) for kind in kinds) if loop else "-",
            )
        )
    head = ("kernel", "for", "registers", "spilled", "shared memory", "programs x warps", f"loop: {', '.join(kinds)}")
    return markdown(head, rows)


def _tiles(result: Mapping[str, Any]) -> str:
    rows = [
        (
            {"*fp16": "float16", "*fp32": "float32"}[row["values"]],
            " x ".join(map(str, row["tile"])) + (", taken" if row["is_shipped"] else ""),
            row["warps"],
            row["registers"],
            f"{row['spill_stores']} / {row['spill_loads']}",
            row["resident_warps"],
            f"{row['instructions']:.2f}",
        )
        for row in result["rows"]
    ]
    head = ("values", "neurons x texts x columns", "warps", "registers", "spilled, bytes", "warps beside each other")
    return markdown((*head, "instructions per value and 64 columns"), rows)


KERNEL_TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "kernels": _matrix,
    "kernels_narrow": _matrix,
    "kernels_torchmetrics": _matrix,
    "kernels_full": _full,
    "kernels_auroc": _auroc,
    "kernels_parts": _parts,
    "kernels_statistics": _statistics,
    "kernels_threads": _threads,
    "kernels_costs": _costs,
    "kernels_checkpoint": _checkpoint,
    "kernels_registers": _registers,
    "kernels_gpu": _gpu,
    "gpu_resources": _resources,
    "gpu_tiles": _tiles,
    "gpu_predicted": _predicted,
}


def draw() -> Path:
    """Time per value and concept against the number of texts, both logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "actlas"
    import matplotlib.pyplot as plt

    rows = json.loads((RESULTS / "kernels.json").read_text())["rows"]
    centre = {"n_concepts": 20, "dtype": "float16", "shape": "gaussian", "prevalence": 0.05}
    # one row for each number of texts: the first
    row_of = {row["n_texts"]: row for row in reversed(rows) if all(row[key] == value for key, value in centre.items())}
    line = [row_of[n_texts] for n_texts in sorted(row_of)]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name in line[0]["ns_per_cell"]:
        points = [(row["n_texts"], row["ns_per_cell"][name]) for row in line if name in row["ns_per_cell"]]
        style = {"linewidth": 2.5, "color": "black"} if name == "actlas" else {"linewidth": 1.2}
        axes.loglog(*zip(*points, strict=True), marker="o", label=name, **style)
    axes.set_xlabel("texts")
    axes.set_ylabel("ns per value and concept")
    axes.set_title("Average precision, 20 concepts, 5 % positive, float16, one thread", fontsize=10)
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    return FIGURE


if __name__ == "__main__":
    print(draw())
