"""What a store holds, where it comes from, and what to be careful about."""

from __future__ import annotations

from actlas.explore.view import Part, View, picture

STORE = View(
    "store",
    "Store",
    choices=(),
    about="What this store holds, where it comes from, and what to be careful about.",
    parts=(
        Part(
            "sizes",
            "In short",
            """SELECT (SELECT count(*) FROM checkpoints WHERE control IS NULL) AS n_checkpoints,
    (SELECT count(*) FROM checkpoints WHERE control IS NOT NULL) AS n_controls, (SELECT count(*) FROM languages) AS n_languages,
    (SELECT count(DISTINCT concept) FROM label_counts) AS n_concepts, (SELECT sum(n_texts)::BIGINT FROM languages) AS n_texts,
    (SELECT sum(n_layers * n_neurons)::BIGINT FROM sites
     WHERE checkpoint = (SELECT arg_max(checkpoint, position) FROM checkpoints)) AS n_neurons,
    (SELECT sum(n_layers::BIGINT * n_neurons * n_texts) FROM cubes)::BIGINT AS n_values""",
            picture("facts"),
            "n_neurons: of all sites at one checkpoint; n_values: pooled values of all checkpoints together.",
        ),
        Part(
            "warnings",
            "To be careful about",
            """WITH flags AS (FROM checkpoint_flags())
SELECT 'checkpoint' AS kind, checkpoint AS name, 'holds the very weights of ' || array_to_string(same_as, ', ') AS warning
FROM flags WHERE is_duplicate
UNION ALL
SELECT 'checkpoint', checkpoint, 'looks broken: its sanity loss is ' || round(sanity_loss, 2)
    || coalesce(', ' || round(loss_rise, 2) || ' above the lowest of an earlier step', '')
FROM flags WHERE is_broken
UNION ALL
SELECT 'checkpoint', string_agg(checkpoint, ', ' ORDER BY position), 'share one step, ' || step || ': ordered by their ids'
FROM checkpoints WHERE control IS NULL AND step IS NOT NULL GROUP BY step HAVING count(*) > 1
UNION ALL
SELECT 'site', site, 'is not proved to be what its name says at ' || checkpoint || ': ' || proof || ', layer ' || layer
FROM site_proofs WHERE NOT is_proved
UNION ALL
SELECT 'site', site, round(100 * share_coarse, 1) || ' % of its neurons are stored coarsely at ' || checkpoint
FROM site_dtypes WHERE share_coarse > 0.01
UNION ALL
SELECT 'table', table_name, 'is not current at ' || string_agg(DISTINCT checkpoint, ', ' ORDER BY checkpoint)
    || ': what it stands on changed, or an older version kept it; make it again'
FROM settings WHERE is_shown AND NOT is_current GROUP BY table_name
UNION ALL
SELECT 'concept', concept, 'has no scores in ' || string_agg(language, ', ' ORDER BY language)
    || ': no positive or no negative text'
FROM label_counts WHERE n_positive = 0 OR n_positive = n_member GROUP BY concept
ORDER BY kind, name, warning""",
            about="No row: nothing was found.",
        ),
        Part(
            "concepts",
            "Concepts",
            """SELECT concept, count(*) FILTER (n_positive IS NULL OR n_positive > 0) AS n_languages,
    sum(n_positive)::BIGINT AS n_positive, sum(n_member)::BIGINT AS n_member
FROM label_counts
GROUP BY concept
ORDER BY concept""",
            about="A concept is what its positive texts share. Every one leads to its page.",
            links={"concept": "concept?concept={concept}"},
        ),
        Part(
            "checkpoints",
            "Checkpoints",
            """SELECT c.checkpoint, c.model, c.step, c.revision, c.control, c.sanity_loss, f.is_broken, f.same_as,
    c.weight_hash, c.backend, c.dtype
FROM checkpoints AS c LEFT JOIN (FROM checkpoint_flags()) AS f USING (checkpoint)
ORDER BY c.position""",
            picture("lines", x="checkpoint", y="sanity_loss"),
            "Sanity loss: mean loss per token on texts of the corpus, in nats. Flags are of checkpoints, not of controls.",
            {"checkpoint": "compare?checkpoint={checkpoint}"},
        ),
        Part(
            "sites",
            "Sites",
            """SELECT site, n_layers, n_neurons, bool_or(has_values) AS has_values, bool_or(has_scores) AS has_scores,
    bool_or(has_counts) AS has_counts, count(*) AS n_checkpoints
FROM sites
GROUP BY site, n_layers, n_neurons
ORDER BY site""",
            about="Which tensors were taken. Experts are ranked among the linear sites that were scored.",
        ),
        Part(
            "overlap",
            "Which concepts languages share most, at the last checkpoint",
            """SELECT concept, avg(overlap) AS overlap, avg(chance) AS chance, avg(ceiling) AS ceiling, max(k) AS k,
    count(overlap) AS n_pairs, checkpoint
FROM overlap
WHERE checkpoint = (SELECT arg_max(checkpoint, position) FROM checkpoints WHERE control IS NULL)
GROUP BY concept, checkpoint
ORDER BY round(avg(overlap), 12) DESC NULLS LAST, concept""",
            picture("bars", x="concept", y="overlap", dashed=["chance", "ceiling"]),
            "Mean over all pairs of languages of the share of experts that both have, beside chance and the ceiling of the data.",
            {"concept": "concept?concept={concept}&checkpoint={checkpoint}"},
        ),
        Part(
            "languages",
            "Languages",
            """SELECT l.language, l.n_texts, count(DISTINCT t.parallel_id) AS n_meanings, sum(t.n_tokens)::BIGINT AS n_tokens
FROM languages AS l LEFT JOIN texts AS t USING (language)
GROUP BY l.language, l.n_texts, l.position
ORDER BY l.position""",
            about="n_meanings: texts that are translations of each other have one meaning.",
            links={"language": "languages?language={language}"},
        ),
        Part(
            "labels",
            "Positive texts per language and concept",
            """SELECT language, concept, n_positive, n_member
FROM label_counts JOIN languages USING (language)
ORDER BY concept, position""",
            picture("matrix", x="language", y="concept", value="n_positive"),
        ),
        Part(
            "neuron_health",
            "What became of the values of neurons",
            """WITH sums AS (
    SELECT checkpoint, site, count(*) AS n_neurons, count(*) FILTER (is_constant) AS n_constant, min(low) AS lowest,
        max(high) AS highest, avg(share_zero) AS share_zero, avg(share_lost) AS share_lost, avg(share_special) AS share_special
    FROM neuron_health GROUP BY checkpoint, site
)
SELECT site, max(n_neurons) AS n_neurons, max(n_constant) AS most_constant, min(lowest) AS lowest, max(highest) AS highest,
    max(share_zero) AS most_zero, max(share_lost) AS most_lost, max(share_special) AS most_special, count(*) AS n_checkpoints
FROM sums
GROUP BY site
ORDER BY site""",
            about="Of each site, the checkpoint with the most. A neuron with one value for all texts cannot be an expert;"
            " shares are of texts, mean over neurons: kept as 0, not kept with all bits, and of a token that the tokenizer"
            " added.",
        ),
        Part(
            "site_proofs",
            "What proves that sites are what their names say",
            """WITH least AS (
    SELECT *, count(*) OVER one AS n_checkpoints, bool_and(is_proved) OVER one AS are_proved,
        row_number() OVER (one ORDER BY is_proved, figure DESC, checkpoint, layer) AS place
    FROM site_proofs
    WINDOW one AS (PARTITION BY site, proof)
)
SELECT site, proof, are_proved, figure, allowed, layer, checkpoint, architecture, compute_dtype, n_checkpoints
FROM least
WHERE place = 1
ORDER BY are_proved, site, proof""",
            about="figure: by how much the property fails to hold, in the layer and checkpoint where it holds least;"
            " allowed: what rounding allows.",
        ),
        Part(
            "site_dtypes",
            "What rounding to the stored type does",
            """SELECT site, dtype, max(rounding) AS rounding, max(share_coarse) AS share_coarse,
    max(abs(ap_change)) AS ap_change,
    max(ap_change_most) AS ap_change_most, min(same_best) AS same_best, min(n_texts) AS n_texts, min(reason) AS reason,
    count(*) AS n_checkpoints
FROM site_dtypes
GROUP BY site, dtype
ORDER BY site, dtype""",
            about="Of each site, the checkpoint at which it does most.",
        ),
        Part(
            "score_sources",
            "How exact scores are",
            """SELECT site, statistic, source, exactness, threshold, count(*) AS n_checkpoints
FROM score_sources
GROUP BY site, statistic, source, exactness, threshold
ORDER BY site, statistic, source""",
        ),
        Part(
            "tables",
            "Tables that are kept, and with which settings",
            """SELECT table_name, settings, count(DISTINCT checkpoint) AS n_checkpoints, bool_and(is_shown) AS is_shown,
    bool_and(is_current) AS is_current, (json_merge_patch(min(details), '{"basis": null}'))::VARCHAR AS details
FROM settings
GROUP BY table_name, settings
ORDER BY table_name, is_shown DESC, settings""",
        ),
    ),
)
