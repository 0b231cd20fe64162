"""Every question that a store answers, in its three forms: SQL, a function, a command line. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from actlas.query.measures.registry import MEASURES
from actlas.query.schema import TABLES
from actlas.query.sql.macro import macros


@dataclass(frozen=True)
class Question:
    """One question. All three forms give the same rows.

    Attributes:
        name: The macro that answers it, or the kept table that is the answer.
        topic: What it is about.
        function: Its name in `actlas.query`.
        verb: What stands behind ``actlas`` on the command line.
    """

    name: str
    topic: str
    function: str
    verb: str

    @property
    def is_macro(self) -> bool:
        return self.name in macros()

    @property
    def sql(self) -> str:
        """How SQL asks it."""
        return f"FROM {macros()[self.name].call if self.is_macro else self.name}"

    @property
    def about(self) -> str:
        """The answer, in one line."""
        return macros()[self.name].about if self.is_macro else TABLES[self.name].about


def _asked(topic: str, *names: str) -> tuple[Question, ...]:
    """Questions whose function is called like their macro, and that the verb `ask` asks."""
    return tuple(Question(name, topic, name, f"ask STORE {name}") for name in names)


_EXPERTS, _SHARING, _LANGUAGES, _PROBES = "experts and scores", "what languages share", "neurons of languages", "probes"
_TEXTS, _INTERVENTIONS, _CHECKPOINTS = "texts", "interventions", "checkpoints"
_MEASURES = "published measures"
_ONE = "--neuron SITE/LAYER/NEURON"

QUESTIONS: tuple[Question, ...] = (
    Question("best_experts", _EXPERTS, "top_experts", "experts STORE"),
    *_asked(_EXPERTS, "experts_by_layer", "anti_experts", "random_experts"),
    Question("next_experts", _EXPERTS, "control_experts", "ask STORE next_experts"),
    *_asked(_EXPERTS, "steering_mask", "neuron_scores"),
    Question("neuron_trajectory", _EXPERTS, "neuron_trajectory", f"trajectory STORE {_ONE}"),
    *_asked(_EXPERTS, "alike_neurons", "neurons_above", "first_above"),
    Question("overlap", _SHARING, "expert_overlap", "overlap STORE"),
    Question("overlap_by_layer", _SHARING, "expert_overlap", "overlap STORE --by layer"),
    *_asked(_SHARING, "overlap_at", "overlap_evidence"),
    Question("overlap_tests", _SHARING, "overlap_tests", "overlap STORE --tests"),
    Question("overlap_tests_by_layer", _SHARING, "overlap_tests", "overlap STORE --tests --by layer"),
    Question("overlap_tests_by_concept", _SHARING, "overlap_tests", "overlap STORE --tests --by concept"),
    Question("overlap_controls", _SHARING, "overlap_controls", "overlap STORE --controls"),
    Question("overlap_controls_by_layer", _SHARING, "overlap_controls", "overlap STORE --controls --by layer"),
    *_asked(_SHARING, "shared_experts", "shared_by_layer", "first_shared_by_concept"),
    Question("first_shared", _SHARING, "first_shared", "ask STORE first_shared"),
    Question("trajectory", _SHARING, "shared_trajectory", "trajectory STORE"),
    Question("rank_stability", _SHARING, "rank_stability", "trajectory STORE --stability"),
    Question("stability_at", _SHARING, "rank_stability", "ask STORE stability_at"),
    Question("lape", _LANGUAGES, "language_neurons", "lape STORE"),
    *_asked(_LANGUAGES, "language_mask", "lape_overlap", "language_experts", "experts_in_sets", "neuron_activity"),
    *_asked(_LANGUAGES, "text_activity", "language_effects", "set_effects"),
    Question("probe", _PROBES, "train_probes", "probe STORE"),
    Question("probe_classes", _PROBES, "probe_classes", "probe STORE --of classes"),
    Question("probe_controls", _PROBES, "probe_controls", "probe STORE --of controls"),
    Question("probe_transfer", _PROBES, "probe_transfer", "probe STORE --of transfer"),
    *_asked(_PROBES, "probe_intervals", "probe_by_checkpoint", "probe_onset", "probe_class_accuracy", "probe_sharing"),
    Question("top_texts", _TEXTS, "top_texts", "top-texts STORE --site SITE"),
    *_asked(_TEXTS, "neuron_texts", "neuron_token_values", "group_texts", "nearest_texts"),
    *_asked(_INTERVENTIONS, "steering_languages", "language_shift", "concept_rate"),
    *_asked(_INTERVENTIONS, "patching_by_layer", "patching_onset"),
    *_asked(_CHECKPOINTS, "checkpoint_flags", "same_weights"),
    Question("parameter_space", _CHECKPOINTS, "parameter_space", "weights STORE"),
    *(Question(each.function, _MEASURES, each.function, f"measure {each.name} STORE") for each in MEASURES),
)
