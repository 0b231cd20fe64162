"""Questions in SQL that make sense of any store whose experts and overlap were computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question and the query that answers it through `Atlas.sql`.

    Attributes:
        text: In words.
        sql: In SQL.
    """

    text: str
    sql: str


_LAST = "SET VARIABLE last = (SELECT checkpoint FROM checkpoints WHERE control IS NULL ORDER BY position DESC LIMIT 1);"

QUESTIONS: tuple[Question, ...] = (
    Question(
        "At the last checkpoint, which concepts share the most experts across languages?",
        f"""{_LAST}
SELECT concept, avg(overlap) AS overlap, min(overlap) AS lowest_pair, max(overlap) AS highest_pair,
       any_value(chance) AS chance, avg(cross_half) AS cross_half, avg(ceiling) AS ceiling
FROM overlap
WHERE checkpoint = getvariable('last')
GROUP BY concept
ORDER BY overlap DESC, concept
LIMIT 8""",
    ),
    Question(
        "Which neurons end as experts of one concept in every language, and when did they first become that?",
        f"""{_LAST}
WITH spread AS (
  SELECT checkpoint, concept, site, layer, neuron, sum(n_languages) AS n_languages
  FROM expert_mask GROUP BY checkpoint, concept, site, layer, neuron
)
SELECT concept, site, layer, neuron, min(step) AS first_step, count(*) AS n_checkpoints
FROM spread JOIN checkpoints USING (checkpoint)
WHERE n_languages = (SELECT count(*) FROM languages) AND control IS NULL
GROUP BY concept, site, layer, neuron
HAVING bool_or(checkpoint = getvariable('last'))
ORDER BY first_step, n_checkpoints DESC, concept, site, layer, neuron
LIMIT 8""",
    ),
    Question(
        "What does the neuron that detects one concept in most languages, and best, respond to? Two texts per language.",
        f"""{_LAST}
SET VARIABLE best = (
  SELECT {{'site': site, 'layer': layer, 'neuron': neuron}}
  FROM experts WHERE checkpoint = getvariable('last')
  GROUP BY concept, site, layer, neuron
  ORDER BY count(*) DESC, min(ap) DESC, concept, site, layer, neuron LIMIT 1);
SET VARIABLE site = (SELECT getvariable('best').site);
SET VARIABLE layer = (SELECT getvariable('best').layer);
SET VARIABLE neuron = (SELECT getvariable('best').neuron);
SELECT a.site, a.layer, a.neuron, a.value, t.language, t.text
FROM activations AS a JOIN texts AS t ON t.text_id = a.text_id
WHERE a.checkpoint = getvariable('last') AND a.site = getvariable('site')
  AND a.layer = getvariable('layer') AND a.neuron = getvariable('neuron')
QUALIFY row_number() OVER (PARTITION BY t.language ORDER BY a.value DESC, a.text_id) <= 2
ORDER BY a.value DESC, a.text_id
LIMIT 40""",
    ),
)
