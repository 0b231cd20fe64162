-- steering_mask(checkpoint, language, concept, n := 500): neurons to force, with the values to force them to; more than are kept is refused
-- reads: experts
CREATE MACRO steering_mask(ck, lang, con, n := 500) AS TABLE
SELECT site, layer, neuron, median, p90
FROM experts
WHERE checkpoint = ck AND language = lang AND concept = con AND rank <= (
    SELECT CASE WHEN n > k
        THEN error('table experts holds the ' || k || ' best neurons of ' || ck || ', not ' || n
            || ': ask for fewer, or rank more with actlas experts STORE --k ' || n)::BIGINT
        ELSE n END
    FROM (SELECT max(rank) AS k FROM experts WHERE checkpoint = ck)
)
ORDER BY site, layer, neuron;
