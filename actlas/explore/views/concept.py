"""One concept: what languages share of it, when, where, and which neurons these are."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import CONCEPT, FOLLOWED, NEURON_LINK, boxes, checkpoint_with, quarters

_K = Choice(
    "k",
    "Experts per language",
    """SELECT DISTINCT k
FROM (
    SELECT max((details->>'k')::INTEGER) AS kept
    FROM settings WHERE table_name = 'experts' AND is_shown AND checkpoint = $checkpoint
), LATERAL (SELECT unnest([kept, 1000, 500, 200, 100, 50, 20, 10, 5]) AS k)
WHERE k <= kept
ORDER BY k DESC""",
    needs=("checkpoint",),
    kind=int,
)

CONCEPT_VIEW = View(
    "concept",
    "Concept",
    choices=(CONCEPT, checkpoint_with("experts", "overlap"), _K),
    about="What languages share of one concept: when, in which layers, and in which neurons.",
    parts=(
        Part(
            "shared",
            "Neurons that languages share, the best first",
            """SELECT s.site, s.layer, s.neuron, s.n_languages, array_to_string(s.languages, ' ') AS languages,
    avg(e.ap) AS ap_mean, min(e.ap) AS ap_min
FROM shared_experts($checkpoint, $concept, k := $k) AS s
    JOIN experts AS e ON e.site = s.site AND e.layer = s.layer AND e.neuron = s.neuron
WHERE e.checkpoint = $checkpoint AND e.concept = $concept AND e.rank <= $k
GROUP BY s.site, s.layer, s.neuron, s.n_languages, s.languages
ORDER BY s.n_languages DESC, round(avg(e.ap), 12) DESC, s.site, s.layer, s.neuron""",
            about="Experts in two or more languages: of the most languages first, then by mean average precision in these"
            " languages.",
            links={"neuron": NEURON_LINK},
        ),
        Part(
            "overlap",
            "Overlap over training",
            f"""{FOLLOWED}
SELECT f.step, avg(overlap) AS overlap, min(overlap) AS lowest_pair, max(overlap) AS highest_pair, avg(chance) AS chance,
    avg(ceiling) AS ceiling, avg(cross_half) AS cross_half, count(overlap) AS n_pairs, max(k) AS k, f.checkpoint
FROM followed AS f JOIN overlap AS o USING (checkpoint)
WHERE o.concept = $concept
GROUP BY f.step, f.checkpoint, f.position
ORDER BY f.position""",
            picture("lines", x="step", y="overlap", low="lowest_pair", high="highest_pair", dashed=["chance", "ceiling"]),
            "Mean over pairs of languages of the share of experts that both have, between the lowest and the highest pair."
            " Dashed: chance, and the ceiling, which is what one language shares with itself on other texts.",
            {"step": "concept?concept={concept}&checkpoint={checkpoint}"},
        ),
        Part(
            "null",
            "Overlap beside that of labels without meaning",
            f"""{FOLLOWED}
SELECT f.step, t.overlap, t."null", greatest(t."null" - 1.959964 * t.null_sd, 0) AS null_low,
    least(t."null" + 1.959964 * t.null_sd, 1) AS null_high, t.excess, t.p_value, t.q_value, t.n_repeats, t.n_pairs, t.k,
    f.checkpoint
FROM followed AS f JOIN overlap_tests_by_concept AS t USING (checkpoint)
WHERE t.concept = $concept
ORDER BY f.position""",
            picture("lines", x="step", y="overlap", low="null_low", high="null_high", dashed=["null"]),
            "The band is where 95 % of the overlaps lie if labels move from meaning to meaning in all languages alike.",
        ),
        Part(
            "all_concepts",
            "For comparison: the mean of all concepts",
            f"""{FOLLOWED}
SELECT f.step, c.overlap, c.low, c.high, c."null", c.null_sd, c.p_value, c.null_independent, c.other_concept, c.chance,
    c.ceiling, c.cross_half, c.null_ceiling, c.null_cross_half, c.corrected_ratio, c.n_pairs, c.n_concepts, c.n_repeats,
    c.permuted, c.k, f.checkpoint
FROM followed AS f JOIN overlap_controls AS c USING (checkpoint)
ORDER BY f.position""",
            picture(
                "lines", x="step", y="overlap", low="low", high="high", dashed=["null", "other_concept", "chance", "ceiling"]
            ),
            "With the 95 % interval of the mean. Dashed: labels without meaning, experts of other concepts, chance, and the"
            " ceiling.",
        ),
        Part(
            "pairs",
            "Overlap of every two languages",
            """WITH pairs AS (FROM overlap_at($checkpoint, $concept, $k))
SELECT a.language AS language_a, b.language AS language_b, p.overlap, p.shared, p.jaccard, p.chance, p.k
FROM pairs AS p JOIN languages AS a ON a.language IN (p.language_a, p.language_b)
    JOIN languages AS b ON b.language IN (p.language_a, p.language_b) AND b.language <> a.language
ORDER BY a.position, b.position""",
            picture("matrix", x="language_b", y="language_a", value="overlap"),
            "At the chosen checkpoint and number of experts. The diagonal, a language with itself, is left out: it is 1.",
        ),
        Part(
            "evidence",
            "What the overlap of every two languages is held against",
            """SELECT language_a, language_b, overlap, chance, "null", null_low, null_high, excess, p_value, q_value,
    ceiling, cross_half, shared, k, n_repeats
FROM overlap_evidence($checkpoint)
WHERE concept = $concept
ORDER BY excess DESC NULLS LAST, language_a, language_b""",
            about="Chance, labels without meaning with the interval of 95 % of them, and the ceiling of the data.",
        ),
        Part(
            "layers",
            "Overlap by layer",
            """SELECT layer, avg(overlap) AS overlap, avg(chance) AS chance, avg(ceiling) AS ceiling,
    avg(cross_half) AS cross_half, avg(shared) AS shared, max(n_neurons) AS n_neurons
FROM overlap_by_layer
WHERE checkpoint = $checkpoint AND concept = $concept
GROUP BY layer
ORDER BY layer""",
            picture("lines", x="layer", y="overlap", dashed=["chance", "ceiling"]),
            "Each layer's part of the whole, mean over pairs of languages. Chance: of two sets with as many neurons in the"
            " layer.",
        ),
        Part(
            "experts_by_layer",
            "Where experts sit",
            """SELECT layer, site, sum(n_experts)::BIGINT AS n_experts,
    sum(n_experts) / sum(n_neurons)::DOUBLE AS share_of_neurons, max(n_neurons) AS n_neurons
FROM experts_by_layer($checkpoint, k := $k)
WHERE concept = $concept
GROUP BY layer, site
ORDER BY layer, site""",
            picture("bars", x="layer", y="n_experts", series=["site"]),
            "All languages together. A wide site has more experts by chance alone: share_of_neurons takes its size into account.",
        ),
        Part(
            "experts",
            "The ten best experts of every language",
            """WITH spread AS (
    SELECT site, layer, neuron, count(*) AS n_languages
    FROM experts WHERE checkpoint = $checkpoint AND concept = $concept AND rank <= $k GROUP BY site, layer, neuron
)
SELECT e.language, e.rank, e.site, e.layer, e.neuron, e.ap, s.n_languages
FROM experts AS e JOIN spread AS s USING (site, layer, neuron) JOIN languages AS l USING (language)
WHERE e.checkpoint = $checkpoint AND e.concept = $concept AND e.rank <= least(10, $k)
ORDER BY l.position, e.rank""",
            links={"neuron": NEURON_LINK},
        ),
        Part(
            "precision",
            "Average precision of the experts of every language",
            f"""SELECT e.language, {quarters("ap")}, count(*) AS n, min(c.n_positive / nullif(c.n_member, 0)) AS chance
FROM experts AS e JOIN languages AS l USING (language)
    LEFT JOIN label_counts AS c ON c.language = e.language AND c.concept = e.concept
WHERE e.checkpoint = $checkpoint AND e.concept = $concept AND e.rank <= $k
GROUP BY e.language, l.position
ORDER BY l.position""",
            boxes("language", x_label="ap", dashed=["chance"]),
            "Of the best by rank. Dashed, chance: the share of positive texts, which is what a neuron that knows nothing scores.",
        ),
        Part(
            "onset",
            "When its neurons were first shared",
            f"""{FOLLOWED}
SELECT f.step, count(s.checkpoint) AS n_neurons, f.checkpoint
FROM followed AS f LEFT JOIN first_shared($concept) AS s ON s.checkpoint = f.checkpoint
GROUP BY f.step, f.checkpoint, f.position
ORDER BY f.position""",
            picture("bars", x="step", y="n_neurons"),
            "Neurons that are experts in two or more languages at some checkpoint, by the first at which they are.",
        ),
        Part(
            "stability",
            "How far experts are those of the last checkpoint",
            f"""{FOLLOWED}
SELECT f.step, r.language, r.overlap_last, r.overlap_previous, r.k, f.checkpoint
FROM followed AS f JOIN rank_stability AS r USING (checkpoint)
WHERE r.concept = $concept
ORDER BY f.position, r.language""",
            picture("lines", x="step", y="overlap_last", series=["language"]),
        ),
    ),
)
