"""What a figure asks of a store: everything in it, and everything that is said about it, is the answer to a query."""

from __future__ import annotations

from dataclasses import dataclass

#: 97.5 % quantiles of Student's t by degrees of freedom, from 1 on; the last one stands for all further ones, which errs wide.
T_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788)
#: Columns that `Figure.sql` has to give.
COLUMNS = ("panel", "series", "position", "step", "value", "low", "high")
#: The checkpoints on the axis of steps, and which of them are the first and the last.
COURSE = """course AS (
  SELECT checkpoint, position AS place, row_number() OVER (ORDER BY position) - 1 AS position,
    coalesce(step::VARCHAR, checkpoint) AS step,
    position = min(position) OVER () AS is_first, position = max(position) OVER () AS is_last
  FROM checkpoints WHERE control IS NULL
)"""


@dataclass(frozen=True)
class Claim:
    """One finding of a paper as a number that is above 0 where the finding is there.

    Attributes:
        text: The finding, as a sentence.
        measure: What the number is.
        sql: Gives one row: effect, low and high (its 95 % interval within one store; null where there is none) and p_value
            (against a null of labels without meaning; null where the interval decides).
    """

    text: str
    measure: str
    sql: str


@dataclass(frozen=True)
class Figure:
    """A figure of a paper.

    Attributes:
        name: Of its files.
        title: Its heading.
        text: What is shown, and how to read it.
        measure: What the axis of heights is.
        needs: Tables that it reads.
        sql: Gives the columns `COLUMNS`, a row per point of a line.
        claims: What the paper finds there.
    """

    name: str
    title: str
    text: str
    measure: str
    needs: tuple[str, ...]
    sql: str
    claims: tuple[Claim, ...] = ()


def quantile_sql(n: str) -> str:
    """An SQL expression: the factor of a standard error for a 95 % interval of a mean over `n` numbers.

    Example:
        >>> quantile_sql("3").endswith("[greatest(least(3 - 1, 12), 1)]")
        True
    """
    return f"{list(T_QUANTILES)}[greatest(least({n} - 1, {len(T_QUANTILES)}), 1)]"


def mean_with_interval(column: str) -> str:
    """SQL columns effect, low, high and p_value: the mean of a column over the rows of a query."""
    half = f"{quantile_sql(f'count({column})')} * stddev_samp({column}) / sqrt(count({column}))"
    return f"avg({column}) AS effect, avg({column}) - {half} AS low, avg({column}) + {half} AS high, NULL::DOUBLE AS p_value"
