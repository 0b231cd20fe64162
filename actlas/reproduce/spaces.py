"""Figures of arXiv 2601.22851: what is said when latents of a concept are put into a sentence about another one."""

from __future__ import annotations

from actlas.reproduce.figures import COURSE, Claim, Figure, mean_with_interval

TITLE = "When meanings meet: concept spaces by activation patching (arXiv 2601.22851)"

#: Means of each source concept over its pairs and the languages between, in the language of the answer. Pairs share their
#: concepts, so concepts are what an interval is over.
_MEANS = f"""WITH {COURSE}, means AS (
  SELECT place, position, course.step, is_last, setting, layer, source_concept,
    avg(p_source) AS p_source, avg(p_target) AS p_target
  FROM patches JOIN course USING (checkpoint) WHERE language = language_out GROUP BY ALL
), n AS (SELECT max(layer) AS last_layer FROM means)"""

_SETTINGS = {
    "seen": "the mean over pairs of seen languages without English and the two at hand",
    "tgt": "latents of the source concept in the same two languages",
    "en_en": "latents of the source concept from English to English",
    "self": "latents of the source concept from the language of the answer to itself",
    "tgt_tgt": "the sentence's own latents, a control that should change nothing",
    "unpatched": "nothing",
}


def _beside_unpatched(setting: str) -> str:
    """How much more probable the source concept is than where nothing is patched, by concept, at the last checkpoint."""
    return f"""{_MEANS}
SELECT {mean_with_interval("rise")} FROM (
  SELECT a.p_source - b.p_source AS rise FROM means AS a JOIN means AS b USING (place, source_concept)
  WHERE a.is_last AND a.setting = '{setting}' AND a.layer = 0 AND b.setting = 'unpatched'
)"""


def _figure(setting: str) -> Figure:
    what = _SETTINGS[setting]
    claims = (
        Claim(
            "The answer becomes that of the concept whose latents were put there.",
            "probability of the source concept's word, patched from the first layer on, above that without patching, "
            "last checkpoint",
            _beside_unpatched(setting),
        ),
        Claim(
            "It becomes more probable than the concept that the sentence is about.",
            "probability of the source concept's word less that of the target concept's, patched from the first layer "
            "on, last checkpoint",
            f"""{_MEANS}
SELECT {mean_with_interval("difference")} FROM (
  SELECT p_source - p_target AS difference FROM means WHERE is_last AND setting = '{setting}' AND layer = 0
)""",
        ),
    )
    return Figure(
        name=f"patching-{setting.replace('_', '-')}",
        title=f"Patched: {setting}",
        text=(
            f"Put there: {what}. Probability of the source concept's and of the target concept's word in the language of "
            "the answer, "
            "by step, where block outputs of a layer and all later ones are replaced. Bands: 95% interval over concepts, "
            "or over runs."
        ),
        measure="probability",
        needs=("patches",),
        sql=f"""{_MEANS}
SELECT coalesce('from layer ' || layer, 'nothing patched') AS panel, series, position, step, effect AS value, low, high
FROM (
  SELECT 'source concept' AS series, layer, position, step, {mean_with_interval("p_source")}
  FROM means WHERE setting = '{setting}' GROUP BY layer, position, step
  UNION ALL
  SELECT 'target concept', layer, position, step, {mean_with_interval("p_target")}
  FROM means WHERE setting = '{setting}' GROUP BY layer, position, step
)
ORDER BY layer, series, position""",
        claims=() if setting in ("tgt_tgt", "unpatched") else claims,
    )


MEAN = Figure(
    name="patching-mean",
    title="Is a mean over languages better than the languages at hand?",
    text=(
        "Probability of the source concept's word, patched from the first layer on, of every setting. Bands: 95% interval over "
        "concepts, or over runs."
    ),
    measure="probability of the source concept",
    needs=("patches",),
    sql=f"""{_MEANS}
SELECT '' AS panel, setting AS series, position, step, effect AS value, low, high
FROM (
  SELECT setting, position, step, {mean_with_interval("p_source")}
  FROM means WHERE (layer = 0 OR setting = 'unpatched') GROUP BY setting, position, step
)
ORDER BY setting IN ('tgt_tgt', 'unpatched'), series, position""",
    claims=(
        Claim(
            "The mean over other languages gives the concept better than the same two languages do.",
            "probability of the source concept's word under seen less that under tgt, patched from the first layer on, "
            "last checkpoint",
            f"""{_MEANS}
SELECT {mean_with_interval("difference")} FROM (
  SELECT a.p_source - b.p_source AS difference FROM means AS a JOIN means AS b USING (place, source_concept)
  WHERE a.is_last AND a.layer = 0 AND b.layer = 0 AND a.setting = 'seen' AND b.setting = 'tgt'
)""",
        ),
    ),
)

FIGURES = (MEAN, *(_figure(setting) for setting in _SETTINGS))
