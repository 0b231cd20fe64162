-- overlap_at(checkpoint, concept, k): overlap of every pair of languages at a k no larger than that of table experts, zeros included, beside chance; null where a language has no experts
-- reads: experts, languages, rankable
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
), able AS (
    SELECT language_a, language_b, sum(n_rankable)::BIGINT AS n_rankable
    FROM rankable
    WHERE checkpoint = ck AND concept = con
    GROUP BY language_a, language_b
), counted AS (
    SELECT a.language AS language_a, b.language AS language_b, count(*) AS n
    FROM best AS a JOIN best AS b USING (site, layer, neuron)
    WHERE a.language < b.language
    GROUP BY a.language, b.language
), pairs AS (
    SELECT a.language AS language_a, b.language AS language_b,
        CASE WHEN a.language IN (FROM there) AND b.language IN (FROM there) THEN coalesce(n, 0) END AS shared
    FROM languages AS a JOIN languages AS b ON a.language < b.language
        LEFT JOIN counted ON language_a = a.language AND language_b = b.language
)
SELECT ck AS checkpoint, con AS concept, p.language_a, p.language_b, k_best::INTEGER AS k, p.shared::INTEGER AS shared,
    p.shared / k_best::DOUBLE AS overlap, p.shared / (2 * k_best - p.shared)::DOUBLE AS jaccard,
    CASE WHEN p.shared IS NOT NULL
        THEN k_best * ab.n_rankable / greatest(a.n_rankable::DOUBLE * b.n_rankable::DOUBLE, 1) END AS chance, ab.n_rankable
FROM pairs AS p JOIN able AS ab ON ab.language_a = p.language_a AND ab.language_b = p.language_b
    JOIN able AS a ON a.language_a = p.language_a AND a.language_b = p.language_a
    JOIN able AS b ON b.language_a = p.language_b AND b.language_b = p.language_b
ORDER BY p.language_a, p.language_b;
