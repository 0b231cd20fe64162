-- language_shift(): how much more often texts are in a language under its experts than under each control arm, paired by prompt and seed, with the 95 % interval; concept null: all concepts together
-- reads: generations, checkpoints
CREATE MACRO language_shift() AS TABLE
WITH told AS (
    SELECT checkpoint, concept, language, arm, prompt, seed, coalesce(text_language = language, false)::INTEGER AS is_there
    FROM generations
), paired AS (
    SELECT steered.checkpoint, steered.concept, steered.language, other.arm, steered.prompt, steered.seed,
        steered.is_there AS steered, other.is_there AS other
    FROM told AS steered JOIN told AS other ON steered.checkpoint = other.checkpoint AND steered.concept = other.concept
        AND steered.language = other.language AND steered.prompt IS NOT DISTINCT FROM other.prompt AND steered.seed = other.seed
    WHERE steered.arm = 'experts' AND other.arm <> 'experts'
), drawn AS (
    -- texts of one prompt and seed begin with the same random numbers: one draw, however many concepts
    SELECT checkpoint, concept, language, arm, prompt, seed, avg(steered) AS steered, avg(other) AS other
    FROM (SELECT * FROM paired UNION ALL SELECT * REPLACE (NULL AS concept) FROM paired)
    GROUP BY ALL
), means AS (
    -- two draws more, one for and one against, keep the interval honest where no pair or every pair differs (Bonett and Price 2012)
    SELECT checkpoint, concept, language, arm AS control, count(*) AS n_draws, avg(steered) AS share, avg(other) AS control_share,
        avg(steered - other) AS shift, sum(steered - other) / (count(*) + 2) AS middle,
        (sum((steered - other) ** 2) + 2) / (count(*) + 2) AS squares
    FROM drawn
    GROUP BY checkpoint, concept, language, arm
)
SELECT checkpoint, step, concept, language, means.control, n_draws, share, control_share, shift,
    greatest(middle - 1.959964 * sqrt((squares - middle ** 2) / (n_draws + 2)), -1) AS low,
    least(middle + 1.959964 * sqrt((squares - middle ** 2) / (n_draws + 2)), 1) AS high
FROM means JOIN checkpoints USING (checkpoint)
ORDER BY position, concept NULLS FIRST, language, means.control;
