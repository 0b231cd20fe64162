"""Which texts of a run a probe still has to be asked about, and the probes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actlas.query.atlas import Atlas
from actlas.query.questions.interventions.concept_probe import ConceptProbe, train_concept_probe

_LOG = logging.getLogger(__name__)
#: concept -> language of the experts -> what is recorded of the probe that was asked about their texts.
Records = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class ProbeAt:
    """Where probes for concepts read.

    Attributes:
        site: As in a store.
        layer: From 0.

    Example:
        >>> ProbeAt("mlp_pre", 3).layer
        3
    """

    site: str
    layer: int

    def unasked(self, pairs: Iterable[tuple[str, str]], records: Records) -> list[tuple[str, str]]:
        """Pairs of concept and language whose texts no probe that reads here was asked about.

        Args:
            pairs: Which.
            records: What is recorded of the probes that were asked.

        Returns:
            Those left, in the same order.

        Example:
            >>> records = {"salt": {"en": {"site": "resid", "layer": 3}}}
            >>> ProbeAt("resid", 3).unasked([("salt", "en"), ("salt", "fr")], records)
            [('salt', 'fr')]
        """
        asked = {
            (concept, language)
            for concept, own in records.items()
            for language, probe in own.items()
            if (probe["site"], probe["layer"]) == (self.site, self.layer)
        }
        return [pair for pair in pairs if pair not in asked]

    def train(self, store: Atlas, checkpoint: str, concepts: Sequence[str]) -> dict[str, ConceptProbe]:
        """A probe per concept; what is not above chance is said.

        Args:
            store: With a cube of the site.
            checkpoint: Whose values.
            concepts: What to tell.

        Returns:
            concept -> its probe.

        Raises:
            CubeNotFound: If the site was not extracted.
            QueryError: If it has no such layer, or there are too few texts of a concept.

        Example:
            >>> probes = ProbeAt("mlp_pre", 1).train(store, "planted-step128", ["water"])
            >>> probes["water"].is_above_chance
            True
        """
        probes = {}
        for concept in concepts:
            probe = train_concept_probe(store, checkpoint, concept, site=self.site, layer=self.layer)
            if not probe.is_above_chance:
                _LOG.warning(
                    "a probe at %s layer %d of %s does not tell texts about %s from others (area %.3f held out, chance reaches "
                    "%.3f): probe_p is null",
                    *(self.site, self.layer, checkpoint, concept, probe.auroc, probe.chance),
                )
            probes[concept] = probe
        return probes
