-- next_experts(checkpoint, language, concept, k, skip): a control set: the k neurons that come after the skip best
-- reads: experts
CREATE MACRO next_experts(ck, lang, con, k, skip) AS TABLE
SELECT *
FROM experts
WHERE checkpoint = ck AND language = lang AND concept = con AND rank > skip AND rank <= (
    SELECT CASE WHEN k + skip > kept
        THEN error('table experts holds the ' || kept || ' best neurons of ' || ck || ', not ' || (k + skip)
            || ': ask for fewer, or rank more with actlas experts STORE --k ' || (k + skip))::BIGINT
        ELSE k + skip END
    FROM (SELECT max(rank) AS kept FROM experts WHERE checkpoint = ck)
)
ORDER BY rank;
