"""What the queries of several views begin with, and the choices that several views offer."""

from __future__ import annotations

from collections.abc import Sequence

from actlas.explore.view import Choice, Picture, picture

#: What an axis calls a checkpoint: its step, or its id where that does not tell it apart.
STEP = "coalesce(CASE WHEN count(*) OVER (PARTITION BY step) = 1 THEN step::VARCHAR END, checkpoint) AS step"

#: Checkpoints but controls.
FOLLOWED = f"""WITH followed AS (
    SELECT checkpoint, position, {STEP}
    FROM checkpoints WHERE control IS NULL
)"""


def quarters(column: str) -> str:
    """What a box is drawn from: the ends of a column's values, and what cuts them into quarters."""
    return (
        f"min({column}) AS lowest, quantile_cont({column}, 0.25) AS q25, median({column}) AS middle,\n"
        f"    quantile_cont({column}, 0.75) AS q75, max({column}) AS highest"
    )


def boxes(*label: str, x_label: str = "value", dashed: Sequence[str] = ()) -> Picture:
    """How `quarters` are drawn: a box for each value of some columns, beside the levels in other columns."""
    ends = {"low": "lowest", "q25": "q25", "median": "middle", "q75": "q75", "high": "highest"}
    return picture("ranges", label=label, **ends, x_label=x_label, dashed=dashed)


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
