-- steering_mask(checkpoint, language, concept, n := 500): neurons to force, with the values to force them to
-- reads: experts
CREATE MACRO steering_mask(ck, lang, con, n := 500) AS TABLE
SELECT site, layer, neuron, median, p90
FROM experts
WHERE checkpoint = ck AND language = lang AND concept = con AND rank <= n
ORDER BY site, layer, neuron;
