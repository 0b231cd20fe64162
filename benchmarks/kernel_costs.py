"""Measures `actlas.kernels.cpu.registers.Cost`: the constants by which the CPU engine chooses between its ways to rank."""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np

from actlas.kernels import concept_scores, prepare_labels
from actlas.kernels.cpu.engine import score_values
from actlas.kernels.cpu.plan import Plan
from actlas.kernels.inputs import HostValues
from benchmarks import kernel_peers
from benchmarks.harness import interleave, save

N_TEXTS, N_CONCEPTS = 4000, 64


def forced(plan: Plan, *, dense: bool) -> Plan:
    """The same plan with every group of concepts sent one way."""
    cost = np.full_like(plan.call.labels.sparse_cost, 1e12 if dense else 0.0)
    labels = plan.call.labels._replace(sparse_cost=cost, weigh_cost=0.0, end_cost=0.0)
    return Plan(plan.call._replace(labels=labels), plan.slots)


def score(host: HostValues, plan: Plan) -> dict[str, np.ndarray]:
    scores = {stat: np.empty((len(host.bits), N_CONCEPTS)) for stat in plan.slots}
    score_values(host, plan, scores, wide=False, threads=1)
    return scores


def run(options: argparse.Namespace) -> None:
    """Both ways over a range of prevalence: where they cross, and whether the choice by cost is the better one."""
    n_neurons = 100 if options.quick else 1000
    rows = []
    for shape in ("gaussian", "relu90"):
        values = kernel_peers.make_values(shape, n_neurons, N_TEXTS, "float16")
        host = HostValues.of(values)
        for stats in (("ap",), ("ap", "auroc")):
            for prevalence in (0.002, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5):
                labels = kernel_peers.make_labels(N_TEXTS, N_CONCEPTS, prevalence)
                plan = Plan.of(prepare_labels(labels), stats, 0.0)
                plans = {"chosen": plan, "sparse": forced(plan, dense=False), "dense": forced(plan, dense=True)}
                scores_by_way = [score(host, each) for each in plans.values()]
                expected = concept_scores(values[:2], labels, stats, backend="reference")
                if any(not np.abs(one[stat][:2] - expected[stat]).max() <= 1e-12 for one in scores_by_way for stat in stats):
                    raise SystemExit("the ways disagree; no figure is given")
                methods = {name: partial(score, host, each) for name, each in plans.items()}
                timings = interleave(methods, options.rounds, clock=time.thread_time)
                ratios = {name: timings[name].ratio_to(timings["chosen"]) for name in ("sparse", "dense")}
                rows.append({"shape": shape, "stats": list(stats), "prevalence": prevalence, "time_over_chosen": ratios})
                shown = {name: round(ratio["median"], 2) for name, ratio in ratios.items()}
                print(shape, stats, prevalence, "time over the chosen way's:", shown, flush=True)
    if not options.quick:
        settings = {"rounds": options.rounds, "n_texts": N_TEXTS, "n_concepts": N_CONCEPTS, "clock": "thread"}
        print(save("kernels_costs", settings, rows, threads=1))
