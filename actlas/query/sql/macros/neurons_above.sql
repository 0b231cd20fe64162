-- neurons_above(checkpoint, concept, x, m := 1): neurons with average precision above x in at least m languages
-- reads: scores
CREATE MACRO neurons_above(ck, con, x, m := 1) AS TABLE
WITH counted AS (
    SELECT site, layer, neuron, count(*) AS n_languages, min(ap) AS ap_min, list(language ORDER BY language) AS languages
    FROM scores
    WHERE checkpoint = ck AND concept = con AND ap > x
    GROUP BY site, layer, neuron
)
SELECT site, layer, neuron, n_languages, ap_min, languages
FROM counted
WHERE n_languages >= m
ORDER BY n_languages DESC, ap_min DESC, site, layer, neuron;
