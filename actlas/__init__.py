"""actlas: extract the activations of a language model's checkpoints once, then query them without the model.

The names below are the public interface. Each is loaded when first used: importing actlas alone imports none of its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily
from actlas.names import VERSION as __version__

_HOMES = {
    "Atlas": "actlas.query",
    "Corpus": "actlas.store",
    "Widget": "actlas.explore",
    "ablate": "actlas.intervene",
    "concept_latents": "actlas.intervene",
    "corpus_from_frames": "actlas.store",
    "effective_rank": "actlas.query",
    "estimate_extraction": "actlas.extract",
    "expert_overlap": "actlas.query",
    "extract_activations": "actlas.extract",
    "generate_steered": "actlas.intervene",
    "import_concept_files": "actlas.store",
    "import_neuron_sets": "actlas.query",
    "import_parallel": "actlas.store",
    "import_scores": "actlas.query",
    "import_table": "actlas.store",
    "language_neurons": "actlas.query",
    "load_live": "actlas.intervene",
    "neuron_set_overlap": "actlas.query",
    "neuron_trajectory": "actlas.query",
    "open_store": "actlas.query",
    "overlap_controls": "actlas.query",
    "overlap_tests": "actlas.query",
    "parameter_space": "actlas.query",
    "patch": "actlas.intervene",
    "patch_concepts": "actlas.intervene",
    "prove_sites": "actlas.extract",
    "read_neuron_sets": "actlas.store",
    "read_selfcond": "actlas.query",
    "score_neurons": "actlas.query",
    "shared_trajectory": "actlas.query",
    "steer": "actlas.intervene",
    "token_values": "actlas.intervene",
    "top_experts": "actlas.query",
    "top_texts": "actlas.query",
    "train_probes": "actlas.query",
    "translation_prompts": "actlas.intervene",
    "verify": "actlas.store",
    "write_report": "actlas.report",
}

__all__ = [
    "Atlas",
    "Corpus",
    "Widget",
    "__version__",
    "ablate",
    "concept_latents",
    "corpus_from_frames",
    "effective_rank",
    "estimate_extraction",
    "expert_overlap",
    "extract_activations",
    "generate_steered",
    "import_concept_files",
    "import_neuron_sets",
    "import_parallel",
    "import_scores",
    "import_table",
    "language_neurons",
    "load_live",
    "neuron_set_overlap",
    "neuron_trajectory",
    "open_store",
    "overlap_controls",
    "overlap_tests",
    "parameter_space",
    "patch",
    "patch_concepts",
    "prove_sites",
    "read_neuron_sets",
    "read_selfcond",
    "score_neurons",
    "shared_trajectory",
    "steer",
    "token_values",
    "top_experts",
    "top_texts",
    "train_probes",
    "translation_prompts",
    "verify",
    "write_report",
]

if TYPE_CHECKING:
    from actlas.explore import Widget
    from actlas.extract import estimate_extraction, extract_activations, prove_sites
    from actlas.intervene import (
        ablate,
        concept_latents,
        generate_steered,
        load_live,
        patch,
        patch_concepts,
        steer,
        token_values,
        translation_prompts,
    )
    from actlas.query import (
        Atlas,
        effective_rank,
        expert_overlap,
        import_neuron_sets,
        import_scores,
        language_neurons,
        neuron_set_overlap,
        neuron_trajectory,
        open_store,
        overlap_controls,
        overlap_tests,
        parameter_space,
        read_selfcond,
        score_neurons,
        shared_trajectory,
        top_experts,
        top_texts,
        train_probes,
    )
    from actlas.report import write_report
    from actlas.store import (
        Corpus,
        corpus_from_frames,
        import_concept_files,
        import_parallel,
        import_table,
        read_neuron_sets,
        verify,
    )

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
