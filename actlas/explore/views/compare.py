"""Two checkpoints side by side: two steps, or a model and its control."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import checkpoint_with

_OTHER = Choice(
    "other",
    "Beside",
    """SELECT checkpoint FROM checkpoints
ORDER BY checkpoint = $checkpoint, control IS NULL, position""",
    needs=("checkpoint",),
)

#: The two of them, in the order that they were chosen in.
_TWO = "(SELECT 1 AS place, $checkpoint AS checkpoint UNION ALL SELECT 2, $other WHERE $other <> $checkpoint) AS two"

COMPARE = View(
    "compare",
    "Compare",
    choices=(checkpoint_with("experts", "overlap"), _OTHER),
    about="Two checkpoints side by side: two steps of training, or a model and its control where the store has one.",
    parts=(
        Part(
            "checkpoints",
            "The two checkpoints",
            f"""SELECT c.checkpoint, c.model, c.step, c.control, c.sanity_loss, c.weight_hash,
    count(*) OVER (PARTITION BY c.weight_hash) > 1 AND c.weight_hash IS NOT NULL AS has_same_weights
FROM {_TWO} JOIN checkpoints AS c USING (checkpoint)
ORDER BY two.place""",
        ),
        Part(
            "overlap",
            "What languages share at each",
            f"""SELECT o.concept, o.checkpoint, avg(o.overlap) AS overlap, avg(o.chance) AS chance, avg(o.ceiling) AS ceiling,
    avg(o.cross_half) AS cross_half, count(o.overlap) AS n_pairs, max(o.k) AS k
FROM {_TWO} JOIN overlap AS o USING (checkpoint)
GROUP BY o.concept, o.checkpoint, two.place
ORDER BY round(avg(avg(o.overlap)) OVER (PARTITION BY o.concept), 12) DESC NULLS LAST, o.concept, two.place""",
            picture("bars", x="concept", y="overlap", series=["checkpoint"]),
            "Mean over pairs of languages of the share of experts that both have, the concept with the most overlap first.",
            {"concept": "concept?concept={concept}&checkpoint={checkpoint}"},
        ),
        Part(
            "controls",
            "The mean of all concepts at each",
            f"""SELECT o.checkpoint, o.overlap, o.low, o.high, o."null", o.null_sd, o.p_value, o.other_concept, o.chance,
    o.ceiling, o.cross_half, o.corrected_ratio, o.n_pairs, o.n_concepts, o.k
FROM {_TWO} JOIN overlap_controls AS o USING (checkpoint)
ORDER BY two.place""",
            about="With the 95 % interval, and the mean overlap for labels without meaning.",
        ),
        Part(
            "experts",
            "Experts that the two have in common",
            """WITH a AS (SELECT language, concept, site, layer, neuron, rank FROM experts WHERE checkpoint = $checkpoint),
    b AS (SELECT language, concept, site, layer, neuron, rank FROM experts WHERE checkpoint = $other),
    least_k AS (SELECT least((SELECT max(rank) FROM a), (SELECT max(rank) FROM b)) AS k),
    common AS (
        SELECT language, concept, count(*) AS shared
        FROM a JOIN b USING (language, concept, site, layer, neuron), least_k
        WHERE a.rank <= k AND b.rank <= k GROUP BY language, concept
    ),
    there AS (SELECT language, concept FROM a WHERE rank = 1 INTERSECT SELECT language, concept FROM b WHERE rank = 1)
SELECT t.concept, t.language, coalesce(c.shared, 0) AS n_common, coalesce(c.shared, 0) / k::DOUBLE AS share_common, k
FROM there AS t CROSS JOIN least_k LEFT JOIN common AS c USING (language, concept) JOIN languages AS l USING (language)
ORDER BY sum(n_common) OVER (PARTITION BY t.concept) DESC, t.concept, l.position""",
            picture("matrix", x="language", y="concept", value="share_common"),
            "Share of the k best neurons at one that are among the k best at the other, zeros included.",
        ),
        Part(
            "probe",
            "Accuracy of probes",
            f"""WITH told AS (SELECT two.place, p.* FROM {_TWO} JOIN (FROM probe_intervals()) AS p USING (checkpoint))
SELECT a.label, a.site, a.layer, a.accuracy, b.accuracy AS accuracy_beside, a.accuracy - b.accuracy AS difference,
    a.low, a.high, b.low AS low_beside, b.high AS high_beside, a.chance
FROM told AS a JOIN told AS b USING (label, site, layer)
WHERE a.place = 1 AND b.place = 2
ORDER BY a.label, a.site, a.layer""",
            picture("lines", x="layer", y="difference", series=["label", "site"]),
            "Mean over seeds at the first and at the second checkpoint, and their difference; with 95 % intervals.",
            {"label": "probe?label={label}"},
        ),
        Part(
            "weights",
            "Weights",
            """SELECT a.layer, a.kind, a.module, a.n_weights, a.norm, b.norm AS norm_beside, a.stable_rank,
    b.stable_rank AS stable_rank_beside, a.effective_rank, b.effective_rank AS effective_rank_beside
FROM weights AS a JOIN weights AS b USING (module)
WHERE a.checkpoint = $checkpoint AND b.checkpoint = $other
ORDER BY a.layer NULLS FIRST, a.module""",
            about="Every weight tensor at both: its norm, and how many directions it uses.",
        ),
        Part(
            "distance",
            "How far apart the weights are",
            """WITH apart AS (
    SELECT checkpoint, previous AS beside, module, distance_previous AS distance, cosine_previous AS cosine, relative_error
    FROM parameter_space
    UNION ALL
    SELECT checkpoint, last, module, distance_last, cosine_last, relative_error FROM parameter_space
), known AS (
    SELECT module, min(distance) AS distance, min(cosine) AS cosine, min(relative_error) AS relative_error
    FROM apart
    WHERE (checkpoint = $checkpoint AND beside = $other) OR (checkpoint = $other AND beside = $checkpoint)
    GROUP BY module
)
SELECT p.layer, p.kind, p.module, p.n_weights, k.distance, k.distance / nullif(p.norm, 0) AS relative_distance, k.cosine,
    k.relative_error
FROM known AS k JOIN parameter_space AS p USING (module)
WHERE p.checkpoint = $other
ORDER BY p.layer NULLS FIRST, p.module""",
            picture("lines", x="layer", y="relative_distance", series=["kind"]),
            "Relative to the norm at the second. Known between neighbours in the order of steps, and between a checkpoint"
            " and the last: no row if the two are neither, no number for vectors.",
        ),
    ),
)
