"""Questions: read the store, call the kernels, return polars frames.

Importing this loads no model library; numba and scikit-learn are loaded by the questions that need them.
"""

from actlas.query.atlas import Atlas, open_store
from actlas.query.experts import control_experts, top_experts
from actlas.query.lape import language_neurons
from actlas.query.overlap import expert_overlap, overlap_controls
from actlas.query.probe import probe_summary, train_probes
from actlas.query.schema import TABLES, Table
from actlas.query.scores import DEFAULT_STATS, score_neurons
from actlas.query.top_texts import neuron_texts, top_texts
from actlas.query.trajectory import first_shared, neuron_trajectory, rank_stability, shared_trajectory

__all__ = [
    "DEFAULT_STATS",
    "TABLES",
    "Atlas",
    "Table",
    "control_experts",
    "expert_overlap",
    "first_shared",
    "language_neurons",
    "neuron_texts",
    "neuron_trajectory",
    "open_store",
    "overlap_controls",
    "probe_summary",
    "rank_stability",
    "score_neurons",
    "shared_trajectory",
    "top_experts",
    "top_texts",
    "train_probes",
]
