"""Questions: read the store, call the kernels, return polars frames.

The names below are loaded when first used: asking one question imports no other. None loads a model library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily

_HOMES = {
    "Atlas": "actlas.query.atlas",
    "ConceptProbe": "actlas.query.questions.interventions.concept_probe",
    "DEFAULT_STATS": "actlas.kernels.stats",
    "TABLES": "actlas.query.schema",
    "QueryWorker": "actlas.query.workers.client",
    "Table": "actlas.query.schema",
    "alike_neurons": "actlas.query.lookups.experts",
    "anti_experts": "actlas.query.lookups.experts",
    "checkpoint_flags": "actlas.query.lookups.checkpoints",
    "cka": "actlas.query.measures.cka",
    "class_distances": "actlas.query.measures.class_means",
    "class_means": "actlas.query.measures.class_means",
    "concept_rate": "actlas.query.questions.interventions.steering",
    "control_experts": "actlas.query.questions.control_experts",
    "dimension_overlap": "actlas.query.measures.neurons.mutual_information",
    "discrimination": "actlas.query.measures.neurons.discrimination",
    "effective_rank": "actlas.query.measures.effective_rank",
    "expert_overlap": "actlas.query.questions.overlap",
    "experts_by_layer": "actlas.query.lookups.experts",
    "experts_in_sets": "actlas.query.lookups.languages",
    "first_above": "actlas.query.lookups.thresholds",
    "first_shared": "actlas.query.questions.trajectory",
    "first_shared_by_concept": "actlas.query.lookups.sharing",
    "group_texts": "actlas.query.texts.group_texts",
    "import_neuron_sets": "actlas.query.questions.neuron_sets",
    "import_scores": "actlas.query.imports",
    "language_effects": "actlas.query.lookups.languages",
    "language_experts": "actlas.query.lookups.languages",
    "language_mask": "actlas.query.lookups.languages",
    "language_neurons": "actlas.query.questions.lape",
    "language_shift": "actlas.query.questions.interventions.steering",
    "lape_overlap": "actlas.query.lookups.languages",
    "mexa": "actlas.query.measures.mexa",
    "monolinguality": "actlas.query.measures.neurons.monolinguality",
    "mutual_information": "actlas.query.measures.neurons.mutual_information",
    "nearest_texts": "actlas.query.texts.group_texts",
    "neuron_activity": "actlas.query.lookups.languages",
    "neuron_correlation": "actlas.query.measures.neuron_correlation",
    "neuron_ranges": "actlas.query.measures.neurons.neuron_ranges",
    "neuron_scores": "actlas.query.lookups.experts",
    "neuron_set_overlap": "actlas.query.questions.neuron_sets",
    "neuron_texts": "actlas.query.texts.top_texts",
    "neuron_token_values": "actlas.query.texts.token_values",
    "neuron_trajectory": "actlas.query.questions.trajectory",
    "neurons_above": "actlas.query.lookups.thresholds",
    "open_store": "actlas.query.atlas",
    "overlap_at": "actlas.query.lookups.sharing",
    "overlap_controls": "actlas.query.questions.overlap_controls",
    "overlap_evidence": "actlas.query.lookups.sharing",
    "overlap_tests": "actlas.query.questions.overlap_tests",
    "p90_selection": "actlas.query.measures.neurons.p90_selection",
    "parameter_space": "actlas.query.space.parameters",
    "patching_by_layer": "actlas.query.questions.interventions.patching",
    "patching_onset": "actlas.query.questions.interventions.patching",
    "probe_by_checkpoint": "actlas.query.lookups.probes",
    "probe_class_accuracy": "actlas.query.lookups.probes",
    "probe_classes": "actlas.query.probing.probes",
    "probe_controls": "actlas.query.probing.controls",
    "probe_intervals": "actlas.query.lookups.probes",
    "probe_onset": "actlas.query.lookups.probes",
    "probe_sharing": "actlas.query.lookups.probes",
    "probe_summary": "actlas.query.probing.summary",
    "probe_transfer": "actlas.query.probing.transfer",
    "procrustes": "actlas.query.measures.procrustes",
    "random_experts": "actlas.query.lookups.experts",
    "rank_stability": "actlas.query.questions.trajectory",
    "read_selfcond": "actlas.query.imports",
    "sampled_token_values": "actlas.query.texts.token_values",
    "same_weights": "actlas.query.lookups.checkpoints",
    "score_neurons": "actlas.query.questions.scores",
    "set_effects": "actlas.query.lookups.languages",
    "shared_by_layer": "actlas.query.lookups.sharing",
    "shared_experts": "actlas.query.lookups.experts",
    "shared_trajectory": "actlas.query.questions.trajectory",
    "steering_languages": "actlas.query.questions.interventions.steering",
    "steering_mask": "actlas.query.lookups.experts",
    "svcca": "actlas.query.measures.svcca",
    "text_activity": "actlas.query.lookups.languages",
    "top_experts": "actlas.query.questions.experts",
    "top_texts": "actlas.query.texts.top_texts",
    "train_concept_probe": "actlas.query.questions.interventions.concept_probe",
    "train_probes": "actlas.query.probing.probes",
    "translation_similarity": "actlas.query.measures.translation_similarity",
}

__all__ = [
    "DEFAULT_STATS",
    "TABLES",
    "Atlas",
    "ConceptProbe",
    "QueryWorker",
    "Table",
    "alike_neurons",
    "anti_experts",
    "checkpoint_flags",
    "cka",
    "class_distances",
    "class_means",
    "concept_rate",
    "control_experts",
    "dimension_overlap",
    "discrimination",
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
    "mexa",
    "monolinguality",
    "mutual_information",
    "nearest_texts",
    "neuron_activity",
    "neuron_correlation",
    "neuron_ranges",
    "neuron_scores",
    "neuron_set_overlap",
    "neuron_texts",
    "neuron_token_values",
    "neuron_trajectory",
    "neurons_above",
    "open_store",
    "overlap_at",
    "overlap_controls",
    "overlap_evidence",
    "overlap_tests",
    "p90_selection",
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
    "procrustes",
    "random_experts",
    "rank_stability",
    "read_selfcond",
    "same_weights",
    "sampled_token_values",
    "score_neurons",
    "set_effects",
    "shared_by_layer",
    "shared_experts",
    "shared_trajectory",
    "steering_languages",
    "steering_mask",
    "svcca",
    "text_activity",
    "top_experts",
    "top_texts",
    "train_concept_probe",
    "train_probes",
    "translation_similarity",
]

if TYPE_CHECKING:
    from actlas.kernels.stats import DEFAULT_STATS
    from actlas.query.atlas import Atlas, open_store
    from actlas.query.imports import import_scores, read_selfcond
    from actlas.query.lookups.checkpoints import (
        checkpoint_flags,
        same_weights,
    )
    from actlas.query.lookups.experts import (
        alike_neurons,
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
    from actlas.query.measures.cka import cka
    from actlas.query.measures.class_means import class_distances, class_means
    from actlas.query.measures.effective_rank import effective_rank
    from actlas.query.measures.mexa import mexa
    from actlas.query.measures.neuron_correlation import neuron_correlation
    from actlas.query.measures.neurons.discrimination import discrimination
    from actlas.query.measures.neurons.monolinguality import monolinguality
    from actlas.query.measures.neurons.mutual_information import dimension_overlap, mutual_information
    from actlas.query.measures.neurons.neuron_ranges import neuron_ranges
    from actlas.query.measures.neurons.p90_selection import p90_selection
    from actlas.query.measures.procrustes import procrustes
    from actlas.query.measures.svcca import svcca
    from actlas.query.measures.translation_similarity import translation_similarity
    from actlas.query.probing.controls import probe_controls
    from actlas.query.probing.probes import probe_classes, train_probes
    from actlas.query.probing.summary import probe_summary
    from actlas.query.probing.transfer import probe_transfer
    from actlas.query.questions.control_experts import control_experts
    from actlas.query.questions.experts import top_experts
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
    from actlas.query.texts.token_values import neuron_token_values, sampled_token_values
    from actlas.query.texts.top_texts import neuron_texts, top_texts
    from actlas.query.workers.client import QueryWorker

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
