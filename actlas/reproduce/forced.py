"""Figures of arXiv 2506.01629 on texts that a model writes while experts are forced."""

from __future__ import annotations

from actlas.reproduce.figures import COURSE, Claim, Figure, mean_with_interval

#: By concept, language of the experts and arm: shares of texts in that language, with the concept's word, and with it elsewhere.
_RATES = f"""WITH {COURSE}, rates AS (
  SELECT position, course.step, place, g.concept, g.language, g.arm,
    avg(coalesce(text_language = g.language, false)::INTEGER) AS in_language, avg(has_word::INTEGER) AS has_word,
    avg((has_word AND text_language IS DISTINCT FROM g.language)::INTEGER) AS has_word_elsewhere
  FROM generations AS g JOIN course USING (checkpoint) GROUP BY ALL
), ends AS (SELECT min(place) AS first_place, max(place) AS last_place FROM rates)"""


def _beside_random(column: str, where: str) -> str:
    """How much more of something there is with experts forced than with random neurons, over concepts."""
    return f"""SELECT a.concept, avg(a.{column} - b.{column}) AS difference
  FROM rates AS a JOIN rates AS b USING (place, concept, language), ends
  WHERE a.arm = 'experts' AND b.arm = 'random' AND {where} GROUP BY a.concept"""


LANGUAGES = Figure(
    name="steering-languages",
    title="In which language does a model write while experts of one language are forced?",
    text=(
        "Texts begin with the start token alone; experts of a concept in the language that a panel names are forced at "
        "every token. "
        "Lines: the share of texts in each language, and that of the experts' own language where nothing or as many "
        "random neurons "
        "are forced. Bands: 95% interval over draws, or over runs."
    ),
    measure="share of texts",
    needs=("generations",),
    sql=f"""WITH {COURSE}, shares AS (
  SELECT s.*, position FROM steering_languages() AS s JOIN course USING (checkpoint)
  WHERE s.concept IS NULL AND s.text_language IS NOT NULL
)
SELECT 'experts of ' || language AS panel, series, position, step, share AS value, low, high FROM (
  SELECT 1 AS rank, language, 'texts in ' || text_language AS series, position, step, share, low, high
  FROM shares WHERE arm = 'experts'
  UNION ALL
  SELECT 2, language, language || ', ' || CASE arm WHEN 'none' THEN 'nothing forced' ELSE 'random neurons' END,
    position, step, share, low, high
  FROM shares WHERE arm IN ('none', 'random') AND text_language = language
)
ORDER BY panel, rank, series, position""",
    claims=(
        Claim(
            "Early in training, experts of a concept in a language draw texts into that language.",
            "share of texts in the experts' language, above that with random neurons forced, first checkpoint that writes",
            f"""{_RATES}
SELECT {mean_with_interval("difference")} FROM ({_beside_random("in_language", "place = first_place")})""",
        ),
        Claim(
            "This pull grows weaker as training goes on.",
            "the same at the first checkpoint that writes, less that at the last",
            f"""{_RATES}
SELECT {mean_with_interval("fall")} FROM (
  SELECT early.difference - late.difference AS fall
  FROM ({_beside_random("in_language", "place = first_place")}) AS early
    JOIN ({_beside_random("in_language", "place = last_place")}) AS late USING (concept)
)""",
        ),
    ),
)

CONCEPTS = Figure(
    name="steering-concepts",
    title="Do forced experts bring their concept into texts, and into other languages?",
    text=(
        "Share of texts that hold a word of the concept, in the language that each text is in: with its experts forced, "
        "and under "
        "the controls. Second panel: texts in other languages than that of the experts. Bands: 95% interval over "
        "concepts, or over "
        "runs."
    ),
    measure="share of texts",
    needs=("generations",),
    sql=f"""{_RATES}
SELECT panel, series, position, step, effect AS value, low, high FROM (
  SELECT 1 AS rank, 'any language' AS panel, arm AS series, position, step, {mean_with_interval("has_word")}
  FROM rates GROUP BY arm, position, step
  UNION ALL
  SELECT 2, 'other languages than the experts''', arm, position, step, {mean_with_interval("has_word_elsewhere")}
  FROM rates GROUP BY arm, position, step
)
ORDER BY rank, series <> 'experts', series, position""",
    claims=(
        Claim(
            "Forced experts bring their concept into what is written.",
            "share of texts with a word of the concept, above that with random neurons forced, last checkpoint",
            f"""{_RATES}
SELECT {mean_with_interval("difference")} FROM ({_beside_random("has_word", "place = last_place")})""",
        ),
        Claim(
            "They do so in other languages than the one they are experts in.",
            "share of texts in other languages with a word of the concept, above that with random neurons forced, last "
            "checkpoint",
            f"""{_RATES}
SELECT {mean_with_interval("difference")} FROM ({_beside_random("has_word_elsewhere", "place = last_place")})""",
        ),
    ),
)
