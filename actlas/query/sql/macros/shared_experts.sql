-- shared_experts(checkpoint, concept, m := 2, k := NULL): neurons that are among the k best in at least m languages, with those languages; k null: all that are kept
-- reads: experts, languages
CREATE MACRO shared_experts(ck, con, m := 2, k := NULL) AS TABLE
SELECT site, layer, neuron, count(*)::INTEGER AS n_languages, list(language ORDER BY position) AS languages
FROM experts JOIN languages USING (language)
WHERE checkpoint = ck AND concept = con AND rank <= (
    SELECT CASE WHEN k > kept
        THEN error('table experts holds the ' || kept || ' best neurons of ' || ck || ', not ' || k
            || ': ask for fewer, or rank more with actlas experts STORE --k ' || k)::BIGINT
        ELSE coalesce(k, kept) END
    FROM (SELECT max(rank) AS kept FROM experts WHERE checkpoint = ck)
)
GROUP BY site, layer, neuron
HAVING count(*) >= m
ORDER BY n_languages DESC, site, layer, neuron;
