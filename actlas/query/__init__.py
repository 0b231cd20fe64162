"""Questions: read the store, call the kernels, return polars frames.

Importing this loads no model library; numba and scikit-learn are loaded by the questions that need them.
"""

from actlas.kernels.stats import DEFAULT_STATS
from actlas.query.atlas import Atlas, open_store
from actlas.query.imports import import_scores, read_selfcond
from actlas.query.lookups.checkpoints import (
    checkpoint_flags,
    same_weights,
)
from actlas.query.lookups.experts import (
    anti_experts,
    experts_by_layer,
    neuron_scores,
    random_experts,
    shared_experts,
    steering_mask,
)
from actlas.query.lookups.languages import (
    experts_in_sets,
    language_effects,
    language_experts,
    language_mask,
    lape_overlap,
    neuron_activity,
    set_effects,
    text_activity,
)
from actlas.query.lookups.probes import (
    probe_by_checkpoint,
    probe_class_accuracy,
    probe_intervals,
    probe_onset,
    probe_sharing,
)
from actlas.query.lookups.sharing import first_shared_by_concept, overlap_at, overlap_evidence, shared_by_layer
from actlas.query.lookups.thresholds import first_above, neurons_above
from actlas.query.measures.effective_rank import effective_rank
from actlas.query.probing.controls import probe_controls
from actlas.query.probing.probes import probe_classes, train_probes
from actlas.query.probing.summary import probe_summary
from actlas.query.probing.transfer import probe_transfer
from actlas.query.questions.experts import control_experts, top_experts
from actlas.query.questions.interventions.concept_probe import ConceptProbe, train_concept_probe
from actlas.query.questions.interventions.patching import patching_by_layer, patching_onset
from actlas.query.questions.interventions.steering import concept_rate, language_shift, steering_languages
from actlas.query.questions.lape import language_neurons
from actlas.query.questions.neuron_sets import import_neuron_sets, neuron_set_overlap
from actlas.query.questions.overlap import expert_overlap
from actlas.query.questions.overlap_controls import overlap_controls
from actlas.query.questions.overlap_tests import overlap_tests
from actlas.query.questions.scores import score_neurons
from actlas.query.questions.trajectory import first_shared, neuron_trajectory, rank_stability, shared_trajectory
from actlas.query.schema import TABLES, Table
from actlas.query.space.parameters import parameter_space
from actlas.query.texts.group_texts import group_texts, nearest_texts
from actlas.query.texts.top_texts import neuron_texts, top_texts

__all__ = [
    "DEFAULT_STATS",
    "TABLES",
    "Atlas",
    "ConceptProbe",
    "Table",
    "anti_experts",
    "checkpoint_flags",
    "concept_rate",
    "control_experts",
    "effective_rank",
    "expert_overlap",
    "experts_by_layer",
    "experts_in_sets",
    "first_above",
    "first_shared",
    "first_shared_by_concept",
    "group_texts",
    "import_neuron_sets",
    "import_scores",
    "language_effects",
    "language_experts",
    "language_mask",
    "language_neurons",
    "language_shift",
    "lape_overlap",
    "nearest_texts",
    "neuron_activity",
    "neuron_scores",
    "neuron_set_overlap",
    "neuron_texts",
    "neuron_trajectory",
    "neurons_above",
    "open_store",
    "overlap_at",
    "overlap_controls",
    "overlap_evidence",
    "overlap_tests",
    "parameter_space",
    "patching_by_layer",
    "patching_onset",
    "probe_by_checkpoint",
    "probe_class_accuracy",
    "probe_classes",
    "probe_controls",
    "probe_intervals",
    "probe_onset",
    "probe_sharing",
    "probe_summary",
    "probe_transfer",
    "random_experts",
    "rank_stability",
    "read_selfcond",
    "same_weights",
    "score_neurons",
    "set_effects",
    "shared_by_layer",
    "shared_experts",
    "shared_trajectory",
    "steering_languages",
    "steering_mask",
    "text_activity",
    "top_experts",
    "top_texts",
    "train_concept_probe",
    "train_probes",
]
