-- language_effects(checkpoint, intervention): loss on the texts of each language while the set of each language is acted on, beside random sets: change with its 95 % interval over texts, what it is more than theirs, and the share of sets, itself included, that change as much or more (p_more), or as little or less (p_less)
-- reads: neuron_effects
CREATE MACRO language_effects(ck, what) AS TABLE
WITH measured AS (
    SELECT * FROM neuron_effects WHERE checkpoint = ck AND intervention = CASE
        WHEN what IN (SELECT intervention FROM neuron_effects WHERE checkpoint = ck) THEN what
        ELSE error('table neuron_effects has no intervention ' || what || ' of ' || ck || '; measure it: actlas effects STORE --interventions ' || what)::VARCHAR
    END
), random AS (
    SELECT source, concept, set_language, language, change FROM measured WHERE draw > 0
)
SELECT s.source, s.concept, s.set_language, s.language, s.n_neurons, s.n_texts, s.loss_base, s.change,
    s.change - 1.96 * s.change_se AS low, s.change + 1.96 * s.change_se AS high,
    avg(r.change) AS random_mean, stddev_samp(r.change) AS random_sd, s.change - avg(r.change) AS excess,
    CASE WHEN count(r.change) > 0 THEN (1 + count(*) FILTER (r.change >= s.change)) / (1 + count(r.change))::DOUBLE END AS p_more,
    CASE WHEN count(r.change) > 0 THEN (1 + count(*) FILTER (r.change <= s.change)) / (1 + count(r.change))::DOUBLE END AS p_less,
    count(r.change) AS n_random
FROM measured AS s LEFT JOIN random AS r ON r.source = s.source AND r.concept IS NOT DISTINCT FROM s.concept
    AND r.set_language = s.set_language AND r.language = s.language
WHERE s.draw = 0
GROUP BY s.source, s.concept, s.set_language, s.language, s.n_neurons, s.n_texts, s.loss_base, s.change, s.change_se
ORDER BY s.source, s.concept, s.set_language, s.language;
