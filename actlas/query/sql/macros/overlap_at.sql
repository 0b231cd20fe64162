-- overlap_at(checkpoint, concept, k): overlap of every pair of languages at a k no larger than that of table experts, zeros included
-- reads: experts
CREATE MACRO overlap_at(ck, con, k_best) AS TABLE
WITH best AS (
    SELECT language, site, layer, neuron FROM experts WHERE checkpoint = ck AND concept = con AND rank <= (
        SELECT CASE WHEN k_best > k
            THEN error('table experts holds the ' || k || ' best neurons of ' || ck || ', not ' || k_best
                || ': ask for fewer, or rank more with actlas experts STORE --k ' || k_best)::BIGINT
            ELSE k_best END
        FROM (SELECT max(rank) AS k FROM experts WHERE checkpoint = ck)
    )
), there AS (
    SELECT DISTINCT language FROM best
), pairs AS (
    SELECT a.language AS language_a, b.language AS language_b
    FROM there AS a JOIN there AS b ON a.language < b.language
), counted AS (
    SELECT a.language AS language_a, b.language AS language_b, count(*) AS shared
    FROM best AS a JOIN best AS b USING (site, layer, neuron)
    WHERE a.language < b.language
    GROUP BY a.language, b.language
)
SELECT language_a, language_b, coalesce(shared, 0) AS shared, coalesce(shared, 0) / k_best::DOUBLE AS overlap
FROM pairs LEFT JOIN counted USING (language_a, language_b)
ORDER BY language_a, language_b;
