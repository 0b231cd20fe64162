"""Figures of arXiv 2506.01629 on compression: how many directions weights and representations use, and how far weights move."""

from __future__ import annotations

from actlas.reproduce.figures import COURSE, Claim, Figure, mean_with_interval

#: Weight matrices inside the blocks, in order of steps.
_MATRICES = f"""WITH {COURSE}, matrices AS (
  SELECT course.*, p.* EXCLUDE (checkpoint, step) FROM parameter_space AS p JOIN course USING (checkpoint)
  WHERE p.layer IS NOT NULL AND p.effective_rank IS NOT NULL
)"""

PARAMETERS = Figure(
    name="parameter-space",
    title="How weights move and how many directions they use",
    text=(
        "Weight matrices of the blocks, by what they do, mean over layers: their distance to where they end, relative to "
        "their norm "
        "there; and the effective rank of their spectrum, e to the power of its entropy. Bands: 95% interval over "
        "layers, or over "
        "runs."
    ),
    measure="distance, or directions",
    needs=("parameter_space",),
    sql=f"""{_MATRICES}
SELECT panel, series, position, step, effect AS value, low, high FROM (
  SELECT 1 AS rank, 'distance to the last checkpoint' AS panel, kind AS series, position, step,
    {mean_with_interval("change_last")}
  FROM matrices GROUP BY kind, position, step
  UNION ALL
  SELECT 2, 'effective rank', kind, position, step, {mean_with_interval("effective_rank")}
  FROM matrices GROUP BY kind, position, step
)
ORDER BY rank, series, position""",
    claims=(
        Claim(
            "Weight matrices come to use fewer directions.",
            "fall of the effective rank of weight matrices from the first checkpoint to the last, as a share of the first",
            f"""{_MATRICES}
SELECT {mean_with_interval("fall")} FROM (
  SELECT 1 - b.effective_rank / a.effective_rank AS fall
  FROM matrices AS a JOIN matrices AS b USING (module) WHERE a.is_first AND b.is_last
)""",
        ),
    ),
)

_RANKS = f"""WITH {COURSE}, ranks AS (
  SELECT course.*, r.* EXCLUDE (checkpoint, step) FROM effective_rank AS r JOIN course USING (checkpoint) WHERE r.site = 'resid'
)"""

REPRESENTATIONS = Figure(
    name="effective-rank",
    title="How many directions representations use, by layer",
    text=(
        "Effective rank of token vectors, e to the power of the entropy of the spectrum of their covariance, with as "
        "many vectors of "
        "each language; within a language (mean over languages) and of all languages together. Bands: 95% interval over "
        "languages, "
        "or over runs."
    ),
    measure="directions",
    needs=("effective_rank",),
    sql=f"""{_RANKS}
SELECT panel, series, position, step, effect AS value, low, high FROM (
  SELECT 'within a language' AS panel, 'layer ' || layer AS series, position, step, {mean_with_interval("effective_rank")}
  FROM ranks WHERE language IS NOT NULL GROUP BY layer, position, step
  UNION ALL
  SELECT 'all languages together', 'layer ' || layer, position, step, effective_rank, low, high, NULL
  FROM ranks WHERE language IS NULL
)
ORDER BY panel DESC, series, position""",
    claims=(
        Claim(
            "Representations come to use fewer directions after the checkpoint where they use most.",
            "fall of the effective rank within languages, mean over layers, from its highest checkpoint to the last",
            f"""{_RANKS}, means AS (
  SELECT place, is_last, language, avg(effective_rank) AS effective_rank FROM ranks WHERE language IS NOT NULL GROUP BY ALL
), peak AS (
  SELECT place FROM means WHERE NOT is_last GROUP BY place ORDER BY avg(effective_rank) DESC, place LIMIT 1
)
SELECT {mean_with_interval("fall")} FROM (
  SELECT before.effective_rank - after.effective_rank AS fall
  FROM means AS before JOIN peak USING (place) JOIN means AS after ON after.is_last AND after.language = before.language
)""",
        ),
    ),
)
