-- set_effects(checkpoint): per set, on the texts of its own language and beyond random sets: necessity (what the loss rises by where the set is set to 0), selectivity (how much more than on the texts of other languages), sufficiency (what the loss falls by where it is amplified), sufficiency_only (what it falls by where it is kept of all languages' sets); null where that was not measured
-- reads: neuron_effects
CREATE MACRO set_effects(ck) AS TABLE
WITH excess AS (
    SELECT source, concept, set_language, language, intervention, any_value(n_neurons) FILTER (draw = 0) AS n_neurons,
        any_value(change) FILTER (draw = 0) - avg(change) FILTER (draw > 0) AS excess
    FROM neuron_effects
    WHERE checkpoint = ck
    GROUP BY source, concept, set_language, language, intervention
)
SELECT source, concept, set_language, max(n_neurons) FILTER (intervention <> 'only') AS n_neurons,
    avg(excess) FILTER (intervention = 'zero' AND language = set_language) AS necessity,
    avg(excess) FILTER (intervention = 'zero' AND language = set_language)
        - avg(excess) FILTER (intervention = 'zero' AND language <> set_language) AS selectivity,
    -avg(excess) FILTER (intervention = 'amplify' AND language = set_language) AS sufficiency,
    -avg(excess) FILTER (intervention = 'only' AND language = set_language) AS sufficiency_only
FROM excess
GROUP BY source, concept, set_language
ORDER BY source, concept, set_language;
