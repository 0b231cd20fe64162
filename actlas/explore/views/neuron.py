"""One neuron: what it detects, in which languages, since when, on which texts, and which neurons are like it."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import CONCEPT, FOLLOWED, NEURON_LINK, boxes, checkpoint_with, quarters

#: The neurons that are experts of the concept, by the languages that they are that in, then by average precision.
_BEST = """WITH best AS (
    SELECT site, layer, neuron, row_number() OVER (ORDER BY count(*) DESC, round(avg(ap), 12) DESC, site, layer, neuron) AS place
    FROM experts WHERE checkpoint = $checkpoint AND concept = $concept GROUP BY site, layer, neuron
)"""
_SITES = "SELECT site FROM sites WHERE checkpoint = $checkpoint"
_LAYERS = "SELECT unnest(range(n_layers))::INTEGER AS layer FROM sites WHERE checkpoint = $checkpoint AND site = $site"
_NEURONS = "SELECT unnest(range(n_neurons))::INTEGER AS neuron FROM sites WHERE checkpoint = $checkpoint AND site = $site"

_SITE = Choice(
    "site",
    "Site",
    f"""{_BEST}
{_SITES}
ORDER BY (SELECT min(place) FROM best WHERE best.site = sites.site) NULLS LAST, has_scores DESC, site""",
    needs=("checkpoint", "concept"),
    otherwise=f"{_SITES} ORDER BY has_scores DESC, site",
)
_LAYER = Choice(
    "layer",
    "Layer",
    f"""{_BEST}
SELECT layer FROM ({_LAYERS})
ORDER BY layer = (SELECT arg_min(layer, place) FROM best WHERE site = $site) DESC NULLS LAST, layer""",
    needs=("checkpoint", "concept", "site"),
    kind=int,
    otherwise=f"{_LAYERS} ORDER BY layer",
)
_NEURON = Choice(
    "neuron",
    "Neuron",
    f"""{_BEST}
SELECT neuron FROM ({_NEURONS})
ORDER BY neuron = (SELECT arg_min(neuron, place) FROM best WHERE site = $site AND layer = $layer) DESC NULLS LAST, neuron""",
    needs=("checkpoint", "concept", "site", "layer"),
    kind=int,
    otherwise=f"{_NEURONS} ORDER BY neuron",
)

_ONE = "a.checkpoint = $checkpoint AND a.site = $site AND a.layer = $layer AND a.neuron = $neuron"

#: Its values, with the language of the text and whether it expresses the concept; texts that take no part in it are left out.
_LABELLED = f"""WITH valued AS (
    SELECT a.text_id, a.language, a.value, CASE WHEN b.is_concept THEN 'positive' ELSE 'negative' END AS label
    FROM activations AS a JOIN labels AS b ON b.text_id = a.text_id
    WHERE {_ONE} AND b.concept = $concept
)"""

NEURON = View(
    "neuron",
    "Neuron",
    choices=(checkpoint_with("experts"), CONCEPT, _SITE, _LAYER, _NEURON),
    about="What one neuron detects, in which languages, since when, on which texts, and which neurons are like it.",
    parts=(
        Part(
            "top_texts",
            "Texts with the highest values",
            f"""SELECT row_number() OVER (ORDER BY a.value DESC, a.text_id) AS rank, t.text, a.language, a.value,
    b.is_concept, a.text_id
FROM activations AS a JOIN texts AS t ON t.text_id = a.text_id
    LEFT JOIN (SELECT text_id, is_concept FROM labels WHERE concept = $concept) AS b ON b.text_id = a.text_id
WHERE {_ONE}
QUALIFY rank <= 20
ORDER BY rank""",
            picture("texts", text="text", language="language", value="value", text_id="text_id", marks=["is_concept"]),
            "is_concept: whether the text expresses the chosen concept; a dash where it takes no part.",
        ),
        Part(
            "scores",
            "Average precision for the concept over training",
            f"""{FOLLOWED}
SELECT f.step, s.language, s.ap, c.n_positive / nullif(c.n_member, 0) AS chance, f.checkpoint
FROM followed AS f JOIN (FROM neuron_scores($site, $layer, $neuron, $concept)) AS s USING (checkpoint)
    JOIN languages AS l ON l.language = s.language
    LEFT JOIN label_counts AS c ON c.language = s.language AND c.concept = $concept
ORDER BY f.position, l.position""",
            picture("lines", x="step", y="ap", series=["language"], dashed=["chance"]),
            "Dashed: the share of positive texts, which is what a neuron that knows nothing scores.",
        ),
        Part(
            "values",
            "Values of texts with the concept and without it",
            f"""{_LABELLED}
SELECT v.language, v.label, {quarters("value")}, avg(value::DOUBLE) AS mean_value, count(*) AS n_texts
FROM valued AS v JOIN languages AS l USING (language)
GROUP BY v.language, l.position, v.label
ORDER BY l.position, v.label DESC""",
            boxes("language", "label"),
            "From the lowest to the highest value; the box holds the middle half of the texts.",
        ),
        Part(
            "histogram",
            "How values are spread",
            f"""{_LABELLED}, reach AS (
    SELECT min(value)::DOUBLE AS least, greatest(max(value)::DOUBLE - least, 1e-30) / 30 AS width FROM valued
), counted AS (
    SELECT label, least(floor((value - least) / width), 29)::INTEGER AS bin, count(*) AS n_texts FROM valued, reach GROUP BY ALL
)
SELECT label, least + bin * width AS bin_low, least + (bin + 1) * width AS bin_high, n_texts,
    n_texts / sum(n_texts) OVER (PARTITION BY label) AS share
FROM counted, reach
ORDER BY label DESC, bin""",
            picture("histogram", low="bin_low", high="bin_high", count="share", series=["label"], x_label="value"),
            "All languages together; share: of the positive, or of the negative texts. Bins without texts have no row.",
        ),
        Part(
            "quantiles",
            "Texts from the whole range of values",
            f"""WITH ranked AS (
    SELECT a.text_id, a.language, a.value, ntile(10) OVER (ORDER BY a.value DESC, a.text_id) AS tenth
    FROM activations AS a
    WHERE {_ONE}
), drawn AS (
    SELECT *, min(value) OVER (PARTITION BY tenth) AS lowest, max(value) OVER (PARTITION BY tenth) AS highest,
        row_number() OVER (PARTITION BY tenth ORDER BY md5(concat_ws(' ', $site, $layer, $neuron, text_id)), text_id) AS draw
    FROM ranked
)
SELECT d.tenth, d.lowest, d.highest, t.text, d.language, d.value, b.is_concept, d.text_id
FROM drawn AS d JOIN texts AS t USING (text_id)
    LEFT JOIN (SELECT text_id, is_concept FROM labels WHERE concept = $concept) AS b USING (text_id)
WHERE d.draw <= 3
ORDER BY d.draw, d.tenth""",
            picture("texts", text="text", language="language", value="value", text_id="text_id", marks=["tenth", "is_concept"]),
            "Out of every tenth of the texts one, then another and a third; tenth 1 has the highest values. They are drawn by a"
            " digest, so the same for everyone.",
        ),
        Part(
            "languages",
            "Its values by language",
            f"""SELECT a.language, {quarters("a.value")}, count(*) AS n_texts
FROM activations AS a JOIN languages AS l ON l.language = a.language
WHERE {_ONE}
GROUP BY a.language, l.position
ORDER BY l.position""",
            boxes("language"),
            "Of all texts, whether they take part in the concept or not.",
        ),
        Part(
            "concepts",
            "Its average precision for every concept",
            """WITH own AS (
    SELECT concept, language, ap FROM scores
    WHERE checkpoint = $checkpoint AND site = $site AND layer = $layer AND neuron = $neuron
)
SELECT o.concept, o.language, o.ap, c.n_positive / nullif(c.n_member, 0) AS chance,
    avg(o.ap) OVER (PARTITION BY o.concept) AS ap_mean
FROM own AS o JOIN languages AS l USING (language)
    LEFT JOIN label_counts AS c ON c.language = o.language AND c.concept = o.concept
ORDER BY round(ap_mean, 12) DESC NULLS LAST, o.concept, l.position""",
            picture("matrix", x="language", y="concept", value="ap"),
            "At the chosen checkpoint, the best concept first.",
            {"concept": NEURON_LINK},
        ),
        Part(
            "roles",
            "What it is among the best experts for",
            """SELECT e.concept, count(*) AS n_languages, string_agg(e.language, ' ' ORDER BY l.position) AS languages,
    min(e.rank) AS best_rank, avg(e.ap) AS ap_mean
FROM experts AS e JOIN languages AS l USING (language)
WHERE e.checkpoint = $checkpoint AND e.site = $site AND e.layer = $layer AND e.neuron = $neuron
GROUP BY e.concept
ORDER BY n_languages DESC, best_rank, e.concept""",
            about="Experts are ranked over all layers and linear sites together. No row: it is an expert for nothing.",
            links={"concept": "concept?concept={concept}&checkpoint={checkpoint}"},
        ),
        Part(
            "alike",
            "Neurons that are experts for the same",
            "FROM alike_neurons($checkpoint, $site, $layer, $neuron, n := 20)",
            about="similarity: the smaller average precision of the two over the larger, added up over all concepts and"
            " languages that either is an expert for. No row: it is an expert for nothing.",
            links={"neuron": NEURON_LINK},
        ),
        Part(
            "alike_values",
            "How their values go together with its own",
            f"""WITH near AS (FROM alike_neurons($checkpoint, $site, $layer, $neuron, n := 10))
SELECT concat_ws('/', n.site, n.layer, n.neuron) AS place, n.rank, n.site, n.layer, n.neuron,
    corr(b.value::DOUBLE, a.value::DOUBLE) AS correlation, count(*) AS n_texts
FROM near AS n JOIN activations AS b ON b.site = n.site AND b.layer = n.layer AND b.neuron = n.neuron
    JOIN activations AS a ON a.text_id = b.text_id
WHERE b.checkpoint = $checkpoint AND {_ONE}
GROUP BY n.rank, n.site, n.layer, n.neuron
ORDER BY correlation DESC NULLS LAST, n.rank""",
            picture("bars", x="place", y="correlation"),
            "Pearson's correlation over all texts, of the ten that are most like it.",
            {"place": NEURON_LINK},
        ),
        Part(
            "activity",
            "Share of tokens on which it is active",
            f"""{FOLLOWED}
SELECT f.step, l.language, t.p_active[l.position + 1] AS p_active, t.entropy, t.site AS counted_at, f.checkpoint
FROM followed AS f JOIN token_activity AS t USING (checkpoint) CROSS JOIN languages AS l
WHERE replace(t.site, 'hidden', 'pre') = replace($site, 'hidden', 'pre') AND t.layer = $layer AND t.neuron = $neuron
ORDER BY f.position, l.position""",
            picture("lines", x="step", y="p_active", series=["language"]),
            "Tokens are counted for neurons of MLPs alone, which mlp_pre and mlp_hidden number alike. No row: a neuron of"
            " another site.",
        ),
        Part(
            "health",
            "What became of its values",
            """SELECT * FROM neuron_health
WHERE checkpoint = $checkpoint AND site = $site AND layer = $layer AND neuron = $neuron""",
            picture("facts"),
        ),
    ),
)
