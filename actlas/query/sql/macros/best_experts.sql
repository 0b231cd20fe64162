-- best_experts(checkpoint, language, concept, n := 10): the n best experts of a concept in a language; more than are kept is refused
-- reads: experts
CREATE MACRO best_experts(ck, lang, con, n := 10) AS TABLE
SELECT *
FROM experts
WHERE checkpoint = ck AND language = lang AND concept = con AND rank <= (
    SELECT CASE WHEN n > k
        THEN error('table experts holds the ' || k || ' best neurons of ' || ck || ', not ' || n
            || ': ask for fewer, or rank more with actlas experts STORE --k ' || n)::BIGINT
        ELSE n END
    FROM (SELECT max(rank) AS k FROM experts WHERE checkpoint = ck)
)
ORDER BY rank;
