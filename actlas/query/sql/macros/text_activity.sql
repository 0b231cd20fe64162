-- text_activity(checkpoint, site, layer, threshold): in which share of the texts of each language the value of every neuron of a layer is above any threshold, read from the cube
-- reads: activations, languages
CREATE MACRO text_activity(ck, s, l, above) AS TABLE
WITH counted AS (
    SELECT neuron, language, count(*) FILTER (value > above) / count(*)::DOUBLE AS p_active, count(*) AS n_texts
    FROM activations
    WHERE checkpoint = ck AND site = s AND layer = l
    GROUP BY neuron, language
)
SELECT neuron, language, p_active, counted.n_texts
FROM counted JOIN languages USING (language)
ORDER BY neuron, position;
