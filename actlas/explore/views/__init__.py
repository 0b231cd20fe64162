"""The views of a store, by name: one file each, nothing but declarations.

Whatever a person chose goes into a query as a parameter, never as a part of its text.
"""

from __future__ import annotations

from collections.abc import Mapping

from actlas.explore.view import View
from actlas.explore.views.compare import COMPARE
from actlas.explore.views.concept import CONCEPT_VIEW
from actlas.explore.views.interventions import INTERVENTIONS
from actlas.explore.views.languages import LANGUAGES
from actlas.explore.views.neuron import NEURON
from actlas.explore.views.probe import PROBE
from actlas.explore.views.sql import SQL
from actlas.explore.views.store import STORE

__all__ = ["VIEWS"]

VIEWS: Mapping[str, View] = {
    view.name: view for view in (STORE, CONCEPT_VIEW, NEURON, COMPARE, PROBE, LANGUAGES, INTERVENTIONS, SQL)
}
