-- concept_rate(): share of texts in which a concept is, by its words and by a probe, of each steering arm, and how much more that is under its experts, paired by prompt and seed, with the 95 % interval; concept null: all concepts together
-- reads: generations, checkpoints
CREATE MACRO concept_rate() AS TABLE
WITH measured AS (
    SELECT checkpoint, concept, language, arm, prompt, seed, 'words' AS measure, has_word::INTEGER AS is_there FROM generations
    UNION ALL
    SELECT checkpoint, concept, language, arm, prompt, seed, 'probe', (probe_p >= 0.5)::INTEGER FROM generations
), rates AS (
    SELECT checkpoint, concept, language, arm, measure, count(*) AS n_texts, count(is_there) AS n_known, avg(is_there) AS rate
    FROM (SELECT * FROM measured UNION ALL SELECT * REPLACE (NULL AS concept) FROM measured)
    GROUP BY ALL
), paired AS (
    SELECT steered.checkpoint, steered.concept, steered.language, other.arm, steered.measure, steered.prompt, steered.seed,
        steered.is_there - other.is_there AS difference
    FROM measured AS steered JOIN measured AS other ON steered.checkpoint = other.checkpoint AND steered.concept = other.concept
        AND steered.language = other.language AND steered.measure = other.measure
        AND steered.prompt IS NOT DISTINCT FROM other.prompt AND steered.seed = other.seed
    WHERE steered.arm = 'experts' AND other.arm <> 'experts' AND steered.is_there IS NOT NULL AND other.is_there IS NOT NULL
), drawn AS (
    -- texts of one prompt and seed begin with the same random numbers: one draw, however many concepts
    SELECT checkpoint, concept, language, arm, measure, prompt, seed, avg(difference) AS difference
    FROM (SELECT * FROM paired UNION ALL SELECT * REPLACE (NULL AS concept) FROM paired)
    GROUP BY ALL
), means AS (
    -- two draws more, one for and one against, keep the interval honest where no pair or every pair differs (Bonett and Price 2012)
    SELECT checkpoint, concept, language, arm, measure, count(*) AS n_draws, avg(difference) AS difference,
        sum(difference) / (count(*) + 2) AS middle, (sum(difference ** 2) + 2) / (count(*) + 2) AS squares
    FROM drawn
    GROUP BY checkpoint, concept, language, arm, measure
)
SELECT rates.checkpoint, step, rates.concept, rates.language, rates.arm, rates.measure, n_texts, n_known, rate,
    coalesce(n_draws, 0) AS n_draws, difference,
    CASE WHEN n_draws > 0 THEN greatest(middle - 1.959964 * sqrt((squares - middle ** 2) / (n_draws + 2)), -1) END AS low,
    CASE WHEN n_draws > 0 THEN least(middle + 1.959964 * sqrt((squares - middle ** 2) / (n_draws + 2)), 1) END AS high
FROM rates JOIN checkpoints USING (checkpoint)
    LEFT JOIN means ON rates.checkpoint = means.checkpoint AND rates.concept IS NOT DISTINCT FROM means.concept
        AND rates.language = means.language AND rates.arm = means.arm AND rates.measure = means.measure
ORDER BY position, rates.concept NULLS FIRST, rates.language, rates.measure DESC, rates.arm;
