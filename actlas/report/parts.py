"""What the report shows: for each table its SQL, how it is drawn and what it says. Every number of the page comes from here."""

from __future__ import annotations

from actlas.explore.view import Part, picture
from actlas.explore.views.pieces import STEP

_AXIS = f"""WITH axis AS (
  SELECT checkpoint, row_number() OVER (ORDER BY position) - 1 AS position,
    {STEP}
  FROM checkpoints WHERE control IS NULL
)"""
#: Columns of table `overlap_controls` that are shown.
OVERLAP_COLUMNS = (
    *("overlap", "low", "high", '"null"', "null_independent", "p_value", "n_repeats"),
    *("other_concept", "chance", "ceiling", "cross_half", "corrected_ratio"),
)
_OVERLAP = ", ".join(OVERLAP_COLUMNS)

CHECKPOINTS = Part("checkpoints", "Checkpoints on the axis", f"{_AXIS}\nFROM axis ORDER BY position")
OVERLAP = Part(
    "overlap",
    "Overlap of experts over training",
    f"""{_AXIS}, twins AS (
  SELECT avg(overlap) AS twin FROM overlap_controls JOIN checkpoints USING (checkpoint) WHERE control IS NOT NULL
)
SELECT axis.position, axis.step, {_OVERLAP}, twin
FROM overlap_controls JOIN axis USING (checkpoint) CROSS JOIN twins
ORDER BY axis.position""",
    picture(
        "lines",
        x="step",
        y="overlap",
        series=["store"],
        low="low",
        high="high",
        dashed=["null", "null_independent", "twin", "chance"],
        x_label="step",
    ),
    "Mean over language pairs and concepts, checkpoints evenly spaced. Band: 95% interval over concepts. Thin lines: null "
    "(labels moved, translations together), null_independent (labels moved in each language by itself), twin (the same weights "
    "drawn at random, where the store has such a twin) and chance.",
)
RATIO = Part(
    "ratio",
    "Share of the ceiling, less the null",
    f"""{_AXIS}
SELECT axis.position, axis.step, corrected_ratio, cross_half, null_cross_half, ceiling, null_ceiling
FROM overlap_controls JOIN axis USING (checkpoint)
ORDER BY axis.position""",
    picture("lines", x="step", y="corrected_ratio", series=["store"], x_label="step"),
    "Between disjoint halves of the texts: what two languages share (cross_half) over what one language shares with itself "
    "(ceiling), both less their nulls. There is no ratio where the ceiling is not clear of its null.",
)
TWINS = Part(
    "twins",
    "Random-weights twins",
    f"""SELECT checkpoint, control, {_OVERLAP}
FROM overlap_controls JOIN checkpoints USING (checkpoint) WHERE control IS NOT NULL
ORDER BY position""",
)
PAIRS = Part(
    "pairs",
    "Overlap of each pair of languages at the last checkpoint",
    f"""{_AXIS}, pairs AS (
  SELECT language_a, language_b, avg(overlap) AS overlap, avg(ceiling) AS ceiling, avg(cross_half) AS cross_half,
    any_value(chance) AS chance
  FROM overlap JOIN axis USING (checkpoint)
  WHERE axis.position = (SELECT max(position) FROM axis) GROUP BY ALL
)
FROM pairs
UNION ALL
SELECT language_b, language_a, overlap, ceiling, cross_half, chance FROM pairs
UNION ALL
SELECT language, language, NULL, NULL, NULL, NULL
FROM (SELECT language_a AS language FROM pairs UNION SELECT language_b FROM pairs)
ORDER BY language_a, language_b""",
    picture("matrix", x="language_b", y="language_a", value="overlap", facet="store"),
    "Mean over concepts; the ceiling is what the two languages share with themselves between halves of the texts.",
)
CONCEPTS = Part(
    "concepts",
    "Concepts at the last tested checkpoint, against labels without meaning",
    f"""{_AXIS}, tested AS (SELECT t.*, axis.position, axis.step FROM overlap_tests_by_concept AS t JOIN axis USING (checkpoint))
SELECT step, concept, overlap, "null", null_sd, excess, p_value, q_value, n_pairs, n_repeats
FROM tested WHERE position = (SELECT max(position) FROM tested)
ORDER BY excess DESC, concept""",
    picture("bars", x="concept", y="excess", series=["store"]),
    "How far the overlap of a concept, mean over language pairs, lies above the mean of its permutations (null, with standard "
    "deviation null_sd); q_value: false discovery rate at which it is found.",
)
CONCEPTS_FOUND = Part(
    "concepts_found",
    "Concepts that are shared more than labels without meaning give",
    f"""{_AXIS}
SELECT axis.position, axis.step, count(q_value) AS n_tests, count(*) FILTER (q_value <= $level) AS n_found
FROM overlap_tests_by_concept JOIN axis USING (checkpoint) GROUP BY ALL ORDER BY axis.position""",
)
EXPERT_AP = Part(
    "expert_ap",
    "Mean average precision of experts",
    f"""{_AXIS}
SELECT axis.position, axis.step, avg(ap) AS ap FROM experts JOIN axis USING (checkpoint) GROUP BY ALL ORDER BY axis.position""",
    picture("lines", x="step", y="ap", series=["store"], x_label="step"),
    "Mean over all experts of all concepts and languages.",
)
PROBE = Part(
    "probe",
    "Accuracy of probes by layer and step",
    f"""{_AXIS}, seeds AS (
  SELECT checkpoint, label, site, layer, avg(accuracy) AS accuracy, stddev_pop(accuracy) AS deviation, avg(chance) AS chance,
    min(c) AS lowest_c, max(c) AS highest_c
  FROM probe WHERE label = coalesce($label, label) GROUP BY ALL
)
SELECT label,
  CASE WHEN count(*) OVER (PARTITION BY checkpoint, label, site) = 1 THEN site ELSE site || ' ' || layer END AS place,
  dense_rank() OVER (ORDER BY site <> 'embed', site, layer) AS place_order,
  axis.position, axis.step, accuracy, deviation, chance, lowest_c, highest_c
FROM seeds JOIN axis USING (checkpoint)
ORDER BY label, axis.position, place_order""",
    picture("matrix", x="step", y="place", value="accuracy", facet="store"),
    "Mean over seeds (deviation: their standard deviation) of the accuracy on texts that no probe was trained on.",
)
PLACES = Part(
    "places",
    "Where the experts sit",
    f"""{_AXIS}, counts AS (
  SELECT checkpoint, site, layer, sum(n_experts) AS n_experts, any_value(n_neurons) AS n_neurons
  FROM layer_histogram GROUP BY ALL
)
SELECT site, layer, axis.position, axis.step,
  n_experts / sum(n_experts) OVER (PARTITION BY checkpoint) AS share,
  n_neurons / sum(n_neurons) OVER (PARTITION BY checkpoint) AS even
FROM counts JOIN axis USING (checkpoint)
ORDER BY site, axis.position, layer""",
    picture("matrix", x="step", y="layer", value="share", facet="site"),
    "Share of a checkpoint's experts, of all concepts and languages, in each layer of each site; even: the share of the ranked "
    "neurons that is there.",
)
_STEERED = """last AS (
  SELECT checkpoint, axis.step FROM axis WHERE checkpoint IN (SELECT checkpoint FROM generations)
  ORDER BY axis.position DESC LIMIT 1
)"""
STEERING = Part(
    "steering",
    "Texts with a word of the concept, by what was forced",
    f"""{_AXIS}, {_STEERED}, others AS (
  SELECT * FROM generations WHERE text_language <> language AND has_word IS NOT NULL
), elsewhere AS (
  SELECT checkpoint, language, arm, avg(has_word::INTEGER) AS rate FROM others GROUP BY ALL
), draws AS (
  SELECT checkpoint, language, arm, prompt, seed, avg(has_word::INTEGER) AS share FROM others GROUP BY ALL
), paired AS (
  SELECT a.checkpoint, a.language, b.arm, avg(a.share - b.share) AS difference, count(*) + 2 AS n,
    sum(a.share - b.share) / (count(*) + 2) AS middle, (sum((a.share - b.share) ** 2) + 2) / (count(*) + 2) AS squares
  FROM draws AS a JOIN draws AS b ON a.checkpoint = b.checkpoint AND a.language = b.language
    AND a.prompt IS NOT DISTINCT FROM b.prompt AND a.seed = b.seed
  WHERE a.arm = 'experts' AND b.arm <> 'experts' GROUP BY ALL
), sizes AS (
  SELECT checkpoint, language, arm, any_value(k) AS k, count(*) AS n_texts FROM generations GROUP BY ALL
)
SELECT last.step, s.language, s.k, s.arm, s.n_texts, r.rate, r.difference, r.low, r.high,
  e.rate AS rate_elsewhere, p.difference AS difference_elsewhere,
  CASE WHEN p.n > 2 THEN greatest(p.middle - 1.959964 * sqrt((p.squares - p.middle ** 2) / p.n), -1) END AS low_elsewhere,
  CASE WHEN p.n > 2 THEN least(p.middle + 1.959964 * sqrt((p.squares - p.middle ** 2) / p.n), 1) END AS high_elsewhere,
  i.share AS in_language, h.shift, h.low AS shift_low, h.high AS shift_high
FROM last JOIN sizes AS s USING (checkpoint)
  LEFT JOIN concept_rate() AS r ON r.checkpoint = s.checkpoint AND r.language = s.language AND r.arm = s.arm
    AND r.concept IS NULL AND r.measure = 'words'
  LEFT JOIN elsewhere AS e ON e.checkpoint = s.checkpoint AND e.language = s.language AND e.arm = s.arm
  LEFT JOIN paired AS p ON p.checkpoint = s.checkpoint AND p.language = s.language AND p.arm = s.arm
  LEFT JOIN steering_languages() AS i ON i.checkpoint = s.checkpoint AND i.language = s.language AND i.arm = s.arm
    AND i.concept IS NULL AND i.text_language = s.language
  LEFT JOIN language_shift() AS h ON h.checkpoint = s.checkpoint AND h.language = s.language AND h.control = s.arm
    AND h.concept IS NULL
ORDER BY s.language, list_position(['experts', 'none', 'random', 'next', 'other'], s.arm) NULLS LAST, s.arm""",
    picture("bars", x="arm", y="rate", series=["store", "language"]),
    "rate: share of texts with a word of the concept; difference: experts less this arm, with its 95% interval (low, high) over "
    "draws; elsewhere: of texts in other languages than that of the experts; in_language: share of texts in the language of the "
    "experts, shift: experts less this arm, with its interval.",
)
GENERATIONS = Part(
    "generations",
    "Texts side by side: experts forced and controls",
    f"""{_AXIS}, {_STEERED}, drawn AS (
  SELECT concept, language, prompt, seed,
    max(text) FILTER (arm = 'experts') AS experts, max(text) FILTER (arm = 'none') AS "none",
    max(text) FILTER (arm = 'random') AS random, max(text) FILTER (arm = 'next') AS next,
    max(text) FILTER (arm = 'other') AS other
  FROM generations JOIN last USING (checkpoint) GROUP BY ALL
)
SELECT * FROM drawn WHERE experts IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY concept, language ORDER BY seed, prompt) = 1
ORDER BY concept, language LIMIT 24""",
    about="The first draw of each concept, not the best one. Texts of a row begin with the same random numbers; none: nothing "
    "was forced; random: as many random neurons of the same layers; next: the next best neurons; other: experts of another "
    "concept.",
)

FLAGS = Part(
    "flags",
    "Checkpoints to look at twice",
    """SELECT checkpoint, step, weight_hash, sanity_loss, loss_rise, same_as, is_duplicate, is_broken
FROM checkpoint_flags() WHERE is_duplicate OR is_broken""",
    about="is_duplicate: another checkpoint (same_as) has the same weights; is_broken: the loss on the corpus is no number, or "
    "rose by more than 1 nat.",
)
PROVENANCE = Part(
    "provenance",
    "Checkpoints",
    "SELECT checkpoint, model, step, weight_hash, sanity_loss, backend, dtype, control FROM checkpoints ORDER BY position",
)
