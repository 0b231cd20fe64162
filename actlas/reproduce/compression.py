"""Figures of arXiv 2506.01629: language-specific neurons that become shared ones while a model is trained."""

from __future__ import annotations

from actlas.reproduce import compressed, forced
from actlas.reproduce.figures import COURSE, Claim, Figure, mean_with_interval

TITLE = "Cross-lingual generalization and compression (arXiv 2506.01629)"

#: Accuracy of every probe, and of the mean over layers, where the layers of block outputs are.
_PROBES = f"""WITH {COURSE}, probes AS (
  SELECT course.*, site, layer, seed, accuracy, chance FROM probe JOIN course USING (checkpoint) WHERE label = 'language'
), means AS (
  SELECT place, is_last, seed, avg(accuracy) AS accuracy, stddev_pop(accuracy) AS spread
  FROM probes WHERE site = 'resid' GROUP BY place, is_last, seed
), peak AS (
  SELECT place FROM means WHERE NOT is_last GROUP BY place ORDER BY avg(accuracy) DESC, place LIMIT 1
)"""

PROBING = Figure(
    name="probing",
    title="What language is a token of? Probes by layer and step",
    text=(
        "A linear classifier reads the language of single tokens from their vectors, trained and tested on different texts. "
        "Bands: one standard deviation over the seeds of the probes, or the interval over runs where there are several."
    ),
    measure="accuracy",
    needs=("probe",),
    sql=f"""{_PROBES}
SELECT '' AS panel,
  CASE WHEN count(DISTINCT layer) OVER (PARTITION BY site) = 1 THEN site ELSE site || ' ' || layer END AS series,
  position, step, accuracy AS value, accuracy - spread AS low, accuracy + spread AS high
FROM (
  SELECT site, layer, position, step, avg(accuracy) AS accuracy, stddev_samp(accuracy) AS spread
  FROM probes GROUP BY site, layer, position, step
)
UNION ALL
SELECT '', 'chance', position, step, avg(chance), NULL, NULL FROM probes GROUP BY position, step
ORDER BY series = 'chance', series = 'embed' DESC, series, position""",
    claims=(
        Claim(
            "After a peak, the language of a token can be read less well as training goes on.",
            "fall of the mean accuracy over layers from its peak to the last checkpoint",
            f"""{_PROBES}
SELECT {mean_with_interval("fall")} FROM (
  SELECT before.accuracy - after.accuracy AS fall
  FROM means AS before JOIN peak USING (place) JOIN means AS after ON after.is_last AND after.seed = before.seed
)""",
        ),
        Claim(
            "Layers become more different from each other in what can be read of the language.",
            "rise of the standard deviation of accuracy over layers, from the peak of the mean to the last checkpoint",
            f"""{_PROBES}
SELECT {mean_with_interval("rise")} FROM (
  SELECT after.spread - before.spread AS rise
  FROM means AS before JOIN peak USING (place) JOIN means AS after ON after.is_last AND after.seed = before.seed
)""",
        ),
    ),
)

_OVERLAP = f"""WITH {COURSE}, means AS (
  SELECT course.*, c.* EXCLUDE (checkpoint, step) FROM overlap_controls AS c JOIN course USING (checkpoint)
)"""

OVERLAP = Figure(
    name="overlap",
    title="Do languages share their experts? Overlap beside both nulls",
    text=(
        "Experts of a concept in a language are the neurons whose values tell its texts from others best; overlap is the share "
        "that two languages have in common, over all pairs and concepts. The first null moves labels among meanings, so that "
        "translations stay together; the second moves them in each language by itself. Bands: 95% interval over concepts, or "
        "over runs."
    ),
    measure="overlap",
    needs=("overlap_controls",),
    sql=f"""{_OVERLAP}
SELECT '' AS panel, series, position, step, value, low, high FROM (
  SELECT 1 AS rank, 'overlap' AS series, position, step, overlap AS value, low, high FROM means
  UNION ALL SELECT 2, 'null: translations together', position, step, "null", NULL, NULL FROM means
  UNION ALL SELECT 3, 'null: each language by itself', position, step, null_independent, NULL, NULL FROM means
  UNION ALL SELECT 4, 'another concept', position, step, other_concept, NULL, NULL FROM means
  UNION ALL SELECT 5, 'chance', position, step, chance, NULL, NULL FROM means
)
ORDER BY rank, position""",
    claims=(
        Claim(
            "At the end of training, languages share experts of a concept.",
            "overlap above its null at the last checkpoint",
            f'{_OVERLAP} SELECT excess AS effect, low - "null" AS low, high - "null" AS high, p_value FROM means WHERE is_last',
        ),
        Claim(
            "They come to share them during training.",
            "rise of the overlap above its null, from the first checkpoint to the last",
            f"""{_OVERLAP}
SELECT rise AS effect, rise - sqrt((b.overlap - b.low) ** 2 + (a.high - a.overlap) ** 2) AS low,
  rise + sqrt((b.high - b.overlap) ** 2 + (a.overlap - a.low) ** 2) AS high, NULL::DOUBLE AS p_value
FROM means AS a, means AS b, LATERAL (SELECT b.excess - a.excess AS rise) WHERE a.is_first AND b.is_last""",
        ),
        Claim(
            "They do so also between disjoint halves of the texts, where nothing but the concept is alike.",
            "overlap across halves above its null at the last checkpoint, as a share of the same within a language",
            f"{_OVERLAP} SELECT corrected_ratio AS effect, NULL AS low, NULL AS high, p_value FROM means WHERE is_last",
        ),
    ),
)

_LAYERS = f"""WITH {COURSE}, layers AS (
  SELECT course.*, c.* EXCLUDE (checkpoint, step),
    c.layer IN (min(c.layer) OVER (PARTITION BY checkpoint), max(c.layer) OVER (PARTITION BY checkpoint)) AS is_end
  FROM overlap_controls_by_layer AS c JOIN course USING (checkpoint)
)"""

LAYERS = Figure(
    name="overlap-layers",
    title="In which layers are experts shared?",
    text=(
        "Each layer's part of the overlap, and of what labels without meaning give where translations stay together; the layers "
        "add up to the whole. Bands as before."
    ),
    measure="part of the overlap",
    needs=("overlap_controls_by_layer",),
    sql=f"""{_LAYERS}
SELECT '' AS panel, series, position, step, value, low, high FROM (
  SELECT 1 AS rank, 'layer ' || layer AS series, layer, position, step, overlap AS value, low, high FROM layers
  UNION ALL SELECT 2, 'null, layer ' || layer, layer, position, step, "null", NULL, NULL FROM layers
)
ORDER BY rank, layer, position""",
    claims=(
        Claim(
            "The layers in the middle share more than the first and the last.",
            "mean part of the overlap above its null, inner layers less the two at the ends, at the last checkpoint",
            f"""{_LAYERS}, parts AS (
  SELECT is_end, avg(excess) AS excess, sqrt(sum((overlap - low) ** 2)) / count(*) AS down,
    sqrt(sum((high - overlap) ** 2)) / count(*) AS up
  FROM layers WHERE is_last GROUP BY is_end
)
SELECT a.excess - b.excess AS effect, a.excess - b.excess - sqrt(a.down ** 2 + b.up ** 2) AS low,
  a.excess - b.excess + sqrt(a.up ** 2 + b.down ** 2) AS high, NULL::DOUBLE AS p_value
FROM parts AS a, parts AS b WHERE NOT a.is_end AND b.is_end""",
        ),
    ),
)

_PAIRS = f"""WITH {COURSE}, pairs AS (
  SELECT course.*, t.language_a || '-' || t.language_b AS pair, t.concept, t.overlap, t."null", t.excess
  FROM overlap_tests AS t JOIN course USING (checkpoint) WHERE t.overlap IS NOT NULL
)"""

PAIRS = Figure(
    name="overlap-pairs",
    title="Which languages share them?",
    text=(
        "Overlap of each pair of languages, mean over concepts, and the mean null over all pairs. Bands: 95% interval over "
        "concepts, or over runs."
    ),
    measure="overlap",
    needs=("overlap_tests",),
    sql=f"""{_PAIRS}
SELECT '' AS panel, pair AS series, position, step, effect AS value, low, high
FROM (SELECT pair, position, step, {mean_with_interval("overlap")} FROM pairs GROUP BY pair, position, step)
UNION ALL
SELECT '', 'null: translations together', position, step, avg("null"), NULL, NULL FROM pairs GROUP BY position, step
ORDER BY series LIKE 'null%', series, position""",
    claims=(
        Claim(
            "Every pair of languages shares experts at the end of training.",
            "overlap above its null of the pair with the least, at the last checkpoint",
            f"""{_PAIRS}
SELECT effect, low, high, p_value FROM (SELECT pair, {mean_with_interval("excess")} FROM pairs WHERE is_last GROUP BY pair)
ORDER BY effect LIMIT 1""",
        ),
    ),
)

_SPREAD = f"""WITH {COURSE}, n AS (SELECT count(*) AS n_all FROM languages), masks AS (
  SELECT checkpoint, concept, site, layer, neuron, sum(n_languages) AS n_languages FROM expert_mask GROUP BY ALL
), counts AS (
  SELECT place, position, step, is_first, is_last, concept, n_languages, count(*) AS n_neurons
  FROM masks JOIN course USING (checkpoint) GROUP BY ALL
), concepts_then AS (SELECT DISTINCT concept, place, position, step, is_first, is_last FROM counts
), most AS (
  SELECT c.*, coalesce(sum(n_neurons) FILTER (2 * n_languages > n_all), 0)::DOUBLE AS n_neurons
  FROM concepts_then AS c LEFT JOIN counts USING (concept, place), n GROUP BY ALL
)"""
_BEST = f"""WITH {COURSE}, best AS (
  SELECT is_first, is_last, concept, max(ap_min) AS ap FROM trajectory JOIN course USING (checkpoint) GROUP BY ALL
)"""

TRAJECTORIES = Figure(
    name="trajectories",
    title="Do single neurons become predictors of one concept in more and more languages?",
    text=(
        "Neurons per concept that are experts in so many languages at once, then the best predictor of a concept in all "
        "languages: the neuron whose lowest average precision over languages is highest, mean over concepts. Bands: 95% "
        "interval over concepts, or over runs."
    ),
    measure="neurons per concept, or ap",
    needs=("expert_mask", "trajectory"),
    sql=f"""{_SPREAD}, best AS (
  SELECT position, course.step, concept, max(ap_min) AS ap FROM trajectory JOIN course USING (checkpoint) GROUP BY ALL
), grid AS (
  SELECT concept, position, step, m.n_languages, coalesce(counts.n_neurons, 0)::DOUBLE AS n_neurons
  FROM concepts_then CROSS JOIN (SELECT unnest(range(2, n_all + 1)) AS n_languages FROM n) AS m
    LEFT JOIN counts USING (concept, position, step, n_languages)
)
SELECT panel, series, position, step, value, low, high FROM (
  SELECT 'neurons per concept' AS panel, 'experts in ' || n_languages || ' languages' AS series, position, step,
    effect AS value, low, high
  FROM (SELECT n_languages, position, step, {mean_with_interval("n_neurons")} FROM grid GROUP BY n_languages, position, step)
  UNION ALL
  SELECT 'lowest ap over languages', 'best predictor in all languages', position, step, effect, low, high
  FROM (SELECT position, step, {mean_with_interval("ap")} FROM best GROUP BY position, step)
)
ORDER BY panel DESC, series, position""",
    claims=(
        Claim(
            "Neurons become experts of one concept in more and more languages.",
            "neurons per concept that are experts in more than half of the languages, last checkpoint less the first",
            f"""{_SPREAD}
SELECT {mean_with_interval("rise")}
FROM (SELECT b.n_neurons - a.n_neurons AS rise FROM most AS a JOIN most AS b USING (concept) WHERE a.is_first AND b.is_last)""",
        ),
        Claim(
            "They become more reliable predictors across languages.",
            "lowest ap over languages of a concept's best neuron, last checkpoint less the first",
            f"""{_BEST}
SELECT {mean_with_interval("rise")}
FROM (SELECT b.ap - a.ap AS rise FROM best AS a JOIN best AS b USING (concept) WHERE a.is_first AND b.is_last)""",
        ),
    ),
)

FIGURES = (
    PROBING,
    OVERLAP,
    LAYERS,
    PAIRS,
    TRAJECTORIES,
    forced.LANGUAGES,
    forced.CONCEPTS,
    compressed.PARAMETERS,
    compressed.REPRESENTATIONS,
)
