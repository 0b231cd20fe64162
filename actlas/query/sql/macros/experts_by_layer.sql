-- experts_by_layer(checkpoint, k := NULL): how many of the k best experts sit in each layer of each site, zeros included; k null: all that are kept
-- reads: experts, layer_histogram
CREATE MACRO experts_by_layer(ck, k := NULL) AS TABLE
WITH wanted AS (
    SELECT CASE WHEN k > kept
        THEN error('table experts holds the ' || kept || ' best neurons of ' || ck || ', not ' || k
            || ': ask for fewer, or rank more with actlas experts STORE --k ' || k)::INTEGER
        ELSE coalesce(k, kept)::INTEGER END AS reach
    FROM (SELECT max(rank) AS kept FROM experts WHERE checkpoint = ck)
), counted AS (
    SELECT concept, language, site, layer, count(*)::INTEGER AS n_experts
    FROM experts
    WHERE checkpoint = ck AND rank <= (SELECT reach FROM wanted)
    GROUP BY concept, language, site, layer
)
SELECT h.checkpoint, h.concept, h.language, h.site, h.layer, coalesce(c.n_experts, 0) AS n_experts, h.n_neurons, w.reach AS k
FROM wanted AS w CROSS JOIN layer_histogram AS h
    LEFT JOIN counted AS c ON c.concept = h.concept AND c.language = h.language AND c.site = h.site AND c.layer = h.layer
WHERE h.checkpoint = ck
ORDER BY h.concept, h.language, h.site, h.layer;
