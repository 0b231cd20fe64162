"""Tables of what a live model did when answers were handed back to it."""

from __future__ import annotations

from collections.abc import Mapping

from actlas.query.schema.table import Table

INTERVENTIONS: tuple[Table, ...] = ()
#: Commands of tables whose columns are whatever was published.
FOREIGN_COMMANDS: Mapping[str, str] = {"generations": "actlas steer STORE", "patches": "actlas patch STORE"}
