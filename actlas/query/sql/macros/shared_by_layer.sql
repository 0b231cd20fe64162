-- shared_by_layer(checkpoint, m := 2): pairs of a neuron and a concept that it is an expert for anywhere, by layer: how many are that in at least m languages, as a share, and the share if each language drew as many experts of each layer at random, of the neurons that can be experts
-- reads: expert_mask, layer_histogram, rankable
CREATE MACRO shared_by_layer(ck, m := 2) AS TABLE
WITH drawn AS (
    -- probabilities that a neuron of the layer is drawn in 0, 1, 2, ... languages: one language after the other
    SELECT layer, max(n_rankable) AS n_rankable, list_reduce(
        list([n_experts / greatest(n_rankable, 1)::DOUBLE] ORDER BY language),
        lambda chances, p: list_transform(
            range(len(chances) + 1),
            lambda n: coalesce(chances[n + 1], 0) * (1 - p[1]) + coalesce(chances[n], 0) * p[1]
        ),
        [1::DOUBLE]
    ) AS chances
    FROM layer_histogram JOIN (SELECT * EXCLUDE (language_b) RENAME (language_a AS language) FROM rankable WHERE language_a = language_b)
        USING (checkpoint, concept, language, site, layer)
    WHERE checkpoint = ck
    GROUP BY concept, site, layer
), expected AS (
    SELECT layer, sum(n_rankable * list_sum(chances[m + 1:])) / sum(n_rankable * (1 - chances[1])) AS chance
    FROM drawn
    GROUP BY layer
)
SELECT layer, count(*) AS n_neuron_concepts, count(*) FILTER (n_languages >= m) AS n_shared,
    count(*) FILTER (n_languages >= m) / count(*)::DOUBLE AS share, any_value(chance) AS chance
FROM expert_mask JOIN expected USING (layer)
WHERE checkpoint = ck AND word = 0
GROUP BY layer
ORDER BY layer;
