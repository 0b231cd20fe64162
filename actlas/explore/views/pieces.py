"""What the queries of several views begin with, and the choices that several views offer."""

from __future__ import annotations

from actlas.explore.view import Choice

#: Checkpoints but controls; `step` is what an axis calls them: the step, or the id where that does not tell them apart.
FOLLOWED = """WITH followed AS (
    SELECT checkpoint, position,
        coalesce(CASE WHEN count(*) OVER (PARTITION BY step) = 1 THEN step::VARCHAR END, checkpoint) AS step
    FROM checkpoints WHERE control IS NULL
)"""

#: Where a neuron is looked at, for the columns of a row that names one.
NEURON_LINK = "neuron?checkpoint={checkpoint}&concept={concept}&site={site}&layer={layer}&neuron={neuron}"


def checkpoint_with(*tables: str) -> Choice:
    """The choice of a checkpoint: the last first, of those that have a row of one of these kept tables before all others."""
    named = ", ".join(f"'{name}'" for name in tables)
    return Choice(
        "checkpoint",
        "Checkpoint",
        f"""SELECT checkpoint FROM checkpoints
ORDER BY checkpoint IN (SELECT checkpoint FROM settings WHERE is_shown AND table_name IN ({named})) DESC,
    control IS NOT NULL, position DESC""",
    )


CONCEPT = Choice("concept", "Concept", "SELECT DISTINCT concept FROM label_counts ORDER BY concept")
LANGUAGE = Choice("language", "Language", "SELECT language FROM languages ORDER BY position")
