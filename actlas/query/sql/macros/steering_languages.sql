-- steering_languages(): share of every language among the texts of each steering arm, zeros included, with its 95 % Wilson interval; concept null: all concepts together; text_language null: not told
-- reads: generations, languages, checkpoints
CREATE MACRO steering_languages() AS TABLE
WITH written AS (
    SELECT checkpoint, concept, language, arm, prompt, seed, text_language FROM generations
    UNION ALL
    SELECT checkpoint, NULL, language, arm, prompt, seed, text_language FROM generations
), drawn AS (
    -- texts of one prompt and seed begin with the same random numbers: one draw, whatever is forced
    SELECT checkpoint, concept, language, arm, prompt, seed, text_language, count(*) AS n,
        count(*) / sum(count(*)) OVER (PARTITION BY checkpoint, concept, language, arm, prompt, seed) AS share
    FROM written
    GROUP BY checkpoint, concept, language, arm, prompt, seed, text_language
), sizes AS (
    SELECT checkpoint, concept, language, arm, sum(n)::BIGINT AS n_texts, count(DISTINCT (prompt, seed)) AS n_draws
    FROM drawn
    GROUP BY ALL
), told AS (
    SELECT checkpoint, concept, language, arm, text_language, sum(n)::BIGINT AS n, sum(share) AS sum_share, sum(share * share) AS sum_squares
    FROM drawn
    GROUP BY ALL
), grid AS (
    SELECT * FROM sizes CROSS JOIN (SELECT language AS text_language FROM languages UNION SELECT text_language FROM generations)
), shares AS (
    SELECT grid.*, coalesce(n, 0) AS n, coalesce(n, 0) / n_texts::DOUBLE AS share,
        coalesce(sum_squares, 0) / n_draws - (coalesce(sum_share, 0) / n_draws) ** 2 AS variance
    FROM grid LEFT JOIN told ON grid.checkpoint = told.checkpoint AND grid.concept IS NOT DISTINCT FROM told.concept
        AND grid.language = told.language AND grid.arm = told.arm AND grid.text_language IS NOT DISTINCT FROM told.text_language
), intervals AS (
    -- as many independent texts as would spread like the means of draws: no fewer than draws, no more than texts
    SELECT *, CASE WHEN n_draws = 1 OR n IN (0, n_texts) THEN n_draws
        WHEN variance * n_texts <= share * (1 - share) * n_draws THEN n_texts
        ELSE greatest(n_draws, share * (1 - share) * n_draws / variance) END AS n_alone
    FROM shares
)
SELECT checkpoint, step, concept, language, arm, text_language, n_texts, n_draws, n, share,
    CASE WHEN n > 0 THEN (share + 1.920729 / n_alone - 1.959964 * sqrt(share * (1 - share) / n_alone + 0.960365 / n_alone ** 2))
        / (1 + 3.841459 / n_alone) ELSE 0 END AS low,
    CASE WHEN n < n_texts THEN (share + 1.920729 / n_alone + 1.959964 * sqrt(share * (1 - share) / n_alone + 0.960365 / n_alone ** 2))
        / (1 + 3.841459 / n_alone) ELSE 1 END AS high
FROM intervals JOIN checkpoints USING (checkpoint)
ORDER BY position, concept NULLS FIRST, language, arm, text_language NULLS LAST;
